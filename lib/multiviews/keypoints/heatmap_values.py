"""Few values of many heatmaps, as numpy arrays. The heatmaps are numpy arrays, or tensors whose device keeps them."""

from typing import Any

import numpy as np


def on_host(heatmaps: Any) -> Any:
    """Return heatmaps in the memory of the CPU as numpy array, which shares their memory; others as they are."""
    if isinstance(heatmaps, np.ndarray) or heatmaps.device.type != "cpu":
        return heatmaps
    return heatmaps.numpy()


def to_numpy(values: Any) -> np.ndarray:
    """Return a numpy array or a tensor as numpy array."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def take_values(heatmaps: Any, index: np.ndarray) -> np.ndarray:
    """Return the values at indices into the flattened heatmaps."""
    flat = heatmaps.reshape(-1)
    if isinstance(flat, np.ndarray):
        return flat.take(index)
    import torch

    return flat[torch.as_tensor(index, device=flat.device)].cpu().numpy()


def highest_values(heatmaps: Any) -> np.ndarray:
    """Return the highest value of each heatmap: (..., H, W) -> (...)."""
    return heatmaps.max((-2, -1)) if isinstance(heatmaps, np.ndarray) else heatmaps.amax((-2, -1)).cpu().numpy()
