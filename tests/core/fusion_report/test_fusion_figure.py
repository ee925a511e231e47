"""Figure of the fusion layer compared with the records of the annotation."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.tiny_data import BOX_PX, JOINT_COLORS

from lib.core.fusion_report.fusion_figure import joint_marks, make_fusion_figure, pixel_marks
from lib.core.fusion_report.trained_fusion import TrainedFusion
from lib.core.pose3d.frames import load_frames
from lib.models.fusion import CrossViewFusion
from lib.utils.errors import InputError

MAP_WH, INPUT_WH, IMAGE_WH = (16, 24), (64, 96), (320, 480)


@pytest.fixture
def make_trained(tiny_root, tiny_config, h36m_pickle):
    """make_trained(num_views) returns (TrainedFusion without weights, records of the annotation)."""

    def make(num_views: int = 4):
        root = tiny_root(mpii=0, num_views=num_views)
        loaded = load_frames(tiny_config(root))
        annotations = loaded.annotations
        groups = loaded.groups
        fusion = CrossViewFusion(num_views, MAP_WH[::-1], init="zeros")
        return TrainedFusion(fusion, annotations, groups, INPUT_WH), h36m_pickle(root, "validation")

    return make


@pytest.fixture
def drawn_rows(monkeypatch):
    """draw(trained, group, view, marks) returns the rows of the figure instead of drawing them."""
    rows = []
    target = "lib.core.fusion_report.fusion_figure.save_heat_figure"
    monkeypatch.setattr(target, lambda path, drawn, **texts: rows.extend(drawn))

    def draw(trained, group, view, marks):
        rows.clear()
        make_fusion_figure(None, trained, group, view, marks, "jpg")
        return list(rows)

    return draw


def test_make_fusion_figure_row_has_pixel_weights_line_and_gt(make_trained, drawn_rows):
    trained, records = make_trained()
    group = trained.group(1)
    view = 2
    joint = 16
    x, y = group.pixels(view, group.joints_img[view, joint][None])[0][0]
    trained.fusion.weight.data[view, 1, 5 * MAP_WH[0] + 9, y * MAP_WH[0] + x] = 7.0  # pixel (9, 5) of view 1
    first, row = drawn_rows(trained, group, view, joint_marks(trained, group, view, ["nose", "rwri"]))
    assert (first.title, row.title) == ("view 3 (target): nose", "view 3 (target): rwri")
    assert not first.heat.any()
    assert np.argwhere(row.heat).tolist() == [[1, 5, 9]]
    assert row.heat[1, 5, 9] == 7
    assert row.names[0] == "view 1: no positive weight"
    assert row.names[1].startswith("view 2: 0 % of + near the line (area ")
    views = records[4:8]
    expected = [
        (record["joints_2d"][joint] - record["center"]) * IMAGE_WH[0] / BOX_PX + np.array(IMAGE_WH) / 2
        for record in views
    ]
    np.testing.assert_allclose(row.point, expected[view], atol=1e-2)
    np.testing.assert_allclose(row.gt, [expected[other] for other in (0, 1, 3)], atol=1e-2)
    for other, image in zip((0, 1, 3), row.others, strict=True):  # the image has a disc in the joint's color there
        assert image.shape == (IMAGE_WH[1], IMAGE_WH[0], 3)
        column, line = np.round(expected[other]).astype(int)
        np.testing.assert_allclose(image[line, column].astype(int), JOINT_COLORS[joint], atol=60)
    for curve, gt in zip(row.curves, row.gt, strict=True):
        assert np.nanmin(np.linalg.norm(curve[row.near] - gt, axis=-1)) < 8  # corners are 5 cm apart, 1 px is 8 mm


def test_make_fusion_figure_line_ends_behind_a_camera(make_trained, drawn_rows):
    trained, _ = make_trained(2)  # two cameras that look at each other
    group = trained.group(0)
    (row,) = drawn_rows(trained, group, 0, joint_marks(trained, group, 0, ["rwri"]))
    shown = np.isfinite(row.curves[0]).all(-1)
    assert shown[row.near].all()
    assert not shown[-20:].any()


def test_pixel_marks_have_no_true_position(make_trained, drawn_rows):
    trained, records = make_trained(3)
    center = records[3]["center"]
    marks = pixel_marks(trained, trained.group(1), 0, [center, center + [-30, 12]], "jpg")
    rows = drawn_rows(trained, trained.group(1), 0, marks)
    assert [row.gt for row in rows] == [None, None]
    np.testing.assert_allclose(rows[0].point, np.array(IMAGE_WH) / 2, atol=1e-3)
    np.testing.assert_allclose(rows[1].point - rows[0].point, np.array([-30, 12]) * IMAGE_WH[0] / BOX_PX, atol=1e-3)


def test_marks_impossible_points_are_refused(make_trained):
    trained, records = make_trained()
    group = trained.group(0)
    joints = trained.annotations.joints_img
    row = trained.groups[0, 1]
    center = records[1]["center"]
    with pytest.raises(InputError, match=r"unknown joint 'rwrist' in --joint; did you mean 'rwri'\?"):
        joint_marks(trained, group, 1, ["lank", "rwrist"])
    with pytest.raises(InputError, match=r"unknown joint 'thorax' in --joint"):  # of the union, but not of Human3.6M
        joint_marks(trained, group, 1, ["thorax"])
    for pixel in ([200, 50], [50, -1], [50, 200]):
        with pytest.raises(InputError, match=r"--pixel: expected a pixel of view 2, 200 x 200 px"):
            pixel_marks(trained, group, 1, [center, pixel], "jpg")
    outside = [center[0] + BOX_PX / 2 + 3, center[1]]
    with pytest.raises(InputError, match=r"--pixel: expected a point in the crop of view 2, x \d+ to \d+"):
        pixel_marks(trained, group, 1, [outside], "jpg")
    joints[row, 0] = outside
    trained.annotations.visible[row, 1] = False
    with pytest.raises(InputError, match=r"--joint: expected a point in the crop of view 2, .* received root at"):
        joint_marks(trained, trained.group(0), 1, ["root"])
    with pytest.raises(InputError, match="--joint: rhip is not annotated in view 2 of group 0"):
        joint_marks(trained, trained.group(0), 1, ["rhip"])
