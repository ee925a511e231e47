"""Refinement of 3D poses between the pixels."""
