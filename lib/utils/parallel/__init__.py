"""Processes on one machine and training ranks."""
