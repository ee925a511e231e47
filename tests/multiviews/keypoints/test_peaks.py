"""Peaks of Gaussians in closed form, of maps drawn by hand, and against a plain search."""

from __future__ import annotations

import numpy as np
import pytest

from lib.multiviews.keypoints.peaks import PEAK_MODES, find_peaks, refine_peaks
from lib.utils.errors import InputError


def gaussian(center, sigma=2.0, height=24, width=32, tilt=0.0, peak=1.0):
    y, x = np.mgrid[:height, :width]
    dx, dy = x - center[0], y - center[1]
    return peak * np.exp(-(dx**2 + dy**2 + 2 * tilt * dx * dy) / (2 * sigma**2))


def refine_one(heatmap, x, y, mode):
    return refine_peaks(heatmap[None], np.array([0]), np.array([x]), np.array([y]), mode)[0]


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("tilt", [0.0, 0.6, -0.6])
@pytest.mark.parametrize("center", [(10.0, 7.0), (10.49, 6.51), (9.6, 7.3)])
def test_refine_peaks_log_quadratic_exact_for_gaussian(sigma, tilt, center):
    heatmap = gaussian(center, sigma, tilt=tilt, peak=0.3)
    np.testing.assert_allclose(refine_one(heatmap, 10, 7, "log_quadratic"), center, atol=1e-9)
    # on float32 the logarithms are good to 1e-7, over a curvature of 1 / sigma^2
    np.testing.assert_allclose(
        refine_one(heatmap.astype(np.float32), 10, 7, "log_quadratic"), center, atol=1e-6 * sigma**2
    )


def test_refine_peaks_log_quadratic_uses_nine_pixels():
    """Against numpy's least squares on a hump that is no Gaussian."""
    rng = np.random.default_rng(0)
    patch = np.exp(rng.normal(0, 0.02, (3, 3)) - 0.2 * np.add.outer([1, 0, 1], [1, 0, 1]))
    heatmap = np.zeros((9, 9))
    heatmap[3:6, 4:7] = patch
    y, x = (grid.ravel() for grid in np.mgrid[-1:2, -1:2])
    columns = np.stack([np.ones(9), x, y, x * x, x * y, y * y], -1)
    _, gx, gy, xx, xy, yy = np.linalg.lstsq(columns, np.log(patch).ravel(), rcond=None)[0]
    step = -np.linalg.solve([[2 * xx, xy], [xy, 2 * yy]], [gx, gy])
    np.testing.assert_allclose(refine_one(heatmap, 5, 4, "log_quadratic"), [5, 4] + step, atol=1e-10)


def test_refine_peaks_log_quadratic_without_fit():
    hump = gaussian((10.3, 7.2))
    at_border = gaussian((0.2, 7.2))
    assert refine_one(at_border, 0, 7, "log_quadratic").tolist() == [0, 7]
    assert refine_one(gaussian((31.0, 23.4)), 31, 23, "log_quadratic").tolist() == [31, 23]
    for bad in (0.0, -0.1):
        spoiled = hump.copy()
        spoiled[8, 11] = bad
        assert refine_one(spoiled, 10, 7, "log_quadratic").tolist() == [10, 7]
    saddle = np.ones((9, 9))
    saddle[4, 4], saddle[3:6, 4] = 1.0, 0.9  # higher along x, lower along y
    saddle[4, 3] = saddle[4, 5] = 1.1
    assert refine_one(saddle, 4, 4, "log_quadratic").tolist() == [4, 4]
    assert refine_one(np.ones((9, 9)), 4, 4, "log_quadratic").tolist() == [4, 4]
    assert refine_one(1 / gaussian((4.2, 4.1), height=9, width=9), 4, 4, "log_quadratic").tolist() == [4, 4]  # a pit


def test_refine_peaks_step_limit():
    position = refine_one(gaussian((13.0, 7.4)), 10, 7, "log_quadratic")  # started on the slope
    np.testing.assert_allclose(position, [11, 7.4], atol=1e-9)


def test_refine_peaks_quarter_by_hand():
    heatmap = np.zeros((6, 8))
    heatmap[3, 4], heatmap[3, 5], heatmap[2, 4] = 1.0, 0.4, 0.3
    assert refine_one(heatmap, 4, 3, "quarter").tolist() == [4.25, 2.75]
    heatmap[2, 0] = 0.1
    assert refine_one(heatmap, 0, 3, "quarter").tolist() == [0, 2.75]  # no left neighbor: x stays


