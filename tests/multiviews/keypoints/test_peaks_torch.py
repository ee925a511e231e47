"""Peaks of heatmaps on a torch device are the ones of numpy arrays."""

from __future__ import annotations

import numpy as np
import pytest

from lib.multiviews.keypoints.peaks import PEAK_MODES, find_peaks

torch = pytest.importorskip("torch")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(autouse=True)
def tensors_stay_tensors(monkeypatch):
    """Tensors in the memory of the CPU take the path of a GPU."""
    monkeypatch.setattr("lib.multiviews.keypoints.peaks.on_host", lambda heatmaps: heatmaps)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["noise", "few values", "ones", "zeros"])
def test_find_peaks_on_device_equals_numpy(kind, device):
    rng = np.random.default_rng(3)
    shape = (2, 3, 4, 13, 11)
    maps = {
        "noise": rng.normal(0, 1, shape),
        "few values": rng.integers(-1, 4, shape),
        "ones": np.ones(shape),
        "zeros": np.zeros(shape),
    }[kind].astype(np.float32)
    for mode in PEAK_MODES:
        found = find_peaks(torch.as_tensor(maps, device=device), 4, mode, 0.2)
        for one, other in zip(found, find_peaks(maps, 4, mode, 0.2), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)  # logarithms may differ by rounding


def test_find_peaks_on_device_no_maps():
    assert find_peaks(torch.zeros(0, 2, 9, 9))[0].shape == (0, 2, 3, 2)
