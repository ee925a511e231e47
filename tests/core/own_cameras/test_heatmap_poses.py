from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.followed_person import People, coded_images
from cvf_tests.knowing_network import Knowing
from cvf_tests.own_recording import make_recording
from cvf_tests.scenes import draw_gaussians

from lib.core.config_io import load_config
from lib.core.own_cameras import heatmap_poses
from lib.core.own_cameras import recording as recording_module
from lib.core.own_cameras.heatmap_poses import (
    detect_people,
    find_person,
    leave_one_out_of_heatmaps,
    poses_from_heatmaps,
    poses_from_network,
)
from lib.core.own_cameras.recording import load_recording
from lib.dataset.own_cameras.blazepose_files import DEFAULT_CFG
from lib.multiviews.recording import robust_poses
from lib.multiviews.recording.robust_poses import RobustSettings
from lib.multiviews.recording.smoothing import smooth_trajectories
from lib.utils.errors import InputError
from lib.utils.transforms import transform_points


@pytest.fixture
def config(tmp_path):
    return load_config(DEFAULT_CFG, ["BLAZEPOSE.FILE", str(tmp_path / "blazepose/full.tflite")])


@pytest.fixture
def people(files, monkeypatch):
    """The person of the recording, in place of BlazePose and of the videos."""
    return stand_in(files, monkeypatch)


def stand_in(files, monkeypatch):
    """Replace BlazePose and the videos by the person of the recording."""
    known = People(files.pose_world[None], files.rig.cameras)
    monkeypatch.setattr(heatmap_poses, "PoseNetwork", lambda config, path, cameras: known.loaded(path))
    monkeypatch.setattr(heatmap_poses, "PersonDetector", lambda path: known.detect)
    monkeypatch.setattr(heatmap_poses, "fetch_blazepose", lambda folder: None)

    def read_coded(videos, table):
        views = [files.rig.names.index(path.stem) for path in videos.paths]
        for frame in table[:, 0].tolist():
            images = coded_images(frame, len(files.rig))
            yield [images[view] for view in views]

    monkeypatch.setattr(heatmap_poses, "read_frames", read_coded)
    return known


@pytest.mark.parametrize(("method", "limit"), [("agreement", 5), ("triangulate", 5), ("rpsm+refine", 35)])
def test_poses_from_heatmaps_errors_are_small(files, people, config, method, limit, monkeypatch):
    """The limbs in walk.py are not rigid, unlike the model of the last method."""
    monkeypatch.setattr(heatmap_poses, "_BATCH", 7)
    monkeypatch.setattr(heatmap_poses, "_PRIOR_FRAMES", 12)
    recording, poses = poses_from_heatmaps(
        load_recording(files.cameras, files.videos), config, method, RobustSettings(cutoff=None)
    )
    assert recording.points.shape == (20, 4, 17, 3)
    assert np.linalg.norm(poses.pose_world - files.pose_world, axis=-1).mean() < limit
    assert poses.agrees.mean() > 0.7


@pytest.mark.parametrize("num_views", [2, 3, 5, 8])
@pytest.mark.parametrize("fuses", [True, False])
def test_poses_from_heatmaps_any_number_of_views(num_views, fuses, config, tmp_path, monkeypatch):
    files = make_recording(tmp_path, num_views, num_frames=8)
    people = stand_in(files, monkeypatch)
    people.fusion = (lambda maps: maps / 2) if fuses else None
    recording, poses = poses_from_heatmaps(
        load_recording(files.cameras, files.videos), config, "rpsm+refine", RobustSettings(cutoff=None)
    )
    assert recording.points.shape == (8, num_views, 17, 3)
    assert np.linalg.norm(poses.pose_world - files.pose_world, axis=-1).mean() < 35


def test_poses_from_heatmaps_fit_begins_at_the_poses_of_the_method(files, people, config, monkeypatch):
    begun = []
    fit = robust_poses.fit_trajectories

    def keep(points_img, cameras, body, pose_world, *rest, **trust):
        begun.append(pose_world)
        return fit(points_img, cameras, body, pose_world, *rest, **trust)

    monkeypatch.setattr(robust_poses, "fit_trajectories", keep)
    recording = load_recording(files.cameras, files.videos)
    plain = poses_from_heatmaps(recording, config, "triangulate", RobustSettings(cutoff=None))[1]
    fitted = poses_from_heatmaps(recording, config, "triangulate", RobustSettings())[1]
    np.testing.assert_allclose(begun[-1], plain.pose_world)
    assert np.linalg.norm(fitted.pose_world - files.pose_world, axis=-1).mean() < 5


