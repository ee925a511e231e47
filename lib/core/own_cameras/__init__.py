"""Recordings of the user's own cameras: 3D poses, labels, figures."""
