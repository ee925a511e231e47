"""A network stub that knows the joints replaces the trained network."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from cvf_tests.scenes import draw_gaussians

from lib.core.config_io import dump_config, load_config, plain_config
from lib.core.evaluation2d.decode import predict_locations
from lib.core.own_cameras import network, person_search, pose_estimator
from lib.core.own_cameras.pose_estimator import PoseEstimator
from lib.core.pose3d.make_prior import pictorial_settings
from lib.dataset.own_cameras.videos import open_videos, read_frames
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import project
from lib.multiviews.pictorial.limb_prior import make_limb_prior, save_limb_prior
from lib.utils.errors import InputError
from lib.utils.transforms import image_to_heatmap_affine, to_heatmap, transform_points

CFG = "experiments-local/own/resnet18/96_fusion.yaml"
OPTS = ["NETWORK.IMAGE_SIZE", "256", "NETWORK.HEATMAP_SIZE", "64"]


@pytest.fixture
def scene(files, monkeypatch, tmp_path):
    """(images, joints in the images, pose) of the first frame; the network knows them."""
    pose = files.pose_world[0]
    joints = project(pose[None], files.rig.cameras)[0]
    videos = open_videos(files.videos, files.rig.names)
    images = next(iter(read_frames(videos, np.zeros((1, 4), int))))

    class Knowing(network.PoseNetwork):
        def __init__(self, config, checkpoint, cameras):
            self.config = config

        def __call__(self, images, center, scale):
            matrix = image_to_heatmap_affine(center, scale, (256, 256), (64, 64))
            heatmaps = draw_gaussians(transform_points(joints, matrix), (64, 64), 2.0)
            locations = predict_locations(heatmaps, center, scale, (256, 256), "log_quadratic")
            return network.CropOutput(heatmaps, locations, center, scale, None)

        def single_view(self, shown, matrices):
            view = next(view for view, image in enumerate(images) if np.array_equal(image, shown[0]))
            matrix = to_heatmap(matrices, (256, 256), (64, 64))
            return draw_gaussians(
                transform_points(np.repeat(joints[view : view + 1], len(shown), 0), matrix), (64, 64), 2.0
            )

    monkeypatch.setattr(pose_estimator, "PoseNetwork", Knowing)
    return images, joints, pose


@pytest.fixture
def make(files, tmp_path):
    """make(cameras, **words) -> estimator with a limb prior."""
    prior_path = tmp_path / "pairwise.pkl"
    (tmp_path / "a.yaml").write_text("")
    grid = pictorial_settings(load_config(tmp_path / "a.yaml").PICT_STRUCT).first_grid
    lengths = H36M_BODY.limb_lengths(files.pose_world)
    save_limb_prior(make_limb_prior(lengths.mean(0), H36M_BODY, grid), prior_path)
    opts = [*OPTS, "PICT_STRUCT.PAIRWISE_FILE", str(prior_path)]
    return lambda cameras=files.cameras, **words: PoseEstimator("none.pth", cameras, config=CFG, opts=opts, **words)


@pytest.mark.parametrize("where", ["root_world", "boxes"])
@pytest.mark.parametrize(("method", "limit_mm"), [("triangulate", 5), ("rpsm", 25)])
def test_pose_estimator_finds_the_pose(scene, make, where, method, limit_mm):
    images, joints, pose = scene
    middle = joints[:, 0]
    boxes = np.concatenate([middle - 50, middle + 50], 1)
    place = {"root_world": pose[0] + [100, 0, 0]} if where == "root_world" else {"boxes": boxes}
    found = make()(images, method=method, **place)
    assert np.linalg.norm(found.pose_world - pose, axis=-1).mean() < limit_mm
    assert np.median(np.linalg.norm(found.joints_img - joints, axis=-1)) < 0.3
    assert found.heatmaps.shape == (4, 17, 64, 64)
    assert found.confidence.min() > 0.5
    assert found.num_views_agree.tolist() == [4] * 17
    assert (found.joint_names[0], found.method) == ("root", method)
    assert np.linalg.norm(found.root_world - pose[0]) < 60
    if where == "boxes":
        np.testing.assert_allclose(found.boxes, boxes)


def test_pose_estimator_searches_the_room_without_a_position(scene, make, monkeypatch):
    monkeypatch.setattr(person_search, "SEARCH", person_search.SearchSettings(grid_reach=1))
    images, _, pose = scene
    found = make()(images, method="triangulate")
    assert np.linalg.norm(found.pose_world - pose, axis=-1).mean() < 5


@pytest.mark.parametrize("kind", ["rig", "cameras", "dictionaries"])
def test_pose_estimator_accepts_cameras_of_every_kind(files, scene, make, kind):
    images, _, pose = scene
    one_by_one = [files.rig.cameras[view] for view in range(4)]
    cameras = {
        "rig": files.rig,
        "cameras": files.rig.cameras,
        "dictionaries": [
            {
                "K": [[one.f[0], 0, one.c[0]], [0, one.f[1], one.c[1]], [0, 0, 1]],
                "R": one.R,
                "T": one.T,
                "distortion": [*one.k[:2], *one.p, one.k[2]],
            }
            for one in one_by_one
        ],
    }
    found = make(cameras[kind])(images, root_world=pose[0], method="triangulate")
    assert np.linalg.norm(found.pose_world - pose, axis=-1).mean() < 5


def test_pose_estimator_reads_paths_and_draws_the_pose(scene, make, tmp_path):
    images, _, pose = scene
    paths = [tmp_path / f"{view}.png" for view in range(4)]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image)
    estimator = make()
    found = estimator(paths, root_world=pose[0], method="triangulate")
    estimator.save_figure(tmp_path / "pose.png", paths, found)
    assert cv2.imread(str(tmp_path / "pose.png")).std() > 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"images": 3}, "images: expected 4, one per camera, received 3"),
        ({"small": True}, "image of camera front: expected the size of the calibration, 200 x 200 px, received 100 x"),
        ({"boxes": np.zeros((4, 4))}, "boxes: expected x0 < x1"),
        ({"boxes": np.zeros((3, 4))}, r"boxes: expected shape \(4, 4\)"),
        ({"boxes": np.ones((4, 4)), "root_world": [0, 0, 0]}, "expected one of them, received both"),
        ({"root_world": [0, 0, 30_000]}, r"root_world: expected a position in mm that at least 2 cameras see"),
        ({"root_world": [0, 0]}, r"root_world: expected shape \(3\)"),
        ({"method": "rpsn"}, "did you mean 'rpsm'"),
        ({"method": "rpsm+learned"}, "learned_refinement_learned.npz: no such file; run run/pose3d/train_refinement"),
    ],
)
def test_pose_estimator_unusable_arguments_are_refused(scene, make, words, message):
    images = list(scene[0])[: words.pop("images", 4)]
    if words.pop("small", False):
        images[0] = images[0][:100, :100]
    with pytest.raises(InputError, match=message):
        make()(images, **{"method": "triangulate", **words})


@pytest.mark.parametrize("kind", ["rig", "cameras"])
def test_pose_estimator_cameras_in_metres_are_refused(files, scene, make, kind):
    cameras = replace(files.rig.cameras, T=files.rig.cameras.T / 1000)
    with pytest.raises(
        InputError, match=r"^unit=mm: the largest distance between cameras would be 0.0\d+ m; unit=m fits"
    ):
        make(replace(files.rig, cameras=cameras, unit="mm") if kind == "rig" else cameras)


def test_pose_estimator_root_in_metres_is_refused(scene, make):
    images, _, pose = scene
    away = 20_000 * np.array([1.0, 1.0, 0.0])  # a rig whose origin the cameras do not see
    moved = make().rig
    moved = replace(moved, cameras=replace(moved.cameras, T=moved.cameras.T + away))
    with pytest.raises(InputError, match=r"root_world: .* see, received .*; .* in m\?"):
        make(moved)(images, root_world=(pose[0] + away) / 1000, method="triangulate")
    found = make(moved)(images, root_world=pose[0] + away, method="triangulate")
    assert np.linalg.norm(found.pose_world - pose - away, axis=-1).mean() < 5


def test_pose_estimator_finds_configuration_and_weights(files, scene, tmp_path):
    """Of a run directory, next to a file of weights, and in a checkpoint."""
    config = load_config(CFG, [*OPTS, "SEED", "7"])
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(InputError, match=r"run: expected a run directory with model_best\.pth\.tar or final_state"):
        PoseEstimator(run, files.cameras)
    torch.save({"state_dict": {}, "config": plain_config(config)}, run / "final_state.pth.tar")
    found = PoseEstimator(run, files.cameras, opts=["NETWORK.FUSION", "none"])
    assert (found.config.SEED, found.config.NETWORK.FUSION, found.weights.name) == (7, "none", "final_state.pth.tar")
    torch.save({}, run / "model_best.pth.tar")
    with pytest.raises(InputError, match=r"model_best\.pth\.tar: no configuration in or next to the file; .*config="):
        PoseEstimator(run, files.cameras)
    config.SEED = 8
    dump_config(config, run / "config_valid.yaml")
    assert PoseEstimator(run, files.cameras).config.SEED == 8
    assert PoseEstimator(run / "model_best.pth.tar", files.cameras).config.SEED == 8
