"""Heatmap networks and the cross-view fusion layer."""
