"""The share of weight near the epipolar lines, on matrices whose share is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from lib.core.fusion_report.epipolar_share import BAND_PX, measure_shares, shares_text, view_shares
from lib.core.fusion_report.trained_fusion import TrainedFusion
from lib.core.pose3d.frames import load_frames
from lib.models.fusion import CrossViewFusion
from lib.multiviews.cameras import project

SIZE_WH = (40, 48)


@pytest.fixture
def trained(tiny_root, tiny_config) -> TrainedFusion:
    """Three groups of four views, maps of 40 x 48 px, no weights."""
    loaded = load_frames(tiny_config(tiny_root(mpii=0)))
    annotations = loaded.annotations
    rows = loaded.groups
    return TrainedFusion(CrossViewFusion(4, SIZE_WH[::-1], init="zeros"), annotations, rows, (160, 192))


def line_distances(trained: TrainedFusion, index: int, view: int, other: int) -> np.ndarray:
    """Distances of the pixels of `other` from the lines from `view` through the true 3D joints, (J, H, W) px.

    The lines are drawn on a canvas of 8 px per px with a margin of 5 px, and OpenCV measures the distances.
    """
    annotations = trained.annotations
    rows = trained.groups[index]
    cameras = annotations.labels3d.cameras[annotations.labels3d.camera_idx[rows]]
    joints = annotations.labels3d.pose_world(rows[:1])[0][:, None]
    steps = np.geomspace(0.05, 20, 1000)[:, None]  # 1 = at the joint
    points = cameras.T[view] + steps * (joints - cameras.T[view])
    pixels, depth = project(points.reshape(-1, 3), cameras[other])
    side = annotations.scale[rows[other], 0] * 200
    in_map = (pixels - annotations.center[rows[other]]) * SIZE_WH[0] / side + np.array(SIZE_WH) / 2
    in_map = np.where(depth[:, None] > 500, in_map, -1e3).reshape(17, 1000, 2)
    distances = []
    for line in in_map:
        canvas = np.full((58 * 8, 50 * 8), 255, np.uint8)
        drawn = line[((line > -20) & (line < 70)).all(-1)]
        cv2.polylines(canvas, [np.rint((drawn + 5) * 8).astype(np.int32)], False, 0)
        distances.append(cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[40:-40:8, 40:-40:8] / 8)
    return np.stack(distances)


def weigh_bands(trained: TrainedFusion, index: int, width: float) -> None:
    """Give weight 1 to all pixels up to `width` px from the epipolar lines of the true joints, in view 0 and 3."""
    group = trained.group(index)
    for view in (0, 3):
        columns = group.pixels(view, group.joints_img[view])[0] @ [1, SIZE_WH[0]]
        for n, other in enumerate(group.sources(view)):
            band = line_distances(trained, index, view, other).reshape(17, -1) <= width
            trained.fusion.weight.data[view, n, :, columns] = torch.as_tensor(band.T).float()


def test_measure_shares_matrices_along_the_lines_have_a_share_near_1(trained):
    weigh_bands(trained, 1, 1.5)
    shares = measure_shares(trained, [1])
    assert shares.num_joints.tolist() == [[17] * 3, [0] * 3, [0] * 3, [17] * 3]
    made, others = shares.weight[[0, 3]], shares.weight[[1, 2]]
    assert (made > 0.94).all()  # not 1: some joints share a pixel
    assert np.median(made) > 0.99
    assert np.isnan(others).all()
    assert (shares.area[[0, 3]] < 0.2).all()
    trained.fusion.weight.data[trained.fusion.weight == 0] = -5  # negative weights do not count
    np.testing.assert_allclose(measure_shares(trained, [1]).weight, shares.weight, rtol=1e-6)
    weigh_bands(trained, 1, 4.0)  # twice BAND_PX
    assert (np.abs(measure_shares(trained, [1]).weight[[0, 3]] - 0.52) < 0.08).all()


def test_measure_shares_uniform_weights_have_the_share_of_the_area(trained):
    trained.fusion.weight.data.fill_(0.3)
    shares = measure_shares(trained, [0, 2])
    assert shares.num_joints.tolist() == [[34] * 3] * 4
    np.testing.assert_allclose(shares.weight, shares.area, rtol=1e-6)
    # a straight line across a map 40 px wide has a band of about 4 x 40 of 40 x 48 px
    assert (np.abs(shares.area[0, [0, 2]] - 4 / 48) < 0.015).all()


def test_measure_shares_joints_outside_the_crop_or_without_weight_do_not_count(trained):
    trained.fusion.weight.data.fill_(1.0)
    row = trained.groups[1, 2]
    trained.annotations.joints_img[row, 0] = trained.annotations.center[row] + 70  # outside the 120 px box
    trained.annotations.visible[row, 1] = False
    x, y = trained.group(1).pixels(3, trained.group(1).joints_img[3][5:6])[0][0]
    trained.fusion.weight.data[3, 1, :, y * SIZE_WH[0] + x] = 0
    shares = measure_shares(trained, [1])
    assert shares.num_joints.tolist() == [[17] * 3, [17] * 3, [15] * 3, [17, 16, 17]]


def test_view_shares_single_points_have_known_shares(trained):
    trained.fusion.weight.data.fill_(1.0)
    group = trained.group(0)
    weight, area = view_shares(trained, group, 1, group.joints_img[1][:4])
    assert weight.shape == area.shape == (4, 3)
    assert BAND_PX == 2.0
    for n, other in enumerate((0, 2, 3)):
        expected = (line_distances(trained, 0, 1, other)[:4] <= 2).mean((1, 2))
        np.testing.assert_allclose(area[:, n], expected, atol=0.006)  # lines on the canvas are 1/8 px wide
    np.testing.assert_allclose(weight, area, rtol=1e-6)
    assert view_shares(trained, group, 1, group.joints_img[1][:0])[0].shape == (0, 3)


def test_shares_text_has_a_row_per_pair_of_views(trained):
    text = shares_text(measure_shares(trained, [0]), 1)
    assert "No weight is positive" in text
    assert "| 3 <- 2 " in text
    trained.fusion.weight.data.fill_(1.0)
    shares = measure_shares(trained, [0, 1])
    text = shares_text(shares, 2)
    line = next(line for line in text.splitlines() if line.startswith("| 4 <- 1 "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["4 <- 1", "34", f"{100 * shares.weight[3, 0]:.1f}", f"{100 * shares.area[3, 0]:.1f}", "1.0"]
    assert f"| all                |    408 | {100 * shares.area.mean():24.1f} |" in text
    assert "(mean over 2 groups)" in text.splitlines()[-1]
