"""Poses over time in recordings of several cameras."""
