"""Refinement of the calibration of a recording: verdict, report and files."""
