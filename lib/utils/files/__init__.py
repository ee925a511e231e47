"""File formats and safe reading and writing."""
