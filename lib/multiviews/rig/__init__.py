"""Adjustment of a calibration to a person seen by several cameras."""
