"""Motion of the synthetic people."""
