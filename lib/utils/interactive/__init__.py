"""Interactive page of 3D poses: one HTML file with the 3D scene, the views, heatmaps, a time line and tables."""