@pytest.mark.parametrize("method", ["triangulate_robust", "rpsm", "rpsm+refine"])
def test_poses_from_heatmaps_turned_camera_changes_little(files, people, config, method):
    """Its crops are turned back."""
    recording = load_recording(files.cameras, files.videos).select_frames(0, 6)
    expected = poses_from_heatmaps(recording, config, method, RobustSettings())[1].pose_world
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    rotation = recording.rig.cameras.R.copy()
    rotation[1] = quarter @ rotation[1]
    # The image of a camera that is turned around its axis: so are its pixels, and the lens.
    cameras = replace(recording.rig.cameras, R=rotation, k=np.zeros((4, 3)), p=np.zeros((4, 2)))
    people.__init__(files.pose_world[None], cameras)
    turned = replace(recording, rig=replace(recording.rig, cameras=cameras))
    pose_world = poses_from_heatmaps(turned, config, method, RobustSettings())[1].pose_world
    assert np.linalg.norm(pose_world - expected, axis=-1).mean() < 12


def test_poses_from_heatmaps_smoothing_applies_to_the_method(files, people, config):
    recording = load_recording(files.cameras, files.videos)
    rough, smooth = (
        poses_from_heatmaps(recording, config, "triangulate", RobustSettings(cutoff=cutoff))[1].pose_world
        for cutoff in (None, 0.05)
    )
    np.testing.assert_allclose(smooth, smooth_trajectories(rough, 0.05))
    assert np.abs(smooth - rough).max() > 1


@pytest.mark.parametrize("method", ["agreement", "triangulate"])
@pytest.mark.parametrize("fuses", [True, False])
def test_poses_from_heatmaps_keeps_heatmaps_of_some_frames(files, people, config, monkeypatch, method, fuses):
    monkeypatch.setattr(recording_module, "_HEATMAP_FRAMES", 3)
    people.fusion = (lambda maps: maps / 2) if fuses else None
    people.hidden[0, :2] = True  # the recording begins at frame 2
    settings = RobustSettings(cutoff=None)
    recording, _ = poses_from_heatmaps(load_recording(files.cameras, files.videos), config, method, settings)
    assert [one.frame for one in recording.heatmaps] == [0, 8, 17]
    for one in recording.heatmaps:
        joints_hm = transform_points(people.joints[0, 2 + one.frame], one.image_to_heatmap)
        maps = one.kinds["single-view"]
        assert maps.dtype == np.float16
        for found, expected in zip(maps, joints_hm, strict=True):
            np.testing.assert_allclose(found, draw_gaussians(expected, (64, 64), 2.0), atol=1e-3)
        assert list(one.kinds) == (["single-view", "fused"] if fuses else ["single-view"])
        if fuses:
            np.testing.assert_allclose(one.kinds["fused"], maps / 2, atol=1e-3)


@pytest.mark.parametrize("fuses", [True, False])
def test_poses_from_heatmaps_memory_does_not_grow(files, people, config, monkeypatch, fuses):
    monkeypatch.setattr(heatmap_poses, "_BATCH", 3)
    monkeypatch.setattr(heatmap_poses, "_PRIOR_FRAMES", 4)
    monkeypatch.setattr(recording_module, "_HEATMAP_FRAMES", 2)
    people.fusion = (lambda maps: maps / 2) if fuses else None
    alive: list[weakref.ref] = []
    numbers = []
    predict = people.heatmaps

    def counted(images, matrices):
        maps = predict(images, matrices)
        alive.extend(weakref.ref(one) for one in maps if one is not None)
        numbers.append(sum(one() is not None for one in alive))
        return maps

    monkeypatch.setattr(people, "heatmaps", counted)
    poses_from_heatmaps(load_recording(files.cameras, files.videos), config, "rpsm", RobustSettings(cutoff=None))
    assert len(numbers) == 20
    assert max(numbers) <= 9  # two batches of 3, a frame that waits, and the one that is predicted


def test_find_person_passes_on_the_weights_of_the_fusion(files, people, config):
    recording = load_recording(files.cameras, files.videos).select_frames(0, 2)
    for checkpoint in (None, "fusion.pth.tar"):
        find_person(recording, config, checkpoint)
        assert people.path == (checkpoint or config.BLAZEPOSE.FILE)


@pytest.fixture
def trained(files, monkeypatch):
    """trained(method) runs a trained network on the recording, in which detections locate the person."""
    recording = load_recording(files.cameras, files.videos)
    Knowing.show(recording, files.pose_world)
    monkeypatch.setattr(heatmap_poses, "PoseNetwork", Knowing)
    points = np.concatenate([Knowing.joints, np.ones((*Knowing.joints.shape[:3], 1))], -1)
    recording = replace(recording, points=points + 1.0)  # px
    config = load_config(
        "experiments-local/own/resnet18/96_fusion.yaml", ["NETWORK.IMAGE_SIZE", "256", "NETWORK.HEATMAP_SIZE", "64"]
    )

    def run(method, settings=None, **words):
        return poses_from_network(recording, config, "none", method, settings or RobustSettings(), **words)

    return run


@pytest.mark.parametrize(("method", "limit"), [("agreement", 5), ("triangulate", 5), ("rpsm", 25), ("rpsm+refine", 25)])
def test_poses_from_network_errors_are_small(files, trained, method, limit):
    """The limbs in walk.py are not rigid, unlike the model of the last two methods."""
    recording, poses = trained(method)
    assert np.linalg.norm(poses.pose_world - files.pose_world, axis=-1).mean() < limit
    assert poses.known.mean() > 0.99
    assert np.nanmedian(poses.error) < 2
    assert [one.frame for one in recording.heatmaps] == list(range(20))
    assert "frames per second: waiting for video" in recording.notes[-1]


