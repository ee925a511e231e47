"""Camera geometry and 3D inference."""
