"""3D inference: from predicted heatmaps to poses, errors and tables."""
