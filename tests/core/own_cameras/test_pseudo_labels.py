from __future__ import annotations

import json

import numpy as np
import pytest

from lib.core.config_io import load_config
from lib.core.own_cameras.pseudo_labels import MARKER, PseudoLabelSettings, agreeing_labels, make_pseudo_labels
from lib.core.pose3d.frames import load_frames
from lib.multiviews.cameras import distort, project, world_to_camera
from lib.utils.errors import InputError
from lib.utils.files.prediction_file import PredictionWriter

ON_TRAIN = ["DATASET.TEST_SUBSET", "train"]


def gt_locations(frames):
    """(F, V, 17, 3) in the order of the frames' joints."""
    points, _ = project(frames.gt_world[:, None], frames.cameras)
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], -1)


def write_predictions(config, directory, frames, locations):
    """Store locations in the order of predictions, with empty heatmaps."""
    width, height = config.NETWORK.HEATMAP_SIZE
    order = [frames.joint_set.names.index(name) for name in frames.joint_names]
    rows = locations[:, :, order].reshape(-1, 17, 3).astype(np.float32)
    directory.mkdir(parents=True)
    with PredictionWriter(directory / "predicted_heatmaps.h5", len(rows), frames.joint_names, (width, height)) as file:
        file.append(np.zeros((len(rows), 17, height, width), np.float32), rows, frames.image_ids.ravel().tolist())


def test_agreeing_labels_outliers_are_not_kept(tiny_root, tiny_config):
    frames = load_frames(tiny_config(tiny_root(), *ON_TRAIN))
    locations = gt_locations(frames)
    locations[1, 2, 5, :2] += 40  # one view is wrong
    locations[2, :2, 7, :2] += [[40], [-40]]  # two views are wrong: no three agree
    labels = agreeing_labels(locations, frames, PseudoLabelSettings())
    expected = np.ones(locations.shape[:3], bool)
    expected[1, 2, 5] = False
    expected[2, :, 7] = False
    np.testing.assert_array_equal(labels.kept, expected)
    error = np.linalg.norm(labels.pose_world - frames.gt_world, axis=-1)
    assert error[expected.any(1)].max() < 0.1
    assert np.isfinite(error).all()


def test_agreeing_labels_joints_without_peak_are_not_kept(tiny_root, tiny_config):
    frames = load_frames(tiny_config(tiny_root(), *ON_TRAIN))
    locations = gt_locations(frames)
    locations[:, :, 9, 2] = 0  # empty heatmaps: their locations are meaningless even if they agree
    labels = agreeing_labels(locations, frames, PseudoLabelSettings())
    np.testing.assert_array_equal(labels.kept.all((0, 1)), np.arange(17) != 9)
    assert not labels.kept[:, :, 9].any()
    assert np.isfinite(labels.pose_world).all()


def along_the_rays(points_world, cameras):
    """Pixels (V, 2) of the lines through a point, also where it is behind the camera."""
    points_cam = world_to_camera(points_world, cameras)
    return (distort(points_cam[..., :2] / points_cam[..., 2:], cameras) * cameras.f[:, None] + cameras.c[:, None])[:, 0]


@pytest.mark.filterwarnings("error")
def test_make_pseudo_labels_rays_meeting_behind_a_camera_give_finite_labels(tiny_root, tiny_config, tmp_path):
    root = tiny_root()
    config = tiny_config(root, *ON_TRAIN)
    frames = load_frames(config)
    locations = gt_locations(frames)
    cameras = frames.cameras[0]
    away = (cameras.T[2] - cameras.T[0]) @ [[1, 0.1, 0], [-0.1, 1, 0], [0, 0, 1]]
    behind = cameras.T[2] + 200 * away  # 2000 km from camera 2
    locations[0, :, 5, :2] = along_the_rays(behind, cameras)
    locations[0, [1, 3], 5, 2] = 0  # only the two opposite cameras: not kept
    locations[1, ..., 2] = 0  # nothing was predicted
    labels = agreeing_labels(locations, frames, PseudoLabelSettings())
    assert not labels.kept[0, :, 5].any()
    assert not labels.kept[1].any()
    np.testing.assert_allclose(labels.pose_world[0, 5], np.median(np.delete(labels.pose_world[0], 5, 0), 0))
    assert np.isfinite(labels.pose_world).all()
    write_predictions(config, tmp_path / "run", frames, locations)
    make_pseudo_labels(config, tmp_path / "run", tmp_path / "free", PseudoLabelSettings())
    made = load_config(tmp_path / "tiny.yaml", ["DATASET.ROOT", str(tmp_path / "free"), *ON_TRAIN])
    loaded = load_frames(made)
    annotations = loaded.annotations
    groups = loaded.groups
    assert np.abs(annotations.joints_img[groups][annotations.visible[groups]]).max() < 400


def _looks_away(records):
    for record in records[3::4]:
        record["camera"] = {**record["camera"], "R": np.diag([-1.0, 1, -1]) @ record["camera"]["R"]}


