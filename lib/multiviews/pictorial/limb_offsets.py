"""Offsets between bins of the first grid that are compatible with a limb length.

The original code stores matrices of bin pairs, for grids in "ij" or "xy" order. The orders differ by swapping x and y
in both bins of a pair, which keeps distances, so one file fits both.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from lib.utils.errors import InputError, brief

REMAKE = "make one with python run/data/make_limb_prior.py"


@dataclass(frozen=True)
class PriorGrid:
    """First grid and tolerance of a limb prior.

    Attributes:
        edge: edge length of the cube, mm (GRID_SIZE).
        num_bins: bins per axis n (FIRST_NBINS).
        tolerance: allowed deviation from the mean limb length, mm (LIMB_LENGTH_TOLERANCE).
    """

    edge: float
    num_bins: int
    tolerance: float

    @property
    def spacing(self) -> float:
        """Distance of neighboring bins, mm."""
        return self.edge / (self.num_bins - 1)


def cube_points(edge: float, num_bins: int) -> np.ndarray:
    """Return the bins of a cube around the origin.

    Args:
        edge: edge length of the cube, mm.
        num_bins: bins per axis n.

    Returns:
        (n^3, 3) mm; bin (ix, iy, iz) has the flat index (ix*n + iy)*n + iz ("ij" order).
    """
    axis = np.linspace(-edge / 2, edge / 2, num_bins)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def compatible_offsets(length: float, grid: PriorGrid) -> np.ndarray:
    """Return the bin offsets (K, 3), ascending, whose distance is within the tolerance of `length`, mm."""
    offsets, distances = _all_offsets(grid)
    return offsets[np.abs(distances - length) < grid.tolerance]


def offsets_to_csr(offsets: np.ndarray, num_bins: int) -> scipy.sparse.csr_matrix:
    """Convert offsets to a matrix of bin pairs.

    Args:
        offsets: (K, 3) bin of the child minus bin of the parent.
        num_bins: bins per axis n.

    Returns:
        (n^3, n^3) bool; row = bin of the parent, column = bin of the child.
    """
    axis = np.arange(num_bins)
    bins = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 1, 3)  # (n^3, 1, 3)
    other = bins + offsets  # (n^3, K, 3)
    inside = ((other >= 0) & (other < num_bins)).all(-1)
    columns = _flat_index(other, num_bins)[inside].astype(np.int32)
    row_starts = np.concatenate([[0], inside.sum(1).cumsum()]).astype(np.int32)
    # Offsets are ascending, so the columns of each row are too.
    return scipy.sparse.csr_matrix((np.ones(len(columns), bool), columns, row_starts), shape=(num_bins**3,) * 2)


def csr_to_offsets(pairs: Any, num_bins: int, where: str) -> np.ndarray:
    """Convert a matrix of bin pairs to offsets, and check that the pairs depend on the offset only.

    Args:
        pairs: CSR matrix; row = bin of the parent, column = bin of the child.
        num_bins: expected bins per axis n.
        where: file and limb, for the error message.

    Returns:
        (K, 3) offsets, ascending.

    Raises:
        InputError: not a sparse matrix, another grid, or pairs that depend on more than the offset.
    """
    if not scipy.sparse.issparse(pairs):
        raise InputError(f"{where}: expected a sparse matrix, received {type(pairs).__name__}; {REMAKE}")
    if pairs.shape != (num_bins**3,) * 2:
        raise InputError(
            f"{where}: prior of another grid: expected {num_bins}^3 = {num_bins**3} bins (FIRST_NBINS), "
            f"received {pairs.shape}; {REMAKE}"
        )
    try:
        pairs = pairs.tocsr().astype(bool)
        pairs.check_format(full_check=True)
        pairs.sum_duplicates()
        rows, columns = pairs.nonzero()
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{where}: damaged sparse matrix ({brief(error)}); {REMAKE}") from None
    difference = _unravel(columns, num_bins) - _unravel(rows, num_bins)  # (pairs, 3)
    side = 2 * num_bins - 1
    counts = np.bincount(_flat_index(difference + num_bins - 1, side), minlength=side**3)
    offsets = _unravel(np.flatnonzero(counts), side) - (num_bins - 1)
    # An offset d occurs prod(n - |d|) times on the grid; all of these pairs must be present.
    if (counts[counts > 0] != (num_bins - np.abs(offsets)).prod(1)).any():
        raise InputError(f"{where}: bin pairs with the same offset differ; {REMAKE}")
    return offsets


def estimate_length(offsets: np.ndarray, grid: PriorGrid, where: str = "limb prior") -> tuple[float, float]:
    """Estimate a mean limb length from its compatible offsets.

    A distance r on the grid is compatible with length L if |r - L| < tolerance. So compatible and incompatible
    distances bound L, and the estimate is the center of the interval. With 16 bins over 2000 mm and a tolerance of
    150 mm, the error is below 25 mm for limbs of 60 to 600 mm, and below 10 mm for half of them.

    Args:
        offsets: (K, 3) bin offsets.
        grid: first grid and tolerance.
        where: file and limb, for the error message.

    Returns:
        Length and half the width of the interval, mm.

    Raises:
        InputError: no length is compatible, because the offsets belong to another edge or tolerance.
    """
    _, distances = _all_offsets(grid)
    fits = np.sqrt((offsets**2).sum(1)) * grid.spacing
    outside = np.setdiff1d(distances.round(6), fits.round(6))
    below = outside[outside < fits.min()]
    above = outside[outside > fits.max()]
    low = max(fits.max() - grid.tolerance, 0.0, *(below + grid.tolerance))
    high = min(fits.min() + grid.tolerance, *(above - grid.tolerance), np.inf)
    length = (low + high) / 2
    if not low < high or not np.array_equal(compatible_offsets(length, grid), offsets):
        raise InputError(
            f"{where}: prior of another grid: no limb length is compatible with GRID_SIZE {grid.edge:g} mm and "
            f"LIMB_LENGTH_TOLERANCE {grid.tolerance:g} mm; {REMAKE}"
        )
    return length, (high - low) / 2


def _all_offsets(grid: PriorGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return all offsets ((2n-1)^3, 3) of the grid, ascending, and their lengths, mm."""
    axis = np.arange(1 - grid.num_bins, grid.num_bins)
    offsets = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    return offsets, np.sqrt((offsets**2).sum(1)) * grid.spacing


def _flat_index(bins: np.ndarray, side: int) -> np.ndarray:
    return (bins[..., 0] * side + bins[..., 1]) * side + bins[..., 2]


def _unravel(index: np.ndarray, side: int) -> np.ndarray:
    return np.stack([index // side**2, index // side % side, index % side], -1).astype(np.int64)
