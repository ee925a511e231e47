"""Learned choice: what the network reads of the candidates, its forward pass, and the chosen poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.scenes import FLIP_PAIRS, PARTNER, Scene, draw_gaussians, make_backend, make_scene

from lib.core.pose3d.train_refinement import untrained
from lib.multiviews.body import H36M_BODY, HumanBody
from lib.multiviews.refinement.learned_choice import (
    IS_FROM_POSE,
    MOVE,
    NUM_SAMPLES,
    NUM_VIEW_INPUTS,
    ChoiceInputs,
    choice_inputs,
    choice_scores,
    choose_candidates,
    num_place_inputs,
    torso_frame,
)
from lib.multiviews.refinement.learned_refinement import LearnedRefinement
from lib.multiviews.refinement.refine import fit_frames, fitted_poses, trusted_rays
from lib.multiviews.refinement.view_sampler import ViewSampler
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17

WRIST = H36M_17.index("rwri")


def views_of(scene: Scene, heatmaps: np.ndarray, library: str = "numpy") -> ViewSampler:
    return ViewSampler(heatmaps, scene.cameras, scene.image_to_heatmap, PARTNER, make_backend(library))


def two_wrists(num_frames: int = 2) -> tuple[Scene, np.ndarray, np.ndarray]:
    """Return a scene, heatmaps with a second peak of the right wrist, and the poses (F, 17, 3) with this wrist."""
    scene = make_scene(num_frames)
    other = scene.pose_world.copy()
    other[:, WRIST] += [0, 0, 250.0]
    peaks = draw_gaussians(views_of(scene, scene.heatmaps).project(other), scene.heatmaps.shape[-2:], 2.0)
    heatmaps = scene.heatmaps.copy()
    heatmaps[:, :, WRIST] = np.maximum(heatmaps[:, :, WRIST], 0.8 * peaks[:, :, WRIST])
    return scene, heatmaps, other


def inputs_of(scene: Scene, heatmaps: np.ndarray, pose: np.ndarray | None = None, library: str = "numpy"):
    views = views_of(scene, heatmaps, library)
    peaks = trusted_rays(heatmaps, None, scene.cameras, scene.image_to_heatmap, backend=views.backend)
    return choice_inputs(views, peaks, scene.pose_world if pose is None else pose, H36M_BODY)


def weights_for(is_from_pose: float) -> dict[str, np.ndarray]:
    """Return weights that score the joint of the pose with a number, and all other candidates with 0."""
    weights = {name: np.zeros_like(values) for name, values in untrained(H36M_17.names).choice.items()}
    weights["place"][IS_FROM_POSE, 0] = 1
    weights["hidden"][0, 0] = 1
    weights["score"][0] = is_from_pose
    return weights


def random_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(0, 0.3, values.shape).astype(np.float32)
        for name, values in untrained(H36M_17.names).choice.items()
    }


def test_choice_inputs_list_other_places_of_a_joint():
    scene, heatmaps, other = two_wrists()
    inputs, points = inputs_of(scene, heatmaps)
    assert inputs.views.shape == (len(points), 4, NUM_VIEW_INPUTS)
    assert inputs.place.shape == (len(points), num_place_inputs(17))
    assert inputs.views.dtype == inputs.place.dtype == inputs.pose.dtype == np.float32
    for frame in range(2):
        of_wrist = (inputs.frame == frame) & (inputs.joint == WRIST)
        found = points[of_wrist]
        np.testing.assert_allclose(found[0], scene.pose_world[frame, WRIST])
        nearest = np.linalg.norm(found - other[frame, WRIST], axis=-1).argmin()
        assert np.linalg.norm(found[nearest] - other[frame, WRIST]) < 25
        assert inputs.place[of_wrist, IS_FROM_POSE].tolist() == [1.0] + [0.0] * (len(found) - 1)
        center = inputs.views[of_wrist][:, :, NUM_SAMPLES // 2]
        assert (center[0] > 0.9).all()
        assert np.abs(center[nearest] - 0.8).max() < 0.15
        moved = np.linalg.norm(inputs.place[of_wrist][:, MOVE], axis=-1)
        np.testing.assert_allclose(moved, np.linalg.norm(found - found[0], axis=-1) / 1000, rtol=1e-5)


def test_choice_inputs_support_is_the_height_at_the_pose():
    """Mean, highest and lowest height over the views, relative to the usual one."""
    scene, heatmaps, _ = two_wrists()
    heatmaps[:, 1, WRIST] = 0
    heatmaps[:, 2, WRIST] *= 0.5
    support = inputs_of(scene, heatmaps)[0].pose[:, WRIST, 3:]
    np.testing.assert_allclose(support, np.broadcast_to([2.5 / 4, 1, 0], (2, 3)), atol=0.06)


def test_choice_scores_use_mean_highest_and_lowest_of_the_views():
    scene, heatmaps, _ = two_wrists()
    weights, (inputs, _) = random_weights(), inputs_of(scene, heatmaps)
    expected = choice_scores(weights, inputs)
    for name in ("mean", "highest", "lowest", "place", "from_pose", "joint"):
        without = choice_scores(weights | {name: 0 * weights[name]}, inputs)
        assert np.abs(without - expected).max() > 1e-3, name


@pytest.mark.parametrize("library", ["numpy", "numba", "torch"])
def test_choose_candidates_joints_without_other_candidates_stay(library):
    scene = make_scene(2)
    inputs, points = inputs_of(scene, scene.heatmaps, library=library)
    assert len(points) == len(inputs.frame) == 0
    peaks = trusted_rays(scene.heatmaps, None, scene.cameras, scene.image_to_heatmap)
    views = views_of(scene, scene.heatmaps, library)
    chosen = choose_candidates(weights_for(-1.0), views, peaks, scene.pose_world, H36M_BODY)
    np.testing.assert_array_equal(chosen, scene.pose_world)


def test_choice_inputs_scale_of_heatmaps_does_not_matter():
    scene, heatmaps, _ = two_wrists()
    one, other = inputs_of(scene, heatmaps)[0], inputs_of(scene, 7 * heatmaps)[0]
    for name in ("views", "place", "pose"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("library", ["numba", "torch"])
def test_choice_inputs_are_the_same_on_all_backends(library):
    scene, heatmaps, _ = two_wrists()
    (expected, points), (found, other) = inputs_of(scene, heatmaps), inputs_of(scene, heatmaps, library=library)
    np.testing.assert_allclose(other, points, atol=1e-6)
    for name in ("views", "place", "pose"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5)


def test_torso_frame_moves_with_the_person():
    pose = make_scene(3).pose_world
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    origin, axes = torso_frame(pose, H36M_BODY)
    np.testing.assert_allclose(axes @ axes.swapaxes(1, 2), np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-9)
    moved_origin, moved_axes = torso_frame(pose @ turn.T + [100, 200, 300], H36M_BODY)
    np.testing.assert_allclose(moved_origin, origin @ turn.T + [100, 200, 300])
    np.testing.assert_allclose(moved_axes, axes @ turn.T, atol=1e-9)
    left_hip = pose[:, H36M_17.index("lhip")] - origin
    neck = pose[:, H36M_17.index("neck")] - origin
    assert ((axes @ left_hip[..., None])[:, 0] > 0).all()
    np.testing.assert_allclose((axes @ neck[..., None])[:, 2, 0], np.linalg.norm(neck, axis=-1))


def test_torso_frame_body_without_neck():
    body = HumanBody.from_names(("root", "rhip"), {"rhip": "root"})
    with pytest.raises(InputError, match=r"expected the joints root, neck, .*; neck is missing"):
        torso_frame(np.zeros((1, 2, 3)), body)


def test_choice_scores_torch_equals_numpy():
    torch = pytest.importorskip("torch")
    scene, heatmaps, _ = two_wrists()
    weights, (inputs, _) = random_weights(), inputs_of(scene, heatmaps)
    arrays = (inputs.views, inputs.place, inputs.pose, inputs.frame, inputs.joint)
    tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
    found = choice_scores(tensors, ChoiceInputs(*map(torch.from_numpy, arrays)))
    expected = choice_scores(weights, inputs)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_choice_scores_order_of_views_does_not_matter():
    scene, heatmaps, _ = two_wrists()
    weights, (inputs, _) = random_weights(), inputs_of(scene, heatmaps)
    moved = replace(inputs, views=inputs.views[:, [2, 0, 3, 1]])
    np.testing.assert_allclose(choice_scores(weights, moved), choice_scores(weights, inputs), atol=1e-5)


def test_choose_candidates_takes_the_highest_score():
    scene, heatmaps, _ = two_wrists()
    views = views_of(scene, heatmaps)
    peaks = trusted_rays(heatmaps, None, scene.cameras, scene.image_to_heatmap)
    kept, moved = (
        choose_candidates(weights_for(score), views, peaks, scene.pose_world, H36M_BODY) for score in (1.0, -1.0)
    )
    np.testing.assert_array_equal(kept, scene.pose_world)
    change = np.linalg.norm(moved - scene.pose_world, axis=-1)
    assert (change[:, WRIST] > 60).all()
    assert (np.delete(change, WRIST, 1) == 0).all()


@pytest.mark.parametrize("library", ["numpy", "numba", "torch"])
def test_fit_frames_learned_choice_moves_the_pose(library):
    scene, heatmaps, _ = two_wrists(3)
    backend = make_backend(library)
    lengths = H36M_BODY.limb_lengths(scene.pose_world)
    arguments = (heatmaps, scene.cameras, scene.image_to_heatmap, scene.pose_world, lengths, H36M_BODY, backend)
    poses = []
    for score in (1.0, -1.0):
        learned = LearnedRefinement(untrained(H36M_17.names).weights, H36M_17.names, "none", choice=weights_for(score))
        fitted = fit_frames(*arguments, flip_pairs=FLIP_PAIRS, learned=learned)
        poses.append(fitted_poses(fitted, H36M_BODY, backend))
    change = np.linalg.norm(poses[1] - poses[0], axis=-1)
    assert (change[:, WRIST] > 50).all()  # the length of the forearm resists
    assert np.delete(change, [WRIST, H36M_17.index("relb")], 1).max() < 5


@pytest.mark.gpu
def test_choice_inputs_cuda_equals_numpy():
    torch = pytest.importorskip("torch")
    scene, heatmaps, _ = two_wrists()
    expected, points = inputs_of(scene, heatmaps)
    peaks = trusted_rays(heatmaps, None, scene.cameras, scene.image_to_heatmap)
    views = replace(views_of(scene, heatmaps), heatmaps=torch.from_numpy(heatmaps).cuda())
    found, other = choice_inputs(views, peaks, scene.pose_world, H36M_BODY)
    np.testing.assert_array_equal(other, points)
    np.testing.assert_allclose(found.views, expected.views, atol=1e-6)
