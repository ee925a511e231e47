"""Child processes, parallel map and distributed training."""
