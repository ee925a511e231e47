from dataclasses import replace

import cv2
import numpy as np
import pytest
from cvf_tests.pages import decoded, page_data
from cvf_tests.tiny_data import JOINT_COLORS

from lib.core.report import run_page
from lib.core.report.run_page import write_run_page


@pytest.fixture
def make_data(make_run, h36m_pickle, tmp_path):
    """make_data(edit=None, chosen=(), single_view=None, **options of tiny_root) returns the run and its page's data."""

    def make(edit=None, chosen=(), single_view=None, **options):
        _, run, _ = make_run(h36m_pickle, **options)
        run = run if edit is None else edit(run)
        path = tmp_path / "report.html"
        count = write_run_page(path, run, "rpsm", "# 3D results\n", chosen, single_view)
        data = page_data(path)
        assert count == len(data["pictures"])
        return run, data

    return make


def test_write_run_page_joints_lie_on_the_image(make_data):
    _, data = make_data()
    assert data["pictures_note"].startswith("Pictures of 3 of 3 frames, 256 x 256 px")
    for view in data["pictures"][1]["views"]:
        image = decoded(view["image"])
        x, y = np.round(view["gt"][16]).astype(int)  # right wrist, drawn last
        np.testing.assert_allclose(image[y, x].astype(int), JOINT_COLORS[16], atol=70)
        np.testing.assert_allclose(view["detections"], view["gt"], atol=0.11)  # perfect predictions
        tile = decoded(view["heatmaps"]["predicted"])[: data["heatmaps"]["tile"][1], : data["heatmaps"]["tile"][0], 0]
        row, column = np.unravel_index(cv2.GaussianBlur(tile, (3, 3), 0).argmax(), tile.shape)
        stride = view["heatmap_to_picture"][0]
        np.testing.assert_allclose([column * stride, row * stride], view["gt"][0], atol=stride)
    error = data["measures"][0]
    assert (error["name"], error["values"]) == ("error", [30.0] * 3)
    assert data["measures"][1]["values"] == [4.0] * 3
    assert np.subtract(data["poses"], data["gt"])[..., 2].min() >= 29


def test_write_run_page_rigs_are_the_different_sets_of_cameras(make_data):
    run, data = make_data(subjects=((1,), (9, 11)))  # each subject has its own cameras
    assert len(data["rigs"]) == 2
    for frame in (0, 5):
        shown = data["rigs"][data["rig"][frame]][2]
        np.testing.assert_allclose(shown["T"], run.frames.cameras.T[frame, 2], atol=0.1)


def test_write_run_page_worst_and_chosen_frames_have_pictures(make_data, monkeypatch):
    def edit(run):
        pose = run.pose_world.copy()
        pose[7] += 400
        return replace(run, pose_world=pose, num_views_agree=None)

    monkeypatch.setattr(run_page, "EVEN_FRAMES", 2)
    monkeypatch.setattr(run_page, "WORST_FRAMES", 1)
    _, data = make_data(edit, [4], frames=12)
    assert [picture["frame"] for picture in data["pictures"]] == [0, 4, 7, 11]
    assert [measure["name"] for measure in data["measures"]] == ["error"]


def test_write_run_page_single_view_heatmaps_are_asked_for_few_frames(make_data, monkeypatch):
    asked = []

    def single_view(frames):
        asked.extend(frames)
        return np.full((len(frames), 4, 17, 16, 16), 0.2)

    monkeypatch.setattr(run_page, "WORST_FRAMES", 1)
    monkeypatch.setattr(run_page, "SINGLE_VIEW_FRAMES", 3)
    _, data = make_data(None, single_view=single_view, frames=9)
    assert asked == sorted({0, *asked, 8})
    assert len(asked) <= 3
    assert data["heatmaps"]["kinds"] == ["single-view", "predicted"]
    for picture in data["pictures"]:
        has = [("single-view" in view["heatmaps"]) for view in picture["views"]]
        assert has == [picture["frame"] in asked] * 4
