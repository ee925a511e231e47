from __future__ import annotations

import re

import numpy as np
import pytest
from cvf_tests.scenes import draw_gaussians
from scipy.spatial.transform import Rotation

from lib.core.data_check import published_rigs
from lib.core.data_check.findings import NOTE, WARNING
from lib.core.data_check.published_rigs import check_published_rigs, predicted_joints
from lib.core.pose3d.frames import load_frames
from lib.multiviews.cameras import project
from lib.utils.errors import InputError
from lib.utils.files.prediction_file import PredictionFile, PredictionWriter
from lib.utils.transforms import image_to_heatmap_affine, transform_points

NUM_FRAMES = 40
NOISE_PX = 0.3
TURN = Rotation.from_rotvec([0.0, np.radians(2.0), 0.0]).as_matrix()


def turn_camera_2(records):
    """Publish a wrong rotation of a camera; labels are made with it."""
    for record in records:
        if record["camera_id"] == 2:
            record["camera"] = record["camera"] | {"R": TURN @ record["camera"]["R"]}
            record["joints_3d_camera"] = record["joints_3d_camera"] @ TURN.T


def write_predictions(config, directory, kind: str = "peaks", attributes=None) -> None:
    """Write what a network sees in the images of the true cameras: single-view peaks, heatmaps or only joints."""
    rng = np.random.default_rng(0)
    frames = load_frames(config)
    heatmap_wh = config.NETWORK.HEATMAP_SIZE
    joints_img, _ = project(frames.gt_world[:, None], frames.cameras)
    joints_img += rng.normal(0, NOISE_PX, joints_img.shape)
    to_heatmap = image_to_heatmap_affine(frames.center, frames.scale, config.NETWORK.IMAGE_SIZE, heatmap_wh)
    joints_hm = transform_points(joints_img, to_heatmap)
    ones = np.ones((*joints_img.shape[:3], 1))
    wrong = np.full_like(joints_img, 5.0)  # must not be read if there are peaks or heatmaps
    locations = np.concatenate([joints_img if kind == "joints" else wrong, ones], -1)
    peaks = np.concatenate([joints_hm, ones], -1)[:, :, :, None]
    heatmaps = draw_gaussians(joints_hm, heatmap_wh, 1.0) if kind == "heatmaps" else None
    directory.mkdir(parents=True, exist_ok=True)
    order = frames.joint_order
    names = frames.joint_names

    def stored(values):
        result = np.empty_like(values)
        result[:, :, order] = values
        return result.reshape(-1, *values.shape[2:])

    with PredictionWriter(
        directory / config.TEST.HEATMAP_LOCATION_FILE,
        frames.image_ids.size,
        names,
        heatmap_wh if kind == "heatmaps" else None,
        attributes=attributes,
        peaks=(1, "log_quadratic") if kind == "peaks" else None,
    ) as writer:
        writer.append(
            None if heatmaps is None else stored(heatmaps),
            stored(locations),
            frames.image_ids.ravel().tolist(),
            stored(peaks) if kind == "peaks" else None,
        )


@pytest.mark.parametrize("kind", ["peaks", "heatmaps", "joints"])
def test_predicted_joints_reads_the_best_stored_source(tiny_root, tiny_config, tmp_path, kind):
    config = tiny_config(tiny_root(mpii=0, formats=()))
    write_predictions(config, tmp_path, kind)
    frames = load_frames(config)
    chosen = np.array([0, 2])
    to_heatmap = image_to_heatmap_affine(
        frames.center[chosen], frames.scale[chosen], config.NETWORK.IMAGE_SIZE, config.NETWORK.HEATMAP_SIZE
    )
    with PredictionFile(tmp_path / config.TEST.HEATMAP_LOCATION_FILE, needs_heatmaps=False) as predictions:
        found = predicted_joints(predictions, frames, chosen, to_heatmap)
    expected, _ = project(frames.gt_world[chosen][:, None], frames.cameras[chosen])
    assert np.abs(found[..., :2] - expected).max() < 6 * NOISE_PX
    np.testing.assert_allclose(np.median(found[..., 2]), 1.0)


def test_check_published_rigs_names_the_subject_and_the_camera(tiny_root, tiny_config, tmp_path):
    subjects = ((1,), (9, 11))

    def wrong_for_subject_9(records):
        turn_camera_2([record for record in records if record["subject"] == 9])

    write_predictions(tiny_config(tiny_root(subjects=subjects, frames=NUM_FRAMES, mpii=0, formats=())), tmp_path)
    config = tiny_config(tiny_root(subjects=subjects, frames=NUM_FRAMES, mpii=0, formats=(), edit=wrong_for_subject_9))
    (result,) = check_published_rigs(config, tmp_path)
    wrong, right = result.sections
    assert (wrong.title, right.title) == ("S9", "S11")
    assert "| camera 2 |" in wrong.body
    (finding,) = wrong.findings
    assert finding.level == WARNING
    moved = float(re.search(r"camera 2 moved: (\S+) degrees", finding.text)[1])
    assert moved == pytest.approx(2.0, abs=0.5)  # 2 standard deviations
    assert "camera 1 moved" not in finding.text
    (finding,) = right.findings
    assert finding.level == NOTE
    assert finding.text.startswith("no camera differs from the published one")


def test_check_published_rigs_few_frames_and_fused_heatmaps_are_said(tiny_root, tiny_config, tmp_path):
    config = tiny_config(tiny_root(mpii=0, formats=()))
    write_predictions(config, tmp_path, "joints", {"fusion": "learned"})
    (result,) = check_published_rigs(config, tmp_path)
    (section,) = result.sections
    assert section.unjudged == ["3 frames, at least 20 are needed"]
    assert "the heatmaps are fused" in section.findings[-1].text


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_check_published_rigs_useless_predictions_are_not_judged(tiny_root, tiny_config, tmp_path, monkeypatch, value):
    """An untrained network has all peaks in one place; the other checks still run."""
    config = tiny_config(tiny_root(frames=NUM_FRAMES, mpii=0, formats=()))
    write_predictions(config, tmp_path)
    monkeypatch.setattr(
        published_rigs, "predicted_joints", lambda *_: np.full((NUM_FRAMES, 4, 17, 3), value) + [0, 0, 1]
    )
    (result,) = check_published_rigs(config, tmp_path)
    (reason,) = result.sections[0].unjudged
    assert reason.startswith("the predictions show no person")


def test_check_published_rigs_without_predictions(tiny_root, tiny_config, tmp_path):
    with pytest.raises(InputError, match=r"run/pose2d/valid\.py"):
        next(check_published_rigs(tiny_config(tiny_root(mpii=0, formats=())), tmp_path))