def test_make_pseudo_labels_joint_behind_a_camera_has_the_crop_center(tiny_root, tiny_config, tmp_path):
    config = tiny_config(tiny_root(edit=_looks_away), *ON_TRAIN)
    frames = load_frames(config)
    write_predictions(config, tmp_path / "run", frames, gt_locations(frames))
    make_pseudo_labels(config, tmp_path / "run", tmp_path / "free", PseudoLabelSettings())
    made = load_config(tmp_path / "tiny.yaml", ["DATASET.ROOT", str(tmp_path / "free"), *ON_TRAIN])
    loaded = load_frames(made)
    annotations = loaded.annotations
    groups = loaded.groups
    seen = annotations.visible[groups].any(-1)
    np.testing.assert_array_equal(seen, np.tile([True, True, True, False], (3, 1)))
    centers = np.repeat(annotations.center[groups[:, 3]][:, None], 17, 1)
    joints = [joint for joint in range(20) if annotations.visible[groups[0, 0], joint]]
    np.testing.assert_array_equal(annotations.joints_img[groups[:, 3]][:, joints], centers)


def test_make_pseudo_labels_other_files_are_shared(tiny_root, tiny_config, tmp_path):
    root = tiny_root()
    config = tiny_config(root, *ON_TRAIN)
    frames = load_frames(config)
    locations = gt_locations(frames)
    locations[0, 1, 3, :2] -= 50
    write_predictions(config, tmp_path / "run", frames, locations)
    report = make_pseudo_labels(config, tmp_path / "run", tmp_path / "free", PseudoLabelSettings())
    assert "| **all** |" in report
    assert json.loads((tmp_path / "free" / MARKER).read_text())["frames"] == 3
    made = load_config(tmp_path / "tiny.yaml", ["DATASET.ROOT", str(tmp_path / "free")])
    for opts, is_new in ((["DATASET.TEST_SUBSET", "train"], True), ([], False)):
        loaded = load_frames(load_config(tmp_path / "tiny.yaml", ["DATASET.ROOT", made.DATASET.ROOT, *opts]))
        new = loaded.annotations
        groups = loaded.groups
        old = load_frames(load_config(tmp_path / "tiny.yaml", opts)).annotations
        np.testing.assert_allclose(new.joints_img[old.visible], old.joints_img[old.visible], atol=0.02)
        np.testing.assert_allclose(new.labels3d.pose_cam, old.labels3d.pose_cam, atol=0.1)
        assert (old.visible & ~new.visible).sum() == int(is_new)
        for name in (new.image_name(row) for row in groups.ravel()):
            assert (new.images_dir / name).is_file()
    assert (tmp_path / "free/mpii/annot/train.json").is_file()


def test_make_pseudo_labels_existing_folder_and_invalid_settings_are_refused(tiny_root, tiny_config, tmp_path):
    config = tiny_config(tiny_root(), *ON_TRAIN)
    frames = load_frames(config)
    write_predictions(config, tmp_path / "run", frames, gt_locations(frames))
    make_pseudo_labels(config, tmp_path / "run", tmp_path / "free", PseudoLabelSettings())
    with pytest.raises(InputError, match="--force"):
        make_pseudo_labels(config, tmp_path / "run", tmp_path / "free", PseudoLabelSettings())
    make_pseudo_labels(config, tmp_path / "run", tmp_path / "free", PseudoLabelSettings(), force=True)
    wrong = {
        "--min-views": [{"min_views": 1}, {"min_views": 5}],
        "--tolerance": [{"tolerance": 0.0}, {"tolerance": np.nan}],
    }
    for flag, values in wrong.items():
        for value in values:
            with pytest.raises(InputError, match=flag):
                agreeing_labels(gt_locations(frames), frames, PseudoLabelSettings(**value))
    with pytest.raises(InputError, match="agree on no joint"):
        agreeing_labels(np.random.default_rng(0).uniform(0, 200, (3, 4, 17, 3)), frames, PseudoLabelSettings(1e-4))
    other_step = tiny_config(config.DATASET.ROOT, *ON_TRAIN, "DATASET.TEST_STEP", "2")
    with pytest.raises(InputError, match="another data set"):
        make_pseudo_labels(other_step, tmp_path / "run", tmp_path / "x", PseudoLabelSettings())


def test_make_pseudo_labels_of_the_validation_set_are_refused(tiny_root, tiny_config, tmp_path):
    config = tiny_config(tiny_root())
    frames = load_frames(config)
    write_predictions(config, tmp_path / "run", frames, gt_locations(frames))
    with pytest.raises(
        InputError, match=r"DATASET\.TEST_SUBSET: expected train, the training set, received validation"
    ):
        make_pseudo_labels(config, tmp_path / "run", tmp_path / "free", PseudoLabelSettings())
    assert not (tmp_path / "free").exists()
