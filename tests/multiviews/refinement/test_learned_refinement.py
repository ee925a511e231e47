"""Learned refinement: what the network reads, and its forward pass in both libraries."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import FLIP_PAIRS, PARTNER, make_backend, make_scene

from lib.multiviews.body import H36M_BODY
from lib.multiviews.refinement.learned_refinement import (
    NUM_INPUTS,
    NUM_OWN,
    NUM_PARTNER,
    LearnedRefinement,
    pose_inputs,
    view_offsets,
)
from lib.multiviews.refinement.refine import fit_frames, fitted_poses
from lib.multiviews.refinement.view_sampler import ViewSampler
from lib.utils.joints import H36M_17


def random_weights(seed: int = 0, width: int = 8, narrow: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {
        "mean": (NUM_INPUTS,),
        "scale": (NUM_INPUTS,),
        "input": (NUM_INPUTS, width),
        "joint": (17, width),
        "hidden": (width, width),
        "hidden_bias": (width,),
        "narrow": (width, narrow),
        "body": (17 * narrow, 17 * narrow),
        "body_bias": (17 * narrow,),
        "own": (width, width),
        "from_body": (narrow, width),
        "combined_bias": (width,),
        "output": (width, 3),
        "output_joint": (17, 3),
    }
    return {name: (0.3 * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def inputs_of(scene, heatmaps=None, pose=None):
    heatmaps = scene.heatmaps if heatmaps is None else heatmaps
    pose = scene.pose_world if pose is None else pose
    return pose_inputs(ViewSampler(heatmaps, scene.cameras, scene.image_to_heatmap, PARTNER), pose)


def test_pose_inputs_exact_pose():
    scene = make_scene(2)
    inputs, projection = inputs_of(scene)
    assert inputs.shape == (2, 4, 17, NUM_INPUTS)
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(projection, scene.joints_hm, atol=1e-6)
    own = inputs[..., :NUM_OWN].reshape(2, 4, 17, 7, 7)
    center = own[..., 3, 3]
    assert (own.argmax(-1)[..., 3] == 3).mean() > 0.9  # the middle column of the middle row
    assert np.median(center) == pytest.approx(1, abs=0.1)
    height = inputs[..., NUM_OWN + NUM_PARTNER]
    np.testing.assert_allclose(inputs[..., NUM_OWN + NUM_PARTNER + 1], height[:, :, PARTNER])
    over_views = inputs[..., NUM_OWN + NUM_PARTNER + 2]
    np.testing.assert_allclose(over_views, np.broadcast_to(center.mean(1, keepdims=True), center.shape), rtol=1e-5)


def test_pose_inputs_of_middle_joints_repeat_their_own_map():
    scene = make_scene(1)
    inputs, _ = inputs_of(scene)
    own = inputs[..., :NUM_OWN].reshape(1, 4, 17, 7, 7)[..., 1:6, 1:6].reshape(1, 4, 17, -1)
    partner = inputs[..., NUM_OWN : NUM_OWN + NUM_PARTNER]
    middle = np.arange(17) == PARTNER
    np.testing.assert_allclose(partner[:, :, middle], own[:, :, middle], rtol=1e-5)
    assert np.abs(partner[:, :, ~middle] - own[:, :, ~middle]).max() > 0.5


def test_pose_inputs_follow_heatmap_size():
    """The patch covers the same part of the crop, whatever the resolution."""
    small, large = make_scene(2, heatmap_wh=(32, 32), sigma=2.0), make_scene(2, heatmap_wh=(64, 64), sigma=4.0)
    inside = ((small.joints_hm > 5) & (small.joints_hm < 26)).all(-1)  # the patch lies in the map
    assert inside.mean() > 0.5
    np.testing.assert_allclose(
        inputs_of(small)[0][inside][:, :NUM_OWN], inputs_of(large)[0][inside][:, :NUM_OWN], atol=0.1
    )


def test_pose_inputs_scale_of_heatmaps_does_not_matter():
    scene = make_scene(2)
    np.testing.assert_allclose(inputs_of(scene, 7 * scene.heatmaps)[0], inputs_of(scene)[0], rtol=1e-5, atol=1e-6)


def test_pose_inputs_projection_outside_of_map_is_empty():
    scene = make_scene(1)
    inputs, projection = inputs_of(scene, pose=scene.pose_world + [0, 0, 30_000.0])
    assert np.isfinite(projection).all()
    assert 64 < np.abs(projection).max() <= 2 * 64  # clipped
    assert inputs[..., :NUM_OWN].max() == 0


def test_pose_inputs_torch_equals_numpy():
    torch = pytest.importorskip("torch")
    scene = make_scene(2)
    found = inputs_of(scene, torch.from_numpy(scene.heatmaps))
    for one, other in zip(found, inputs_of(scene), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.gpu
def test_pose_inputs_cuda_equals_numpy():
    torch = pytest.importorskip("torch")
    scene = make_scene(2)
    found = inputs_of(scene, torch.from_numpy(scene.heatmaps).cuda())
    for one, other in zip(found, inputs_of(scene), strict=True):
        np.testing.assert_array_equal(one, other)


def test_view_offsets_torch_equals_numpy():
    torch = pytest.importorskip("torch")
    weights, (inputs, _) = random_weights(), inputs_of(make_scene(2))
    found = view_offsets({name: torch.from_numpy(one) for name, one in weights.items()}, torch.from_numpy(inputs))
    for one, other in zip(found, view_offsets(weights, inputs), strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-4, atol=1e-5)


def test_view_offsets_order_of_views_does_not_matter():
    weights, (inputs, _) = random_weights(), inputs_of(make_scene(2))
    order = [2, 0, 3, 1]
    offset, log_error = view_offsets(weights, inputs)
    moved = view_offsets(weights, inputs[:, order])
    np.testing.assert_allclose(moved[0], offset[:, order], atol=1e-5)
    np.testing.assert_allclose(moved[1], log_error[:, order], atol=1e-5)


def test_view_offsets_depend_on_other_joints_of_the_view():
    weights, (inputs, _) = random_weights(), inputs_of(make_scene(1))
    before = view_offsets(weights, inputs)[0]
    other = inputs.copy()
    other[0, 0, 5] += 1
    change = np.abs(view_offsets(weights, other)[0] - before).max(-1)[0]
    assert change[0, 3] > 1e-4
    assert change[1:].max() == 0


@pytest.mark.parametrize("library", ["numpy", "numba", "torch"])
def test_fit_frames_learned_moves_pose_to_predicted_places(library):
    """A network that says 1 cell up in every view moves the joints; the others stay."""
    scene = make_scene(3)
    backend = make_backend(library)
    weights = {name: 0 * one for name, one in random_weights().items()}
    moved = H36M_17.indices(["rwri", "lwri"])
    weights["output_joint"][moved, 1] = -1.0  # up, cells
    learned = LearnedRefinement(weights, H36M_17.names, "none")
    lengths = H36M_BODY.limb_lengths(scene.pose_world)
    arguments = (scene.heatmaps, scene.cameras, scene.image_to_heatmap, scene.pose_world, lengths, H36M_BODY, backend)
    poses = [
        fitted_poses(fit_frames(*arguments, flip_pairs=FLIP_PAIRS, learned=one), H36M_BODY, backend)
        for one in (None, learned)
    ]
    shift = poses[1] - poses[0]
    assert (shift[:, moved, 2] > 15).all()  # a cell is 62 mm; the limb lengths resist
    still = H36M_17.indices(["rkne", "lkne", "head"])
    assert np.abs(shift[:, still]).max() < 5
