from __future__ import annotations

import numpy as np
import pytest

from lib.multiviews.keypoints.heatmap_values import highest_values, on_host, take_values, to_numpy


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_values_are_numpy_arrays(library):
    maps = np.random.default_rng(0).random((2, 3, 5, 4)).astype(np.float32)
    given = maps if library == "numpy" else pytest.importorskip("torch").as_tensor(maps)
    index = np.array([[0, 7], [119, 60]])
    for found, expected in (
        (to_numpy(given), maps),
        (highest_values(given), maps.max((2, 3))),
        (take_values(given, index), maps.ravel()[index]),
        (take_values(given[:, 1:], np.array([3])), maps[0, 1, 0, 3:4]),  # a view
    ):
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, expected)


def test_on_host_shares_memory():
    torch = pytest.importorskip("torch")
    maps = torch.zeros(2, 3)
    assert np.shares_memory(on_host(maps), maps.numpy())
    array = maps.numpy()
    assert on_host(array) is array
    elsewhere = torch.zeros(2, device="meta")
    assert on_host(elsewhere) is elsewhere
