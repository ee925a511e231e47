"""Local maxima of heatmaps on a torch device."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d


def local_maxima(maps: Tensor, min_share: float, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return map, row and column of all peaks of (M, H, W) maps, sorted by map and pixel.

    A peak is the highest pixel within `radius` along both axes. Of equal neighbors the first counts.

    Args:
        maps: (M, H, W) float32.
        min_share: lowest height of a peak, relative to the highest pixel of its map.
        radius: px.
    """
    num_maps, _, width = maps.shape
    if not num_maps:
        return (np.zeros(0, np.int64),) * 3
    lowest = (maps.amax((1, 2)) * min_share).clip(torch.finfo(maps.dtype).tiny)  # (M,)
    highest = max_pool2d(maps[:, None], 2 * radius + 1, 1, radius)[:, 0]
    which, y, x = ((maps == highest) & (maps >= lowest[:, None, None])).nonzero(as_tuple=True)
    height_of_peak = maps[which, y, x]
    is_first = torch.ones_like(which, dtype=torch.bool)
    for row in range(-radius, 1):
        for column in range(-radius, radius + 1 if row else 0):  # the earlier neighbors
            inside = (y + row >= 0) & (x + column >= 0) & (x + column < width)
            neighbor = maps[which, (y + row).clip(0), (x + column).clip(0, width - 1)]
            is_first &= ~inside | (neighbor < height_of_peak)
    found = torch.stack([which, y, x])[:, is_first].cpu().numpy()
    return found[0], found[1], found[2]
