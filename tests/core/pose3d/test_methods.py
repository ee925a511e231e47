"""Methods on synthetic batches: accuracy, missing joints, view counts."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from cvf_tests.batches import make_batch
from cvf_tests.scenes import LENGTHS, draw_gaussians, make_backend, make_scene

from lib.core.config import DEFAULTS, keys_with_scope
from lib.core.config_io import load_config
from lib.core.pose3d.frames import FrameBatch
from lib.core.pose3d.methods import METHODS, chosen_method, fill_from_skeleton, locate_roots, make_context, run_method
from lib.dataset.network_input import gaussian_targets
from lib.multiviews.body import H36M_BODY, HumanBody
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.multiviews.pictorial.limb_prior import make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.utils.errors import InputError

WRIST = H36M_BODY.joint_names.index("lwri")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    return load_config(tmp_path / "a.yaml")


def context_of(config, library="numpy"):
    prior = make_limb_prior(LENGTHS, H36M_BODY, PictorialSettings().first_grid)
    return make_context(config, H36M_BODY, prior, make_backend(library))


def solve(config, method, batches, library="numpy"):
    context = context_of(config, library)
    if not METHODS[method].needs_prior:
        context = replace(context, prior=None)
    return run_method(METHODS[method], batches, context)


def error_of(config, method, batch):
    pose = solve(config, method, [batch]).pose_world
    return np.linalg.norm(pose - batch.gt_world, axis=-1)


@pytest.mark.parametrize("side", [64, 80])
def test_triangulate_rounded_peaks_cost_accuracy(config, side):
    """The error of perfect peaks depends on the decoder.

    A rounded px is 1 / sqrt(12) px off per axis, 9 mm at 64 px. Four cameras around the person halve the vertical part
    and reduce the horizontal parts to 1 / sqrt(2): about 9.5 mm.
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
    for mode in ("argmax", "quarter", "log_quadratic"):  # no decoder restores what a rounded target has lost
        assert floor[False, mode] == pytest.approx(floor[True, "argmax"], rel=0.15)


def detections(scene, rng):
    """Heatmaps of a detector: 0.5 px of jitter, 8 % higher wrong peaks, 4 % empty maps, 1 % of noise."""
    shape = scene.heatmaps.shape[:3]
    heatmaps = draw_gaussians(scene.joints_hm + rng.normal(0, 0.5, (*shape, 2)), (64, 64), 2.0)
    wrong = draw_gaussians(rng.uniform(4, 60, (*shape, 2)), (64, 64), 2.0) * 1.2
    heatmaps = np.where((rng.random(shape) < 0.08)[..., None, None], np.maximum(heatmaps, wrong), heatmaps)
    heatmaps[rng.random(shape) < 0.04] = 0
    return (heatmaps + rng.normal(0, 0.01, heatmaps.shape)).astype(np.float32)


def test_triangulate_robust_noisy_detections_have_no_outliers(config):
    scene = make_scene(40)
    batch = make_batch(scene, detections(scene, np.random.default_rng(0)), "log_quadratic")
    robust, plain = (error_of(config, method, batch) for method in ("triangulate_robust", "triangulate"))
    assert robust.mean() < 0.3 * plain.mean()
    assert np.percentile(robust, 99) < 60  # twice a heatmap px
    config.TRIANGULATE.NUM_PEAKS = 1
    assert np.percentile(error_of(config, "triangulate_robust", batch), 99) > 60  # second peaks are needed
    config.TRIANGULATE.update(NUM_PEAKS=3, PEAK_MODE="argmax")
    assert np.median(error_of(config, "triangulate_robust", batch)) > np.median(robust)


def test_triangulate_weights_low_peaks_count_less(config):
    scene = make_scene(20)
    heatmaps = scene.heatmaps.copy()
    heatmaps[:, 0, WRIST] = 0.1 * draw_gaussians(np.array([8.0, 8.0]), (64, 64), 2.0)  # a low peak at a wrong position
    by_peaks = error_of(config, "triangulate", make_batch(scene, heatmaps))
    config.TRIANGULATE.WEIGHTS = "equal"
    equal = error_of(config, "triangulate", make_batch(scene, heatmaps))
    assert equal[:, WRIST].mean() > 10 * by_peaks[:, WRIST].mean()
    np.testing.assert_allclose(np.delete(equal, WRIST, 1), np.delete(by_peaks, WRIST, 1), atol=3)
    heatmaps[:, 0, WRIST] = 0  # an empty map does not count
    three_views = error_of(config, "triangulate", make_batch(scene, heatmaps))
    assert three_views[:, WRIST].max() < equal[:, WRIST].min()


