"""Annotation files on disk: pickles of the original code and memory-mapped arrays."""
