"""Input files of the user's own cameras: calibration, videos, detections."""
