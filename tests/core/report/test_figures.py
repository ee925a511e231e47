"""Figures of a run, compared with the annotation."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from cvf_tests.predictions import write_poses
from cvf_tests.tiny_data import JOINT_COLORS

from lib.core.pose3d.metrics_3d import summarize
from lib.core.report.comparison import load_runs
from lib.core.report.figures import (
    VIEW_PX,
    make_animation,
    make_comparison_charts,
    make_contact_sheet,
    make_error_charts,
    make_pose_figure,
    posed_frame,
)
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17


@pytest.mark.parametrize("whole_images", [False, True])
@pytest.mark.parametrize("num_views", [3, 4])
def test_posed_frame_projects_joints_into_images(make_run, h36m_pickle, num_views, whole_images):
    _, run, records = make_run(h36m_pickle, num_views=num_views)
    frame = posed_frame(run, 1, whole_images)
    assert len(frame.images) == num_views
    for view, record in enumerate(records[num_views : 2 * num_views]):
        expected = record["joints_2d"]  # images are 200 px and are not enlarged
        if not whole_images:
            expected = (expected - record["center"]) * VIEW_PX / (200 * record["scale"][0]) + VIEW_PX / 2
        np.testing.assert_allclose(frame.gt_joints[view], expected, atol=1e-2)
        # the image has a disc in the joint's color there; the right wrist is drawn last, so nothing covers it
        x, y = np.round(frame.gt_joints[view][16]).astype(int)
        np.testing.assert_allclose(frame.images[view][y, x].astype(int), JOINT_COLORS[16], atol=60)
        lifted = frame.gt_joints[view][:, 1] - frame.joints[view][:, 1]
        assert (lifted > 0).all()  # 30 mm too high


def test_posed_frame_large_images_are_reduced(make_run, h36m_pickle, monkeypatch):
    _, run, records = make_run(h36m_pickle)
    large = cv2.imread(str(run.frames.annotations.images_dir / records[0]["image"])).repeat(5, 0).repeat(5, 1)
    monkeypatch.setattr("lib.core.report.figures.read_view", lambda *_: large)
    frame = posed_frame(run, 0, whole_images=True)
    assert frame.images[0].shape == (VIEW_PX, VIEW_PX, 3)
    # the center of pixel x of 1000 lies at (x + 0.5) * 512 / 1000 - 0.5
    expected = (records[0]["joints_2d"] + 0.5) * VIEW_PX / 1000 - 0.5
    np.testing.assert_allclose(frame.gt_joints[0], expected, atol=1e-2)


def test_posed_frame_joints_behind_camera_are_nan(make_run, h36m_pickle):
    _, run, _ = make_run(h36m_pickle)
    camera = run.frames.cameras[0, 1]
    run.pose_world[0, 4] = camera.T - 500 * camera.R[2]  # 0.5 m behind
    frame = posed_frame(run, 0, whole_images=False)
    assert np.isnan(frame.joints[1, 4]).all()
    assert np.isfinite(frame.joints[1, :4]).all()


@pytest.mark.parametrize("formats", [("jpg",), ("zip",)])
def test_figures_are_readable_files(make_run, h36m_pickle, tmp_path, formats):
    _, run, _ = make_run(h36m_pickle, formats=formats)
    run = replace(run, data_format=formats[0])
    make_contact_sheet(run, [0, 2], tmp_path / "sheet.png")
    make_pose_figure(run, 1, tmp_path / "frame.png")
    make_pose_figure(run, 1, tmp_path / "whole.png", whole_images=True)
    for name in ("sheet.png", "frame.png", "whole.png"):
        image = cv2.imread(str(tmp_path / name))
        assert image is not None
        assert 300 < min(image.shape[:2]) < max(image.shape[:2]) < 2000
    make_animation(run, [0, 1, 2], tmp_path / "walk.mp4")
    video = cv2.VideoCapture(str(tmp_path / "walk.mp4"))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1].astype(int))
    assert len(frames) == 3
    assert np.abs(frames[0] - frames[2]).mean() > 1


def test_make_contact_sheet_shows_predicted_locations(make_run, h36m_pickle, tmp_path, monkeypatch):
    config, run, records = make_run(h36m_pickle)
    shown = []
    monkeypatch.setattr("lib.core.report.figures.save_contact_sheet", lambda path, rows, *_: shown.extend(rows))
    make_contact_sheet(run, [1], tmp_path / "sheet.png")
    size = config.NETWORK.IMAGE_SIZE[0]
    expected = (records[6]["joints_2d"] - records[6]["center"]) * size / (200 * records[6]["scale"][0]) + size / 2
    np.testing.assert_allclose(shown[0].joints_crop[2], expected, atol=1e-2)
    assert shown[0].crops.shape == (4, size, size, 3)
    assert shown[0].title == "frame 1"


def test_error_and_comparison_charts_are_written(make_run, h36m_pickle, tmp_path):
    config, run, _ = make_run(h36m_pickle)
    results = summarize(run.pose_world, run.gt_world, run.frames.actions, H36M_17.names)
    names = make_error_charts(run, results, "a title", tmp_path / "charts")
    write_poses(config, tmp_path / "run", run.gt_world + 50, "other.npz", "other")
    names += make_comparison_charts(load_runs([tmp_path / "run"]), tmp_path / "charts")
    assert sorted(names) == sorted(path.name for path in (tmp_path / "charts").iterdir())
    assert len(names) == 5
    assert all(cv2.imread(str(tmp_path / "charts" / name)) is not None for name in names)


def test_figures_missing_input_is_refused(make_run, h36m_pickle, tmp_path):
    _, run, records = make_run(h36m_pickle)
    (run.frames.annotations.images_dir / records[5]["image"]).unlink()
    with pytest.raises(InputError, match="no such image"):
        make_animation(run, [0, 1], tmp_path / "walk.gif")
    with pytest.raises(InputError, match="no such image"):
        make_pose_figure(run, 1, tmp_path / "frame.png")
    (tmp_path / "run/predicted_heatmaps.h5").unlink()
    with pytest.raises(InputError, match=r"valid\.py"):
        make_contact_sheet(run, [0], tmp_path / "sheet.png")
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".png", ".gif")] == []
