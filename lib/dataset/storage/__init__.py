"""Annotation files on disk: published pickles and memory-mapped arrays."""
