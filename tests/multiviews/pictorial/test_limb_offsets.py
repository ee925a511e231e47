"""Offsets between bins against all pairs of bins."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from lib.multiviews.pictorial.limb_offsets import (
    PriorGrid,
    compatible_offsets,
    csr_to_offsets,
    estimate_length,
    offsets_to_csr,
)

GRID = PriorGrid(edge=900.0, num_bins=5, tolerance=140.0)
H36M_GRID = PriorGrid(2000.0, 16, 150.0)


def all_pairs(points, length, tolerance):
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return np.abs(distance - length) < tolerance


@pytest.mark.parametrize("order", ["ij", "xy"])
@pytest.mark.parametrize("length", [431.3, 302.7])
def test_compatible_offsets_equal_all_pairs(order, length):
    axis = np.linspace(-450, 450, 5)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing=order), -1).reshape(-1, 3)
    expected = all_pairs(points, length, GRID.tolerance)
    offsets = compatible_offsets(length, GRID)
    np.testing.assert_array_equal(offsets_to_csr(offsets, 5).toarray(), expected)
    np.testing.assert_array_equal(csr_to_offsets(scipy.sparse.csr_matrix(expected), 5, "file"), offsets)


def test_compatible_offsets_count_h36m():
    lengths = np.array([132, 132, 233, 442, 442, 257, 454, 454, 121, 151, 151, 115, 278, 278, 251, 251.0])
    counts = [len(compatible_offsets(length, H36M_GRID)) for length in lengths]
    assert sum(counts) == 2316  # on average 2.6 % of the pairs


@pytest.mark.parametrize("length", np.arange(70.0, 600.0, 13.7))
def test_estimate_length_within_bound(length):
    estimate, error = estimate_length(compatible_offsets(length, H36M_GRID), H36M_GRID)
    assert abs(estimate - length) <= error + 1e-5
    assert error < 26