def test_locate_roots_wrong_views_are_outliers(config):
    scene = make_scene(3)
    heatmaps = scene.heatmaps.copy()
    far = draw_gaussians(np.array([8.0, 55.0]), (64, 64), 2.0)
    heatmaps[0, 1, 0] = 1.5 * far  # wrong in one view
    heatmaps[1, 0, 0] = np.maximum(0.7 * heatmaps[1, 0, 0], far)  # second in one view
    heatmaps[2, 1:, 0] = 0  # found in one view only: replaced by its neighbor
    batch = make_batch(scene, heatmaps)
    context = context_of(config)
    root, num_box_roots = locate_roots(batch, context)
    np.testing.assert_allclose(root[:2], scene.pose_world[:2, 0], atol=0.5)
    np.testing.assert_allclose(root[2], scene.pose_world[2, H36M_BODY.joint_names.index("belly")], atol=0.5)
    assert num_box_roots == 0
    whole_images = replace(batch, center=batch.center + 700)  # centers that are not on the person
    np.testing.assert_array_equal(locate_roots(whole_images, context)[0], root)
    heatmaps[2, 1:] = 0  # no joint is found in two views
    root, num_box_roots = locate_roots(make_batch(scene, heatmaps), context)
    assert num_box_roots == 1
    assert np.linalg.norm(root[2] - scene.pose_world[2, 0]) < 50  # the boxes are centered on the root
    config.PICT_STRUCT.ROOT_SOURCE = "ground_truth"
    np.testing.assert_array_equal(locate_roots(make_batch(scene, heatmaps), context)[0], scene.pose_world[:, 0])


def test_triangulate_robust_tolerance_is_relative_to_crop_side(config):
    """Peaks of one view are 3 of 64 px off: inliers with tolerance 0.06, outliers with 0.04."""
    scene = make_scene(2, 5)
    joints_hm = scene.joints_hm.copy()
    joints_hm[:, 0, :, 1] += 3.0
    batch = make_batch(scene, draw_gaussians(joints_hm, (64, 64), 2.0))
    assert np.median(error_of(config, "triangulate_robust", batch)) < 0.1
    config.TRIANGULATE.TOLERANCE = 0.06
    assert np.median(error_of(config, "triangulate_robust", batch)) > 5


def test_fill_from_skeleton_copies_nearest_joint():
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
    assert np.isnan(found[0, 1]).all()  # the input is unchanged


def test_run_method_counts_supporting_views(config):
    scene = make_scene(2)
    heatmaps = scene.heatmaps.copy()
    heatmaps[0, :2, WRIST] = 0
    batch = make_batch(scene, heatmaps)
    expected = np.full((2, 17), 4)
    expected[0, WRIST] = 2
    for method in METHODS:
        if method != "psm":  # its bins are 125 mm wide: not within a few heatmap px
            poses = solve(config, method, [batch])
            np.testing.assert_array_equal(poses.num_views_agree, expected, err_msg=method)


# --- refinement ---------------------------------------------------------------------------------------------------


def refined(config, batch, library="numpy", **keys):
    config.PICT_STRUCT.update(keys)
    return solve(config, "rpsm+refine", [batch], library).pose_world


def test_chosen_method_refine_applies_to_rpsm():
    assert [chosen_method(method, False) for method in METHODS] == list(METHODS)
    assert chosen_method("rpsm", True) == "rpsm+refine"
    assert chosen_method("psm", True) == "psm"


def test_rpsm_refine_places_joints_on_single_view_peaks(config):
    scene = make_scene(2)
    fused = draw_gaussians(scene.joints_hm + [1.5, 0], (64, 64), 3.0)  # the same error in all views
    batch = make_batch(scene, fused)
    both = replace(batch, single_view_peaks=stacked_peaks(scene.heatmaps, 3, "log_quadratic"))
    errors = [np.linalg.norm(refined(config, one) - scene.pose_world, axis=-1).mean() for one in (batch, both)]
    assert errors[0] > 8
    assert errors[1] < 1


