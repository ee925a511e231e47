"""The planned maximum over shifts against one shift after the other."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import make_backend

from lib.multiviews.pictorial.limb_offsets import PriorGrid, compatible_offsets
from lib.multiviews.pictorial.shift_max import plan_shift_max

SHELL = compatible_offsets(440.0, PriorGrid(2000.0, 16, 150.0))
RANDOM = np.unique(np.random.default_rng(0).integers(-4, 5, (40, 3)), axis=0)  # no symmetry at all


def shift_by_shift(volume, offsets):
    padded = np.pad(volume, [(9, 9)] * 3 + [(0, 0)], constant_values=-np.inf)
    num_bins = len(volume)
    windows = [padded[tuple(slice(9 + shift, 9 + shift + num_bins) for shift in offset)] for offset in offsets.tolist()]
    return np.max(windows, 0)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("offsets", "num_bins"),
    [(SHELL, 16), (RANDOM, 7), (np.array([[0, 0, 0]]), 3), (np.array([[2, -1, 1], [2, 0, 1]]), 3), (RANDOM, 2)],
)
def test_plan_shift_max_equals_all_shifts(library, offsets, num_bins):
    volume = np.random.default_rng(1).normal(size=(num_bins, num_bins, num_bins, 3))
    backend = make_backend(library)
    program = plan_shift_max(offsets, num_bins)
    for frames in (volume, volume[..., :1].copy()):  # the second call has another shape of scratch
        result = backend.numpy(backend.shift_max(backend.floats(frames), program))
        np.testing.assert_array_equal(result, shift_by_shift(frames, offsets))


def test_plan_shift_max_number_of_steps():
    assert len(SHELL) == 332
    assert len(plan_shift_max(SHELL, 16).steps) < 80
