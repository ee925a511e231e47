"""The methods on a batch: where peaks end up in space, joints that were not found, and the view counts."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from cvf_tests.scenes import LENGTHS, draw_gaussians, make_backend, make_scene

from lib.core.config_io import load_config
from lib.core.evaluation2d.decode import predict_locations
from lib.core.pose3d.frames import FrameBatch
from lib.core.pose3d.methods import (
    METHODS,
    WITHOUT_PRIOR,
    chosen_method,
    fill_from_skeleton,
    root_world,
    run_batches,
    run_method,
)
from lib.dataset.network_input import gaussian_targets
from lib.multiviews.body import H36M_BODY, HumanBody
from lib.multiviews.pictorial.backend_numpy import NumpyBackend
from lib.multiviews.pictorial.limb_prior import make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.utils.transforms import invert_affine, transform_points

WRIST = H36M_BODY.joint_names.index("lwri")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    return load_config(tmp_path / "a.yaml")


def box_of(scene):
    """Centres (F, V, 2) px and scales (F, V, 2) of the crops, worked back from their matrices."""
    side = scene.heatmaps.shape[-1] / scene.image_to_heatmap[..., 0, 0]
    middle = np.array(scene.heatmaps.shape[:-3:-1]) / 2.0
    center = transform_points(middle[None], invert_affine(scene.image_to_heatmap))[..., 0, :]
    return center, np.stack([side, side], -1) / 200


def make_batch(scene, heatmaps=None, mode="argmax"):
    heatmaps = scene.heatmaps if heatmaps is None else heatmaps
    num_frames, num_views, num_joints, height, width = heatmaps.shape
    center, scale = box_of(scene)
    locations = predict_locations(
        heatmaps.reshape(-1, num_joints, height, width),
        center.reshape(-1, 2),
        scale.reshape(-1, 2),
        (4 * width, 4 * height),
        mode,
    )
    return FrameBatch(
        image_ids=np.full((num_frames, num_views), "image"),
        heatmaps=heatmaps,
        locations=locations.reshape(num_frames, num_views, num_joints, 3),
        cameras=scene.cameras,
        image_to_heatmap=scene.image_to_heatmap,
        center=center,
        truth_world=scene.pose_world,
    )


def error_of(config, method, batch):
    settings = PictorialSettings()
    prior = None if method in WITHOUT_PRIOR else make_limb_prior(LENGTHS, H36M_BODY, settings.first_grid)
    pose = run_method(method, config, batch, prior, NumpyBackend()).pose_world
    return np.linalg.norm(pose - batch.truth_world, axis=-1)


@pytest.mark.parametrize("side", [64, 80])
def test_what_quantisation_costs(config, side):
    """PAPER.md, section 2 item 7: 11.4, 6.4 and 0 mm with the cameras of Human3.6M at 64 px, 9.0, 4.8 and 0 at 80 px.

    Without correlations a rounded px is 1 / sqrt(12) px off per axis, 9 mm at 64 px; 4 cameras around the person halve
    the vertical part and take the horizontal ones down to 1 / sqrt(2): about 9.5 mm.
    """
    scene = make_scene(24, heatmap_wh=(side, side), image_wh=(4 * side, 4 * side))
    drawn = {
        subpixel: gaussian_targets(
            4 * torch.from_numpy(scene.joints_hm),
            torch.ones(scene.joints_hm.shape[:-1], dtype=torch.bool),
            (4 * side, 4 * side),
            (side, side),
            2.0,
            subpixel,
        )[0].numpy()
        for subpixel in (True, False)
    }
    px_mm = 2000 / side
    floor = {}
    for subpixel, heatmaps in drawn.items():
        for mode in ("argmax", "quarter", "log_quadratic"):
            floor[subpixel, mode] = np.median(error_of(config, "triangulate", make_batch(scene, heatmaps, mode)))
    assert 0.25 < floor[True, "argmax"] / px_mm < 0.4
    assert 0.35 < floor[True, "quarter"] / floor[True, "argmax"] < 0.6
    assert floor[True, "log_quadratic"] < 0.01
    for mode in ("argmax", "quarter", "log_quadratic"):  # no decoder brings back what the target has lost
        assert floor[False, mode] == pytest.approx(floor[True, "argmax"], rel=0.15)


def detections(scene, rng):
    """Heatmaps of a detector: 0.5 px of jitter, 8 % higher wrong peaks, 4 % empty maps, 1 % of noise."""
    shape = scene.heatmaps.shape[:3]
    heatmaps = draw_gaussians(scene.joints_hm + rng.normal(0, 0.5, (*shape, 2)), (64, 64), 2.0)
    wrong = draw_gaussians(rng.uniform(4, 60, (*shape, 2)), (64, 64), 2.0) * 1.2
    heatmaps = np.where((rng.random(shape) < 0.08)[..., None, None], np.maximum(heatmaps, wrong), heatmaps)
    heatmaps[rng.random(shape) < 0.04] = 0
    return (heatmaps + rng.normal(0, 0.01, heatmaps.shape)).astype(np.float32)


def test_robust_triangulation_of_detections(config):
    scene = make_scene(40)
    batch = make_batch(scene, detections(scene, np.random.default_rng(0)), "log_quadratic")
    robust, plain = (error_of(config, method, batch) for method in ("triangulate_robust", "triangulate"))
    assert robust.mean() < 0.3 * plain.mean()
    assert np.percentile(robust, 99) < 60  # twice a heatmap px
    config.TRIANGULATE.NUM_PEAKS = 1
    assert np.percentile(error_of(config, "triangulate_robust", batch), 99) > 60  # the second peaks were needed
    config.TRIANGULATE.update(NUM_PEAKS=3, PEAK_MODE="argmax")
    assert np.median(error_of(config, "triangulate_robust", batch)) > np.median(robust)


def test_weights_of_the_linear_triangulation(config):
    scene = make_scene(20)
    heatmaps = scene.heatmaps.copy()
    heatmaps[:, 0, WRIST] = 0.1 * draw_gaussians(np.array([8.0, 8.0]), (64, 64), 2.0)  # a low peak in a wrong place
    by_peaks = error_of(config, "triangulate", make_batch(scene, heatmaps))
    config.TRIANGULATE.WEIGHTS = "equal"
    equal = error_of(config, "triangulate", make_batch(scene, heatmaps))
    assert equal[:, WRIST].mean() > 10 * by_peaks[:, WRIST].mean()
    np.testing.assert_allclose(np.delete(equal, WRIST, 1), np.delete(by_peaks, WRIST, 1), atol=3)
    heatmaps[:, 0, WRIST] = 0  # an empty map does not count
    three_views = error_of(config, "triangulate", make_batch(scene, heatmaps))
    assert three_views[:, WRIST].max() < equal[:, WRIST].min()


def test_root_of_rpsm_is_the_robust_one(config):
    scene = make_scene(3)
    heatmaps = scene.heatmaps.copy()
    far = draw_gaussians(np.array([8.0, 55.0]), (64, 64), 2.0)
    heatmaps[0, 1, 0] = 1.5 * far  # wrong in one view
    heatmaps[1, 0, 0] = np.maximum(0.7 * heatmaps[1, 0, 0], far)  # second in one view
    heatmaps[2, 1:, 0] = 0  # found in one view only: a neighbour stands in
    batch = make_batch(scene, heatmaps)
    root, num_box_roots = root_world(config, batch)
    np.testing.assert_allclose(root[:2], scene.pose_world[:2, 0], atol=0.5)
    np.testing.assert_allclose(root[2], scene.pose_world[2, H36M_BODY.joint_names.index("belly")], atol=0.5)
    assert num_box_roots == 0
    whole_images = replace(batch, center=batch.center + 700)  # centres that are not on the person
    np.testing.assert_array_equal(root_world(config, whole_images)[0], root)
    heatmaps[2, 1:] = 0  # nothing is
    root, num_box_roots = root_world(config, make_batch(scene, heatmaps))
    assert num_box_roots == 1
    assert np.linalg.norm(root[2] - scene.pose_world[2, 0]) < 50  # the boxes are centred on the root
    config.PICT_STRUCT.ROOT_SOURCE = "ground_truth"
    np.testing.assert_array_equal(root_world(config, make_batch(scene, heatmaps))[0], scene.pose_world[:, 0])


def test_the_tolerance_is_a_share_of_the_box(config):
    """Peaks of one view 3 of 64 px off: within a tolerance of 0.06 of the box they count, within 0.04 they do not."""
    scene = make_scene(2, 5)
    joints_hm = scene.joints_hm.copy()
    joints_hm[:, 0, :, 1] += 3.0
    batch = make_batch(scene, draw_gaussians(joints_hm, (64, 64), 2.0))
    assert np.median(error_of(config, "triangulate_robust", batch)) < 0.1
    config.TRIANGULATE.TOLERANCE = 0.06
    assert np.median(error_of(config, "triangulate_robust", batch)) > 5


def test_joints_not_found_stand_at_the_next_found_one():
    body = HumanBody(("hip", "knee", "ankle", "chest", "head"), (-1, 0, 1, 0, 3))
    nan = np.full(3, np.nan)
    points = {name: np.full(3, float(i)) for i, name in enumerate("hkacd")}
    found = np.array(
        [
            [points["h"], nan, nan, points["c"], nan],
            [nan, nan, points["a"], nan, nan],
            [nan, points["k"], nan, nan, points["d"]],
            [nan] * 5,
        ]
    )
    filled = fill_from_skeleton(found, body)[..., 0]
    assert filled[0].tolist() == [0, 0, 0, 3, 3]
    assert filled[1].tolist() == [2, 2, 2, 2, 2]
    assert filled[2, 1:].tolist() == [1, 1, filled[2, 0], 4]
    assert filled[2, 0] in (1, 4)
    assert np.isnan(filled[3]).all()
    assert np.isnan(found[0, 1]).all()  # the input stays


def test_view_counts_of_every_method(config):
    scene = make_scene(2)
    heatmaps = scene.heatmaps.copy()
    heatmaps[0, :2, WRIST] = 0
    batch = make_batch(scene, heatmaps)
    expected = np.full((2, 17), 4)
    expected[0, WRIST] = 2
    prior = make_limb_prior(LENGTHS, H36M_BODY, PictorialSettings().first_grid)
    for method in METHODS:
        if method != "psm":  # 67 mm off: not within a few heatmap px
            poses = run_method(method, config, batch, prior, NumpyBackend())
            np.testing.assert_array_equal(poses.num_views_agree, expected, err_msg=method)


# --- refinement ---------------------------------------------------------------------------------------------------


def refined(config, batch, library="numpy", **keys):
    config.PICT_STRUCT.update(keys)
    prior = make_limb_prior(LENGTHS, H36M_BODY, PictorialSettings().first_grid)
    return run_method("rpsm+refine", config, batch, prior, make_backend(library)).pose_world


def test_rpsm_means_rpsm_and_refinement_if_the_configuration_says_so(config):
    assert [chosen_method(config, method) for method in METHODS] == list(METHODS)
    config.PICT_STRUCT.REFINE = True
    assert chosen_method(config, "rpsm") == "rpsm+refine"
    assert chosen_method(config, "psm") == "psm"


@pytest.mark.parametrize("source", ["prior", "ground_truth"])
def test_refinement_is_exact_on_perfect_heatmaps(config, source):
    scene = make_scene(4)
    pose = refined(config, make_batch(scene), LIMB_LENGTH_SOURCE=source)
    assert np.linalg.norm(pose - scene.pose_world, axis=-1).mean() < 0.5


def test_refinement_of_noisy_heatmaps(config):
    """True lengths beat the mean ones, and frames of one subject each other's ignorance of them."""
    pytest.importorskip("torch")
    scene = make_scene(1, seed=2)
    rng = np.random.default_rng(2)
    scene = type(scene)(*(value[[0] * 12] for value in vars(scene).values()))  # one person, 12 times
    noisy = draw_gaussians(scene.joints_hm + rng.normal(0, 1.0, scene.joints_hm.shape), (64, 64), 2.0)
    batch = replace(make_batch(scene, noisy), subject=np.full(12, 9))
    poses = {
        "rpsm": run_method(
            "rpsm", config, batch, make_limb_prior(LENGTHS, H36M_BODY, PictorialSettings().first_grid), NumpyBackend()
        ).pose_world,
        "together": refined(config, batch),
        "torch": refined(config, batch, "torch"),
        "apart": refined(config, batch, REFINE_PERSON=False),
        "true": refined(config, batch, REFINE_PERSON=False, LIMB_LENGTH_SOURCE="ground_truth"),
    }
    error = {name: np.linalg.norm(pose - scene.pose_world, axis=-1).mean() for name, pose in poses.items()}
    assert np.abs(poses["together"] - poses["torch"]).max() < 0.1
    assert error["together"] < 0.9 * error["apart"]
    assert error["true"] < error["apart"]
    assert error["apart"] < 0.9 * error["rpsm"]


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_batch_size_does_not_matter(config, library):
    """Frames of two subjects in turn; a batch of one frame knows nothing of the others of its subject."""
    pytest.importorskip(library)
    scene = make_scene(8, seed=4)
    rng = np.random.default_rng(4)
    noisy = draw_gaussians(scene.joints_hm + rng.normal(0, 1.0, scene.joints_hm.shape), (64, 64), 2.0)
    noisy[3, :2, WRIST] = 0
    whole = replace(make_batch(scene, noisy), subject=np.arange(8) % 2)
    prior = make_limb_prior(LENGTHS, H36M_BODY, PictorialSettings().first_grid)
    backend = make_backend(library)
    found = {}
    for size in (1, 3, 8):

        def for_each_batch(solve, size=size):
            parts = []
            for start in range(0, 8, size):
                batch = whole.frames(np.arange(8)[start : start + size])
                heatmaps = weakref.ref(batch.heatmaps)
                parts.append(solve(batch))
                del batch
                assert heatmaps() is None  # they are not kept
            return parts

        found[size] = run_batches("rpsm+refine", config, for_each_batch, prior, backend)
        np.testing.assert_allclose(found[size].pose_world, found[1].pose_world, atol=1e-4)
        np.testing.assert_array_equal(found[size].num_views_agree, found[1].num_views_agree)
    assert found[1].num_views_agree[3, WRIST] <= 2
    apart = run_method("rpsm+refine", config, replace(whole, subject=None), prior, backend).pose_world
    assert np.abs(found[1].pose_world - apart).max() > 1
