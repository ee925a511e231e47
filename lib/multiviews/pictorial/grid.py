"""Regular cubes of bins around a joint."""

from __future__ import annotations

import numpy as np


def cube_axis(edge: float, num_bins: int) -> np.ndarray:
    """Return the (num_bins,) positions along one axis, mm, from -edge/2 to edge/2."""
    return np.linspace(-edge / 2, edge / 2, num_bins)


def cube_points(edge: float, num_bins: int) -> np.ndarray:
    """Return the bins of a cube around the origin.

    Args:
        edge: side of the cube, mm.
        num_bins: bins per axis n.

    Returns:
        (n^3, 3) mm; bin (ix, iy, iz) has the flat index (ix*n + iy)*n + iz, i.e. meshgrid's 'ij' order.
    """
    axis = cube_axis(edge, num_bins)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)  # (n^3, 3)


def bin_spacing(edge: float, num_bins: int) -> float:
    """Return the distance of neighbouring bins along an axis, mm."""
    return edge / (num_bins - 1)
