"""Own recordings: calibration, detections and videos as the tools of the field write them."""
