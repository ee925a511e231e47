from dataclasses import replace

import cv2
import numpy as np
import pytest
from cvf_tests.own_recording import WRONG, load_synchronized, poses_of
from cvf_tests.pages import decoded, page_data
from cvf_tests.scenes import draw_gaussians

from lib.core.own_cameras.recording import FrameHeatmaps
from lib.core.own_cameras.recording_figures import reproject, upright
from lib.core.report import recording_page
from lib.core.report.recording_page import write_recording_page
from lib.utils.transforms import get_affine_transform, transform_points


@pytest.fixture
def make_data(files, tmp_path):
    """make_data(videos=True, heatmaps=()) returns recording, poses and the data of their page."""

    def make(videos=True, heatmaps=()):
        recording = load_synchronized(files.cameras, files.videos if videos else None, files.detections)
        recording = replace(recording, heatmaps=heatmaps)
        poses = poses_of(recording)
        path = tmp_path / "report.html"
        count = write_recording_page(path, recording, poses, "agreement", "# 3D poses\n\ntext\n")
        data = page_data(path)
        assert count == len(data["pictures"])
        return recording, poses, data

    return make


def test_write_recording_page_joints_lie_on_the_discs_of_the_video(make_data):
    _, _, data = make_data()
    picture = data["pictures"][2]["views"]
    for view, (width, height) in zip(picture, data["picture_sizes"], strict=True):
        image = decoded(view["image"])
        assert image.shape[:2] == (height, width)
        x, y = np.round(view["joints"][13]).astype(int)  # left wrist: a colored disc on gray
        saturation = cv2.cvtColor(image[y : y + 1, x : x + 1], cv2.COLOR_BGR2HSV)[0, 0, 1]
        assert saturation > 80


def test_write_recording_page_cameras_follow_the_upright_world(make_data):
    recording, poses, data = make_data()
    camera = recording.rig.cameras[1]
    shown = data["rigs"][0][1]
    assert shown["name"] == recording.rig.names[1]
    expected = (poses.pose_world[4] - camera.T) @ camera.R.T
    found = (np.array(data["poses"][4]) - shown["T"]) @ np.array(shown["R"]).T
    np.testing.assert_allclose(found, expected, atol=1.5)  # mm; the page has whole mm
    upward = np.array(data["poses"][4])[:, 2]
    assert upward.argmax() in (9, 10)  # nose or head
    assert data["floor"] == pytest.approx((poses.pose_world @ upright(poses.pose_world).T)[..., 2].min())


def test_write_recording_page_measures_count_views_and_errors(make_data):
    _, poses, data = make_data()
    views, error = data["measures"]
    np.testing.assert_allclose(views["values"], poses.agrees.sum(1).mean(-1), atol=0.01)
    frame, view, joint = WRONG
    assert views["joint_values"][frame][joint] == 3
    assert data["pictures"][frame]["views"][view]["kept"][joint] == 0
    kept = np.where(poses.agrees, poses.error, np.nan)
    np.testing.assert_allclose(error["values"], np.nanmean(kept, axis=(1, 2)), atol=0.01)


def test_write_recording_page_heatmaps_lie_on_the_joints(make_data, monkeypatch):
    """The crops are rotated, and their frames have pictures in any case."""
    monkeypatch.setattr(recording_page, "MAX_PICTURED", 2)
    recording, poses, _ = make_data()
    crops = np.stack([get_affine_transform(np.full(2, 100.0), np.ones(2), 30.0, (64, 64))] * 4)
    joints_hm = transform_points(reproject(recording, poses.pose_world)[7], crops)
    maps = draw_gaussians(joints_hm.reshape(-1, 2), (64, 64), 2.0).reshape(4, 17, 64, 64)
    _, _, data = make_data(heatmaps=(FrameHeatmaps.of(7, maps / 2, maps, crops),))
    mapped = [picture for picture in data["pictures"] if "heatmaps" in picture["views"][0]]
    assert [picture["frame"] for picture in mapped] == [7]
    assert data["heatmaps"]["kinds"] == ["single-view", "fused"]
    for view in mapped[0]["views"]:
        tiles = {kind: decoded(image)[:64, :64, 0] for kind, image in view["heatmaps"].items()}  # the root
        assert tiles["fused"].max() == pytest.approx(tiles["single-view"].max() / 2, abs=12)
        y, x = np.unravel_index(tiles["single-view"].argmax(), (64, 64))
        a, b, c, d, e, f = view["heatmap_to_picture"]
        found = np.array([a, b]) * (x + 0.5) + np.array([c, d]) * (y + 0.5) + (e, f) - 0.5
        size = np.hypot(a, b)  # of a heatmap px in the picture
        np.testing.assert_allclose(found, view["joints"][0], atol=size)


def test_write_recording_page_without_videos_shows_joints(make_data):
    recording, poses, data = make_data(videos=False)
    views = data["pictures"][3]["views"]
    assert all(view["image"] is None for view in views)
    expected = reproject(recording, poses.pose_world)[3, 0]
    spread = np.ptp(expected, axis=0) / np.ptp(views[0]["joints"], axis=0)
    np.testing.assert_allclose(spread, spread[0], rtol=0.05)  # the same scale in x and y
    assert data["pictures_note"] == "Without images: joints of 20 of 20 frames."


def test_write_recording_page_long_recordings_are_sampled_with_the_worst_frames(make_data, monkeypatch):
    _, poses, whole = make_data(videos=False)
    monkeypatch.setattr(recording_page, "MAX_FRAMES", 5)
    monkeypatch.setattr(recording_page, "_WITHOUT_IMAGES", 2)
    _, _, data = make_data(videos=False)
    worst = int(poses.agrees.sum(1).mean(-1).argmin())
    assert whole["labels"][worst] in data["labels"]
    assert len(data["labels"]) in (5, 6, 7)
    assert data["rate"] == pytest.approx(30 * len(data["labels"]) / 20)
    pictured = [data["labels"][picture["frame"]] for picture in data["pictures"]]
    assert {whole["labels"][0], whole["labels"][worst], whole["labels"][19]} <= set(pictured)
