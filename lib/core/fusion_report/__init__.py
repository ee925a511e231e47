"""Report on a trained fusion layer: figure and epipolar share of its weights."""
