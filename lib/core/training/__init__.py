"""Training: loop, epoch, step, optimizer, checkpoints."""
