"""Selection of frames from a recording or data set."""

import numpy as np


def evenly_spread(num_frames: int, count: int) -> np.ndarray:
    """Return at most `count` evenly spaced indices of `num_frames`, ascending: with the first and, from 2, the last."""
    return np.unique(np.linspace(0, num_frames - 1, min(num_frames, count)).astype(int))
