"""Epipolar geometry."""
