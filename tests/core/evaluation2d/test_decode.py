from __future__ import annotations

import numpy as np
import pytest

from lib.core.config_io import load_config
from lib.core.evaluation2d.decode import get_max_preds, peak_mode, predict_locations
from lib.utils.errors import InputError
from lib.utils.transforms import get_affine_transform, transform_points


def maps_with(*peaks, height=12, width=16):
    """One image, a joint per peak (x, y, value)."""
    heatmaps = np.zeros((1, len(peaks), height, width), np.float32)
    for joint, (x, y, value) in enumerate(peaks):
        heatmaps[0, joint, y, x] = value
    return heatmaps


def test_get_max_preds_finds_the_highest_pixels():
    positions, values = get_max_preds(maps_with((3, 7, 0.5), (15, 0, 2.0), (0, 11, 1.0)))
    assert positions.tolist() == [[[3, 7], [15, 0], [0, 11]]]
    assert values.tolist() == [[0.5, 2.0, 1.0]]


@pytest.mark.parametrize("mode", ["argmax", "quarter", "log_quadratic"])
def test_get_max_preds_peak_not_positive_is_at_0_0(mode):
    heatmaps = np.full((1, 2, 12, 16), -1.0, np.float32)
    heatmaps[0, 0, 5, 5] = -0.5
    heatmaps[0, 0, 5, 6] = -0.6
    heatmaps[0, 1] = 0
    positions, values = get_max_preds(heatmaps, mode)
    assert positions.tolist() == [[[0, 0], [0, 0]]]
    assert values.tolist() == [[-0.5, 0]]


def test_get_max_preds_quarter_shifts_toward_the_larger_neighbor():
    heatmaps = maps_with((3, 7, 1.0), (3, 7, 1.0), (3, 7, 1.0), (0, 7, 1.0), (15, 11, 1.0))
    heatmaps[0, 0, 7, 4] = heatmaps[0, 0, 6, 3] = 0.5  # right and up
    heatmaps[0, 1, 7, 2] = 0.5
    heatmaps[0, 1, 7, 4] = 0.4  # left, y even
    heatmaps[0, 2, 8, 3] = -0.5  # away from the smaller
    heatmaps[0, 3, 7, 1] = 0.5  # no left neighbor: x stays
    heatmaps[0, 3, 8, 0] = 0.5
    positions, values = get_max_preds(heatmaps, "quarter")
    assert positions.tolist() == [[[3.25, 6.75], [2.75, 7], [3, 6.75], [0, 7.25], [15, 11]]]
    assert values.tolist() == [[1.0] * 5]


@pytest.mark.parametrize("image_wh", [(256, 256), (192, 256)])
def test_predict_locations_invert_the_crop(image_wh):
    width, height = image_wh[0] // 4, image_wh[1] // 4
    rng = np.random.default_rng(0)
    center, scale = rng.uniform(300, 700, (2, 2)), rng.uniform(1, 3, (2, 2))
    peaks = np.stack([rng.integers(0, width, (2, 3)), rng.integers(0, height, (2, 3))], -1)
    heatmaps = np.zeros((2, 3, height, width), np.float32)
    for image in range(2):
        for joint, (x, y) in enumerate(peaks[image]):
            heatmaps[image, joint, y, x] = 0.25 + joint
    locations = predict_locations(heatmaps, center, scale, image_wh)
    assert locations.shape == (2, 3, 3)
    assert locations[..., 2].tolist() == [[0.25, 1.25, 2.25]] * 2
    crop = get_affine_transform(center, scale, 0.0, image_wh)
    np.testing.assert_allclose(transform_points(locations[..., :2], crop), peaks * 4.0, atol=1e-6)


def test_predict_locations_equal_hand_computed_values():
    # 100 px box around (50, 60) on 40 px input and 10 px maps: a heatmap px is 10 image px, the map starts at (0, 10)
    locations = predict_locations(
        maps_with((3, 7, 1.0), height=10, width=10), np.array([[50.0, 60]]), np.array([[0.5, 0.5]]), (40, 40)
    )
    np.testing.assert_allclose(locations, [[[30, 80, 1.0]]])


def test_get_max_preds_log_quadratic_is_exact_for_a_gaussian():
    y, x = np.mgrid[:12, :16]
    heatmaps = 0.7 * np.exp(-((x - 6.3) ** 2 + (y - 4.55) ** 2) / (2 * 1.5**2))[None, None].astype(np.float32)
    expected = {"argmax": [6, 5], "quarter": [6.25, 4.75], "log_quadratic": [6.3, 4.55]}
    for mode, position in expected.items():
        positions, values = get_max_preds(heatmaps, mode)
        np.testing.assert_allclose(positions[0, 0], position, atol=1e-5)
        assert values[0, 0] == heatmaps.max()
    # 10 image px per heatmap px, the map starts at (0, 10): see test_predict_locations_equal_hand_computed_values
    locations = predict_locations(
        heatmaps[..., :10, :10], np.array([[50.0, 60]]), np.array([[0.5, 0.5]]), (40, 40), "log_quadratic"
    )
    np.testing.assert_allclose(locations[0, 0, :2], [63, 55.5], atol=1e-4)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", "argmax"),
        ("POST_PROCESS: true", "quarter"),
        ("PEAK_MODE: quarter", "quarter"),
        ("PEAK_MODE: quarter, POST_PROCESS: true", "quarter"),
        ("PEAK_MODE: log_quadratic", "log_quadratic"),
    ],
)
def test_peak_mode_post_process_is_quarter(tmp_path, text, mode):
    (tmp_path / "a.yaml").write_text(f"TEST: {{{text}}}")
    assert peak_mode(load_config(tmp_path / "a.yaml").TEST) == mode


def test_load_config_contradicting_peak_keys_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("TEST: {POST_PROCESS: true}")
    with pytest.raises(InputError, match=r"POST_PROCESS.*PEAK_MODE"):
        load_config(tmp_path / "a.yaml", ["TEST.PEAK_MODE", "log_quadratic"])


@pytest.mark.parametrize("like_gpu", [False, True])
@pytest.mark.parametrize("mode", ["argmax", "quarter", "log_quadratic"])
def test_predict_locations_tensors_equal_arrays(monkeypatch, mode, like_gpu):
    torch = pytest.importorskip("torch")
    if like_gpu:
        monkeypatch.setattr("lib.core.evaluation2d.decode.on_host", lambda heatmaps: heatmaps)
    rng = np.random.default_rng(0)
    heatmaps = rng.integers(-1, 3, (4, 5, 12, 16)).astype(np.float32)  # with ties
    heatmaps[0] = -1
    boxes = rng.uniform(50, 100, (4, 2)), rng.uniform(1, 2, (4, 2))
    expected = predict_locations(heatmaps, *boxes, (64, 48), mode)
    np.testing.assert_array_equal(predict_locations(torch.as_tensor(heatmaps), *boxes, (64, 48), mode), expected)
