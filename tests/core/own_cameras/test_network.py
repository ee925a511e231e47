"""A network stub that knows the joints replaces the trained network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.own_recording import load_synchronized, poses_of
from cvf_tests.scenes import draw_gaussians

from lib.core.config_io import load_config
from lib.core.evaluation2d.decode import predict_locations
from lib.core.own_cameras import network
from lib.core.own_cameras.labels import make_labels
from lib.core.own_cameras.recording import load_recording
from lib.core.own_cameras.recording_poses import poses_by_method
from lib.dataset.camera_rigs import save_rigs
from lib.dataset.own_cameras.dataset_writer import WriteSettings
from lib.multiviews.cameras import project
from lib.multiviews.recording.robust_poses import RobustSettings
from lib.utils.errors import InputError
from lib.utils.transforms import image_to_heatmap_affine, invert_affine, transform_points

CFG = "experiments-local/own/resnet18/96_fusion.yaml"
OPTS = ["NETWORK.IMAGE_SIZE", "256", "NETWORK.HEATMAP_SIZE", "64"]


def boxes_of(matrices):
    """Return centers and scales of crops of 256 px."""
    inverse = invert_affine(matrices)
    return transform_points(np.full((len(matrices), 1, 2), 128.0), inverse)[:, 0], np.repeat(
        inverse[:, :1, 0] * 256 / 200, 2, 1
    )


class Knowing(network.PoseNetwork):
    """Gaussians at the gt joints of the frame that the images show."""

    def __init__(self, config, checkpoint, cameras):
        self.config = config
        self.calls = 0

    def __call__(self, images, center, scale):
        heatmaps = self.draw(images, center, scale)
        locations = predict_locations(heatmaps, center, scale, (256, 256), "log_quadratic")
        return network.CropOutput(heatmaps, locations, center, scale, None)

    def draw(self, images, center, scale):
        self.calls += 1
        frame = next(index for index, shown in enumerate(self.known) if np.array_equal(shown[0], images[0]))
        matrix = image_to_heatmap_affine(center, scale, (256, 256), (64, 64))
        return draw_gaussians(transform_points(self.joints[frame], matrix), (64, 64), 2.0)

    def single_view(self, images, matrices):
        """The heatmaps of crops of one image, drawn with this crop in all views."""
        views = range(len(self.known[0]))
        view = next(v for shown in self.known for v in views if np.array_equal(shown[v], images[0]))
        frame = next(shown for shown in self.known if np.array_equal(shown[view], images[0]))
        center, scale = boxes_of(matrices)
        crops = [(np.repeat(one[None], len(views), 0) for one in crop) for crop in zip(center, scale, strict=True)]
        return np.stack([self.draw(frame, *crop)[view] for crop in crops])


class Centered(Knowing):
    """Like a network trained on centered people: it always shows the person in the center, with a low peak if off."""

    def draw(self, images, center, scale):
        self.calls += 1
        frame = next(index for index, shown in enumerate(self.known) if np.array_equal(shown[0], images[0]))
        joints = self.joints[frame]
        root = self.joints[frame][:, :1]
        matrix = image_to_heatmap_affine(center, scale, (256, 256), (64, 64))
        maps = draw_gaussians(transform_points(joints - root + center[:, None], matrix), (64, 64), 2.0)
        off = np.linalg.norm(root[:, 0] - center, axis=-1) / (200 * scale[:, 0])  # shares of the box
        return maps * (0.3 + 0.6 * np.exp(-((off / 0.15) ** 2) / 2))[:, None, None, None]


@pytest.fixture
def predicted(files, monkeypatch):
    """predicted(roots, kind) runs predict() and returns (recording, prediction, config)."""

    def run(roots_world=None, kind=Knowing):
        recording = load_recording(files.cameras, files.videos)
        kind.known = list(network.read_frames(recording.videos, recording.table))
        kind.joints = project(files.pose_world[:, None], recording.cameras)[0]
        monkeypatch.setattr(network, "PoseNetwork", kind)
        config = load_config(CFG, OPTS)
        return *network.predict(recording, config, "none", roots_world), config

    return run


@pytest.mark.parametrize("with_roots", [True, False])
def test_predict_person_is_located_and_tracked(files, predicted, with_roots, monkeypatch):
    monkeypatch.setattr(network, "SEARCH", network.SearchSettings(grid_reach=2))  # the next test searches the room
    recording, prediction, _ = predicted(files.pose_world[:, 0] if with_roots else None)
    gt = project(files.pose_world[:, None], recording.cameras)[0]
    assert np.median(np.linalg.norm(prediction.locations[..., :2] - gt, axis=-1)) < 0.3
    root = gt[:, :, 0]
    side_px = prediction.scale * 200
    assert (np.abs(root - prediction.center) < 0.2 * side_px).all()
    error = np.linalg.norm(poses_of(recording).pose_world - files.pose_world, axis=-1)
    assert np.median(error) < 5
    assert [one.frame for one in recording.heatmaps] == list(range(20))
    one = recording.heatmaps[7]
    expected = draw_gaussians(transform_points(gt[7], one.image_to_heatmap), (64, 64), 2.0)
    np.testing.assert_allclose(one.kinds["single-view"], expected, atol=1e-3)


def test_predict_centered_network_finds_the_person(files, predicted):
    recording, prediction, _ = predicted(kind=Centered)
    gt = project(files.pose_world[:, None], recording.cameras)[0]
    off = np.linalg.norm(gt[:, :, 0] - prediction.center, axis=-1) / (200 * prediction.scale[..., 0])
    assert off.max() < 0.04  # 80 mm


@pytest.mark.parametrize(("method", "limit"), [("triangulate", 5), ("rpsm", 25), ("rpsm+refine", 25)])
def test_poses_by_method_errors_are_small(files, predicted, method, limit):
    """The limbs in walk.py are not rigid, unlike the model of the last two methods."""
    recording, prediction, config = predicted(files.pose_world[:, 0])
    poses = poses_by_method(recording, prediction, config, method, poses_of(recording))
    assert np.linalg.norm(poses.pose_world - files.pose_world, axis=-1).mean() < limit
    assert poses.known.all()
    assert np.nanmedian(poses.error) < 2
    with pytest.raises(InputError, match="did you mean 'rpsm'"):
        poses_by_method(recording, prediction, config, "rpsn", poses_of(recording))


def test_prediction_of_fused_output_keeps_single_view_peaks():
    joints_hm = np.random.default_rng(0).uniform(10, 50, (3, 17, 2))
    single_view = draw_gaussians(joints_hm, (64, 64), 2.0)
    fused = np.zeros_like(single_view)
    output = network.CropOutput(fused, np.zeros((3, 17, 3)), np.zeros((3, 2)), np.ones((3, 2)), single_view)
    prediction = network.Prediction.of([output, output], load_config(CFG, ["TRIANGULATE.NUM_PEAKS", "2"]).TRIANGULATE)
    assert prediction.single_view_peaks.shape == (2, 3, 17, 2, 3)
    np.testing.assert_allclose(prediction.single_view_peaks[1, ..., 0, :2], joints_hm, atol=1e-3)
    assert prediction.heatmaps.max() == 0
    plain = replace(output, single_view=None)
    assert network.Prediction.of([plain], None).single_view_peaks is None


@pytest.mark.parametrize("source", ["file", "training data", "nothing"])
def test_check_rig_learned_fusion_needs_the_cameras_of_the_training(files, tmp_path, source, caplog):
    config = load_config(CFG, ["DATASET.ROOT", str(tmp_path / "root")])
    weights, cameras = tmp_path / "run/none.pth", files.rig.cameras
    weights.parent.mkdir()
    if source == "file":
        save_rigs(weights.with_name("training_cameras.json"), [cameras[[3, 2, 1, 0]], cameras])
    elif source == "training data":  # of smaller images, so with other intrinsics
        recording = load_synchronized(files.cameras, files.videos, files.detections)
        make_labels(recording, tmp_path / "root", WriteSettings((14, 20), max_side=100), RobustSettings())
    network.check_rig(config, weights, cameras)
    warnings = [message for message in caplog.messages if "NETWORK.FUSION learned" in message]
    if source == "nothing":
        assert "assuming that these cameras are the same, in this order" in warnings[0]
        return
    assert warnings == []
    for other in (cameras[[1, 0, 2, 3]], cameras[:3]):
        with pytest.raises(
            InputError, match=r"NETWORK\.FUSION learned: expected the 4 cameras .* --opts NETWORK\.FUSION"
        ):
            network.check_rig(config, weights, other)
    config.NETWORK.FUSION = "none"
    network.check_rig(config, weights, cameras[:3])


def test_predict_without_videos_is_refused(files):
    recording = load_recording(files.cameras, None, files.detections)
    with pytest.raises(InputError, match="needs the videos"):
        network.predict(recording, None, "none")
