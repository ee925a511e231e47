"""2D evaluation: joint detection rates, decoding of heatmaps, provenance of predictions."""
