"""Peaks of heatmaps on a torch device: find_peaks() in few large operations. Only the peaks are copied to the CPU."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from lib.multiviews.keypoints.peaks import RADIUS_PX, subpixel_step

_BLOCK_PIXELS = 2**27  # pixels per block; limits memory


def find_peaks_on_device(
    heatmaps: Tensor, num_peaks: int, mode: str, min_share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find the highest local maxima of heatmaps (..., H, W); arguments and result as find_peaks()."""
    *axes, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height, width)
    size = max(_BLOCK_PIXELS // (height * width), 1)
    found = [np.zeros((0, num_peaks, 3))]
    for start in range(0, len(maps), size):
        found.append(_peaks_of_block(maps[start : start + size], num_peaks, mode, min_share).cpu().numpy())
    peaks = np.concatenate(found).reshape(*axes, num_peaks, 3)
    return peaks[..., :2], peaks[..., 2]


def _peaks_of_block(maps: Tensor, num_peaks: int, mode: str, min_share: float) -> Tensor:
    """Return x, y and value of the peaks of (M, H, W) maps, (M, K, 3) float64; missing ones as NaN, NaN, 0."""
    which, y, x = _local_maxima(maps, min_share)
    value = maps[which, y, x]
    order = value.sort(descending=True, stable=True).indices
    order = order[which[order].sort(stable=True).indices]  # by map, then by height, then by pixel
    rank = torch.arange(len(which), device=maps.device) - torch.searchsorted(which, which)  # `which` is sorted
    order = order[rank < num_peaks]
    rank = rank[rank < num_peaks]
    which, y, x = which[order], y[order], x[order]
    peaks = maps.new_full((len(maps), num_peaks, 3), torch.nan, dtype=torch.float64)
    peaks[..., 2] = 0
    position = _refined(maps, which, x, y, mode)
    peaks[which, rank] = torch.cat([position, value[order, None].double()], -1)
    return peaks


def _refined(maps: Tensor, which: Tensor, x: Tensor, y: Tensor, mode: str) -> Tensor:
    """Return refined positions (P, 2) of peaks; see refine_peaks()."""
    position = torch.stack([x, y], -1).double()
    if mode == "argmax":
        return position
    height, width = maps.shape[1:]
    steps = torch.arange(-1, 2, device=maps.device)
    rows = (y[:, None] + steps).clip(0, height - 1)
    columns = (x[:, None] + steps).clip(0, width - 1)
    patch = maps[which[:, None, None], rows[:, :, None], columns[:, None, :]].double()  # (P, 3, 3)
    inside = torch.stack([(x > 0) & (x < width - 1), (y > 0) & (y < height - 1)], -1)
    return position + subpixel_step(patch, inside, mode, torch)


def _local_maxima(maps: Tensor, min_share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return map, row and column of all peaks of (M, H, W) maps, sorted by map. Of equal neighbors the first counts."""
    width = maps.shape[2]
    lowest = (maps.amax((1, 2)) * min_share).clip(torch.finfo(maps.dtype).tiny)  # (M,)
    highest = max_pool2d(maps[:, None], 2 * RADIUS_PX + 1, 1, RADIUS_PX)[:, 0]
    which, y, x = ((maps == highest) & (maps >= lowest[:, None, None])).nonzero(as_tuple=True)
    value = maps[which, y, x]
    is_first = torch.ones_like(which, dtype=torch.bool)
    for row in range(-RADIUS_PX, 1):
        for column in range(-RADIUS_PX, RADIUS_PX + 1 if row else 0):  # the earlier neighbors
            inside = (y + row >= 0) & (x + column >= 0) & (x + column < width)
            neighbor = maps[which, (y + row).clip(0), (x + column).clip(0, width - 1)]
            is_first &= ~inside | (neighbor < value)
    return which[is_first], y[is_first], x[is_first]
