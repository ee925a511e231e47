"""Own cameras: from videos and detections to 3D poses, labels and pictures."""
