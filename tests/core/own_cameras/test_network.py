"""The network's part with a network that knows where the joints are."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import draw_gaussians

from lib.core.config_io import load_config
from lib.core.own_cameras import network
from lib.core.own_cameras.labels import LabelSettings, make_labels
from lib.core.own_cameras.pipeline import poses_by_method
from lib.core.own_cameras.recording import load_capture
from lib.dataset.own_cameras.dataset_writer import WriteSettings
from lib.multiviews.cameras import project
from lib.utils.errors import InputError
from lib.utils.transforms import image_to_heatmap_affine, transform_points

CFG = "experiments-local/own/resnet18/96_fusion.yaml"
OPTS = ["NETWORK.IMAGE_SIZE", "256", "NETWORK.HEATMAP_SIZE", "64"]


class Knowing(network.PoseNetwork):
    """Gaussians at the true joints of the instant that the pictures show."""

    def __init__(self, config, checkpoint, cameras):
        self.config = config
        self.calls = 0

    def __call__(self, pictures, center, scale):
        self.calls += 1
        frame = next(index for index, shown in enumerate(self.known) if np.array_equal(shown[0], pictures[0]))
        matrix = image_to_heatmap_affine(center, scale, (256, 256), (64, 64))
        return draw_gaussians(transform_points(self.joints[frame], matrix), (64, 64), 2.0)


class Centred(Knowing):
    """As networks are that saw nobody but in the middle of the box: they show a person there, low where nobody is."""

    def __call__(self, pictures, center, scale):
        self.calls += 1
        frame = next(index for index, shown in enumerate(self.known) if np.array_equal(shown[0], pictures[0]))
        joints = self.joints[frame]
        root = self.joints[frame][:, :1]
        matrix = image_to_heatmap_affine(center, scale, (256, 256), (64, 64))
        maps = draw_gaussians(transform_points(joints - root + center[:, None], matrix), (64, 64), 2.0)
        off = np.linalg.norm(root[:, 0] - center, axis=-1) / (200 * scale[:, 0])  # shares of the box
        return maps * (0.3 + 0.6 * np.exp(-((off / 0.15) ** 2) / 2))[:, None, None, None]


@pytest.fixture
def predicted(recording, monkeypatch):
    """predicted(roots, kind) runs predict() and returns (capture, prediction, config)."""

    def run(roots_world=None, kind=Knowing):
        capture = load_capture(recording.cameras, recording.videos)
        kind.known = list(network.read_instants(capture.videos, capture.table))
        kind.joints = project(recording.pose_world[:, None], capture.cameras)[0]
        monkeypatch.setattr(network, "PoseNetwork", kind)
        config = load_config(CFG, OPTS)
        return *network.predict(capture, config, "none", roots_world), config

    return run


@pytest.mark.parametrize("told", [True, False])
def test_the_person_is_found_and_followed(recording, predicted, told):
    capture, prediction, _ = predicted(recording.pose_world[:, 0] if told else None)
    truth = project(recording.pose_world[:, None], capture.cameras)[0]
    assert np.median(np.linalg.norm(prediction.locations[..., :2] - truth, axis=-1)) < 0.3
    root = truth[:, :, 0]
    side = prediction.scale * 200
    assert (np.abs(root - prediction.center) < 0.2 * side).all()
    error = np.linalg.norm(capture.poses().pose_world - recording.pose_world, axis=-1)
    assert np.median(error) < 5


def test_a_network_that_sees_everybody_in_the_middle_is_led_to_the_person(recording, predicted):
    capture, prediction, _ = predicted(kind=Centred)
    truth = project(recording.pose_world[:, None], capture.cameras)[0]
    off = np.linalg.norm(truth[:, :, 0] - prediction.center, axis=-1) / (200 * prediction.scale[..., 0])
    assert off.max() < 0.04  # 80 mm


@pytest.mark.parametrize(("method", "limit"), [("triangulate", 5), ("rpsm", 25), ("rpsm+refine", 25)])
def test_methods_of_3d_inference(recording, predicted, method, limit):
    """The limbs of the person in walk.py are not rigid, which the last two methods cannot know."""
    capture, prediction, config = predicted(recording.pose_world[:, 0])
    poses = poses_by_method(capture, prediction, config, method, capture.poses())
    assert np.linalg.norm(poses.pose_world - recording.pose_world, axis=-1).mean() < limit
    assert poses.known.all()
    assert np.nanmedian(poses.error) < 2
    with pytest.raises(InputError, match="did you mean 'rpsm'"):
        poses_by_method(capture, prediction, config, "rpsn", capture.poses())


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3)])
def test_learned_matrices_are_for_the_cameras_of_their_training(recording, tmp_path, order):
    capture = load_capture(recording.cameras, recording.videos, recording.detections)
    config = load_config(CFG, ["DATASET.ROOT", str(tmp_path / "root")])
    cameras = capture.rig.cameras[list(order)]
    with pytest.raises(InputError, match=r"root was not made from these in this order; .*--opts NETWORK.FUSION none"):
        network.PoseNetwork(config, tmp_path / "none.pth", cameras)
    make_labels(capture, tmp_path / "root", LabelSettings(WriteSettings((14, 20))))
    other = order != (0, 1, 2, 3)
    with pytest.raises(InputError, match="in this order" if other else r"none\.pth: no such checkpoint"):
        network.PoseNetwork(config, tmp_path / "none.pth", cameras)
    config.NETWORK.FUSION = "none"
    with pytest.raises(InputError, match=r"none\.pth: no such checkpoint"):
        network.PoseNetwork(config, tmp_path / "none.pth", cameras)


def test_it_needs_pictures(recording):
    capture = load_capture(recording.cameras, None, recording.detections)
    with pytest.raises(InputError, match="needs the videos"):
        network.predict(capture, None, "none")
