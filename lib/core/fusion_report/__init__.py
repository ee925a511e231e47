"""Figures and measures of a trained fusion layer."""
