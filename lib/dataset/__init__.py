"""Annotations, data sets and synthetic data."""
