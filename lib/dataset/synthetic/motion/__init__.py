"""Motion of synthetic people."""