def test_refine_peaks_many_maps():
    maps = np.stack([gaussian((5.2, 6.4)), gaussian((20.3, 11.8)), gaussian((9.0, 9.0))]).astype(np.float32)
    which, x, y = np.array([2, 0, 1, 0]), np.array([9, 5, 20, 6]), np.array([9, 6, 12, 6])
    together = refine_peaks(maps, which, x, y, "log_quadratic")
    np.testing.assert_allclose(together, [[9, 9], [5.2, 6.4], [20.3, 11.8], [5.2, 6.4]], atol=1e-5)


def test_find_peaks_order():
    low, high = gaussian((6.3, 6.2), 1.5, peak=0.5), gaussian((20.4, 15.7), 1.5, peak=0.8)
    positions, values = find_peaks((low + high)[None, None].astype(np.float32), 3)
    assert positions.shape == (1, 1, 3, 2)
    np.testing.assert_allclose(positions[0, 0, :2], [[20.4, 15.7], [6.3, 6.2]], atol=1e-3)
    assert np.isnan(positions[0, 0, 2]).all()
    np.testing.assert_allclose(values[0, 0], [(low + high)[16, 20], (low + high)[6, 6], 0], rtol=1e-6)
    assert find_peaks((low + high)[None], 1)[0].shape == (1, 1, 2)
    assert np.isfinite(find_peaks((low + high)[None], 2, min_share=0.7)[1]).all()
    assert (find_peaks((low + high)[None], 2, min_share=0.7)[1] > 0).tolist() == [[True, False]]


def plain_search(heatmap, num_peaks, min_share):
    """Return the highest pixels of their 5x5 neighborhoods; of equal pixels the first."""
    height, width = heatmap.shape
    found = []
    for y in range(height):
        for x in range(width):
            value = heatmap[y, x]
            best = value > 0 and value >= min_share * heatmap.max()
            for v in range(max(y - 2, 0), min(y + 3, height)):
                for u in range(max(x - 2, 0), min(x + 3, width)):
                    earlier = v * width + u < y * width + x
                    best &= (u, v) == (x, y) or (value > heatmap[v, u] if earlier else value >= heatmap[v, u])
            if best:
                found.append((x, y, value))
    return sorted(found, key=lambda entry: -entry[2])[:num_peaks]


@pytest.mark.parametrize("kind", ["noise", "few values", "ones"])
def test_find_peaks_equals_plain_search(kind):
    rng = np.random.default_rng(3)
    maps = {
        "noise": rng.normal(0, 1, (6, 13, 11)),
        "few values": rng.integers(-1, 4, (6, 13, 11)),
        "ones": np.ones((6, 13, 11)),
    }[kind].astype(np.float32)
    positions, values = find_peaks(maps, 4, "argmax", 0.2)
    for heatmap, position, value in zip(maps, positions, values, strict=True):
        expected = plain_search(heatmap, 4, 0.2)
        assert value[: len(expected)].tolist() == [entry[2] for entry in expected]
        assert not value[len(expected) :].any()
        assert np.isnan(position[len(expected) :]).all()
        assert position[: len(expected)].tolist() == [[x, y] for x, y, _ in expected]


def test_find_peaks_without_positive_values():
    maps = np.zeros((3, 8, 8), np.float32)
    maps[1], maps[2, 3, 3] = -1, 1e-40
    positions, values = find_peaks(maps)
    assert not values.any()
    assert np.isnan(positions).all()


def test_find_peaks_independent_of_blocks(monkeypatch):
    maps = np.random.default_rng(0).random((7, 2, 9, 9)).astype(np.float32)
    whole = find_peaks(maps)
    monkeypatch.setattr("lib.multiviews.keypoints.peaks._BLOCK_PIXELS", 200)
    for one, other in zip(whole, find_peaks(maps), strict=True):
        np.testing.assert_array_equal(one, other)
    assert find_peaks(maps[:0])[0].shape == (0, 2, 3, 2)


def test_find_peaks_wrong_arguments():
    with pytest.raises(InputError, match=r"'log_quadratc'.*log_quadratic"):
        find_peaks(gaussian((3, 3))[None], mode="log_quadratc")
    with pytest.raises(InputError, match="at least 1"):
        find_peaks(gaussian((3, 3))[None], 0)
    assert PEAK_MODES == ("argmax", "quarter", "log_quadratic")