def test_poses_from_network_smoothing_applies_to_the_method(trained):
    rough, smooth = (trained("triangulate", RobustSettings(cutoff=cutoff))[1].pose_world for cutoff in (None, 0.05))
    np.testing.assert_allclose(smooth, smooth_trajectories(rough, 0.05))
    assert np.abs(smooth - rough).max() > 1


def test_poses_from_network_keeps_triangulated_poses_if_the_method_fails(files, trained, monkeypatch):
    def fail(*_):
        raise InputError("no limb prior")

    kept = []
    monkeypatch.setattr(heatmap_poses, "run_method", fail)
    with pytest.raises(InputError, match="no limb prior"):
        trained("rpsm", keep=lambda recording, poses: kept.append((recording, poses)))
    ((recording, poses),) = kept
    assert len(recording) == 20
    assert np.linalg.norm(poses.pose_world - files.pose_world, axis=-1).mean() < 5


@pytest.mark.parametrize("num_good", [0, 6])
def test_poses_from_network_keeps_the_frames_before_a_damaged_one(trained, monkeypatch, num_good):
    def damaged(*_):
        yield from Knowing.known[:num_good]
        raise InputError("a video is damaged")

    kept = []
    monkeypatch.setattr(heatmap_poses, "read_frames", damaged)
    with pytest.raises(InputError, match="a video is damaged"):
        trained("agreement", keep=lambda recording, poses: kept.append(len(recording)))
    assert kept == ([num_good] if num_good else [])


def test_poses_from_network_ends_at_once_if_the_method_fails_and_nothing_is_kept(trained, monkeypatch):
    def fail(*_):
        raise InputError("no limb prior")

    predicted = []
    monkeypatch.setattr(heatmap_poses, "_PRIOR_FRAMES", 3)
    monkeypatch.setattr(heatmap_poses, "run_method", fail)
    monkeypatch.setattr(heatmap_poses, "_joints_of", lambda frame: predicted.append(frame) or frame.locations)
    with pytest.raises(InputError, match="no limb prior"):
        trained("rpsm")
    assert len({id(frame) for frame in predicted}) == 3


def test_poses_from_network_without_learned_refinement_ends_before_the_network(trained, monkeypatch):
    predicted = []
    monkeypatch.setattr(heatmap_poses, "follow_person", lambda *arguments: predicted.append(arguments))
    with pytest.raises(InputError, match=r"PICT_STRUCT\.REFINE_LEARNED: expected the file"):
        trained("rpsm+learned", keep=lambda recording, poses: None)
    assert not predicted


def test_poses_from_network_without_videos_is_refused(files):
    recording = load_recording(files.cameras, None, files.detections)
    with pytest.raises(InputError, match="needs the videos"):
        poses_from_network(recording, None, "none", "rpsm", RobustSettings())


def test_leave_one_out_of_heatmaps_evaluates_the_method(files, people, config):
    """A view with displaced joints disturbs the predictions of a triangulation that is not robust."""
    people.joints[0, :, 1] += [30.0, 0]
    videos = load_recording(files.cameras, files.videos).select_frames(0, 8)
    errors = {}
    for method in ("agreement", "triangulate"):
        task = (config, method, RobustSettings(cutoff=None, min_views=2))
        recording, poses = poses_from_heatmaps(videos, *task)
        found = leave_one_out_of_heatmaps(recording, poses, *task)
        assert found.shape == (8, 4, 17)
        errors[method] = np.nanmedian(found, (0, 2))
        assert errors[method][1] == pytest.approx(30, abs=3)
    assert errors["agreement"][[0, 2, 3]].max() < 2
    assert errors["triangulate"][[0, 2, 3]].max() > 5


def test_find_person_leaves_out_frames_without_one(files, people, config):
    people.hidden[0, :3] = True
    recording, _ = find_person(load_recording(files.cameras, files.videos), config)
    assert recording.frame_numbers.tolist() == list(range(3, 20))
    assert recording.notes == ("no person in the first 3 frames, which are left out",)
    people.hidden[:] = True
    with pytest.raises(InputError, match="no person found on whom two views agree; check that the calibration"):
        find_person(load_recording(files.cameras, files.videos), config)


def test_find_person_without_videos_is_refused(files, config):
    with pytest.raises(InputError, match="needs the videos: --videos"):
        find_person(load_recording(files.cameras, None, files.detections), config)


def test_detect_people_points_are_numbered_as_the_videos(files, people, config):
    people.hidden[0, :2] = True
    found = detect_people(load_recording(files.cameras, files.videos), config)
    assert found.points.shape == (20, 4, 1, 17, 3)
    assert not np.isfinite(found.points[:2]).any()
    assert np.abs(found.points[2:, :, 0, :, :2] - people.joints[0, 2:]).max() < 3
