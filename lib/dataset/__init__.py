"""Annotations, data sets and the embedded synthetic world."""
