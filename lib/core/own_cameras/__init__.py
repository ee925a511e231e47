"""Recordings of a user's own cameras: poses, labels, network, figures and tables."""
