"""Synthetic data: a procedural world of moving people, rooms and cameras in the layout of Human3.6M and MPII."""