@pytest.mark.parametrize("source", ["prior", "ground_truth"])
def test_rpsm_refine_perfect_heatmaps_are_exact(config, source):
    scene = make_scene(4)
    pose = refined(config, make_batch(scene), LIMB_LENGTH_SOURCE=source)
    assert np.linalg.norm(pose - scene.pose_world, axis=-1).mean() < 0.5


def test_rpsm_refine_noisy_heatmaps_gain_from_known_lengths(config):
    """The error falls with ground truth lengths, and with lengths estimated over all frames of a subject."""
    pytest.importorskip("torch")
    scene = make_scene(1, seed=2)
    rng = np.random.default_rng(2)
    scene = type(scene)(*(value[[0] * 12] for value in vars(scene).values()))  # one person, 12 times
    noisy = draw_gaussians(scene.joints_hm + rng.normal(0, 1.0, scene.joints_hm.shape), (64, 64), 2.0)
    batch = replace(make_batch(scene, noisy), subject=np.full(12, 9))
    poses = {
        "rpsm": solve(config, "rpsm", [batch]).pose_world,
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


@dataclass
class BatchesOf:
    """Batches of a few frames; checks that the heatmaps of a batch are freed before the next one is made."""

    whole: FrameBatch
    size: int

    def __iter__(self):
        for start in range(0, len(self.whole), self.size):
            rows = slice(start, start + self.size)
            batch = replace(
                self.whole,
                heatmaps=self.whole.heatmaps[rows].copy(),
                locations=self.whole.locations[rows],
                cameras=self.whole.cameras[rows],
                image_to_heatmap=self.whole.image_to_heatmap[rows],
                center=self.whole.center[rows],
                gt_world=self.whole.gt_world[rows],
                subject=self.whole.subject[rows],
            )
            heatmaps = weakref.ref(batch.heatmaps)
            yield batch
            del batch
            assert heatmaps() is None


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_run_method_batch_size_does_not_matter(config, library):
    """Frames of two subjects in turn; a batch of one frame does not show the other frames of its subject."""
    pytest.importorskip(library)
    scene = make_scene(8, seed=4)
    rng = np.random.default_rng(4)
    noisy = draw_gaussians(scene.joints_hm + rng.normal(0, 1.0, scene.joints_hm.shape), (64, 64), 2.0)
    noisy[3, :2, WRIST] = 0
    whole = replace(make_batch(scene, noisy), subject=np.arange(8) % 2)
    found = {}
    for size in (1, 3, 8):
        found[size] = solve(config, "rpsm+refine", BatchesOf(whole, size), library)
        np.testing.assert_allclose(found[size].pose_world, found[1].pose_world, atol=1e-4)
        np.testing.assert_array_equal(found[size].num_views_agree, found[1].num_views_agree)
        np.testing.assert_allclose(found[size].covariance, found[1].covariance, rtol=1e-3, atol=1e-3)
    assert found[1].num_views_agree[3, WRIST] <= 2
    apart = solve(config, "rpsm+refine", [replace(whole, subject=None)], library)
    assert np.abs(found[1].pose_world - apart.pose_world).max() > 1
    assert apart.covariance.shape == (8, 17, 3, 3)


def test_run_method_ground_truth_needed(config):
    batch = replace(make_batch(make_scene(1)), gt_world=None, name="recording")
    for key in ("ROOT_SOURCE", "LIMB_LENGTH_SOURCE"):
        config.PICT_STRUCT[key] = "ground_truth"
        with pytest.raises(InputError, match=f"recording: PICT_STRUCT.{key}: received ground_truth"):
            solve(config, "rpsm", [batch])
        config.PICT_STRUCT[key] = DEFAULTS["PICT_STRUCT"][key].default


@pytest.mark.parametrize("method", METHODS)
def test_methods_keys_have_scope_pose3d(method):
    assert set(METHODS[method].keys) <= keys_with_scope("pose3d")
    assert set(METHODS[method].fixed) <= keys_with_scope("pose3d")
