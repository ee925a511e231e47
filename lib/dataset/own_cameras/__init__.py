"""Files of a user's own cameras: calibration, videos, detections, and the data set made from them."""
