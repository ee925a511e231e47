"""Rendering of the synthetic world."""
