"""2D evaluation: validation, decoding of heatmaps, metrics, provenance of predictions."""
