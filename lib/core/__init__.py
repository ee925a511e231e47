"""Configuration, training and evaluation."""
