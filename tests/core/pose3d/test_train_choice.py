"""Training of the learned choice: its examples, its loss, and what it teaches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from cvf_tests.batches import make_batch
from cvf_tests.scenes import LENGTHS, draw_gaussians, make_backend, make_scene

from lib.core.config_io import load_config
from lib.core.pose3d.methods import make_context, views_and_peaks
from lib.core.pose3d.train_choice import (
    ChoiceExamples,
    ChoiceSettings,
    _log_softmax,
    _mirrored,
    _of_frames,
    choice_examples,
    train_choice,
)
from lib.core.pose3d.train_refinement import of_views
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.limb_prior import make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.multiviews.refinement.learned_choice import (
    IS_FROM_POSE,
    MOVE,
    NUM_SAMPLES,
    PLACE,
    SCORE,
    choose_candidates,
    distance_columns,
)
from lib.utils.joints import H36M_17

CPU = torch.device("cpu")
HIDDEN = H36M_17.indices(["rwri", "lank"])


@pytest.fixture
def context(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    prior = make_limb_prior(LENGTHS, H36M_BODY, PictorialSettings().first_grid)
    return make_context(load_config(tmp_path / "a.yaml"), H36M_BODY, prior, make_backend("numpy"))


def misleading_batch(num_frames: int, seed: int, context):
    """Return frames and wrong poses (F, 17, 3), mm, of two joints with two peaks each.

    The wrong peaks are 250 mm below the right ones, and as high. Only the heatmap of the partner tells them apart: it
    is high at the wrong place.
    """
    scene = make_scene(num_frames, seed=seed)
    wrong = scene.pose_world.copy()
    wrong[:, HIDDEN, 2] -= 250
    batch = make_batch(scene)
    views, _ = views_and_peaks(batch, context)
    peaks = draw_gaussians(views.project(wrong), scene.heatmaps.shape[-2:], 2.0)
    heatmaps = scene.heatmaps.copy()
    for joint in HIDDEN:
        partner = views.partner[joint]
        heatmaps[:, :, joint] = np.maximum(heatmaps[:, :, joint], peaks[:, :, joint])
        heatmaps[:, :, partner] = np.maximum(heatmaps[:, :, partner], 0.6 * peaks[:, :, joint])
    return make_batch(scene, heatmaps), wrong


def examples_of(batch, pose: np.ndarray, context) -> ChoiceExamples:
    return choice_examples(batch, *views_and_peaks(batch, context), pose)


def test_choice_examples_errors_are_distances_from_ground_truth(context):
    batch, wrong = misleading_batch(3, 1, context)
    found = examples_of(batch, wrong, context)
    first = found.inputs.place[:, IS_FROM_POSE] == 1  # the joints of the pose
    of_hidden = torch.isin(found.inputs.joint, torch.tensor(HIDDEN))
    np.testing.assert_allclose(found.error_mm[first & of_hidden], 250, rtol=1e-5)
    for joint in HIDDEN:
        for frame in range(3):
            rows = (found.inputs.frame == frame) & (found.inputs.joint == joint)
            assert found.error_mm[rows].min() < 25
    assert found.first_row[-1] == len(found.error_mm)


def test_choice_examples_unknown_joints(context):
    batch, wrong = misleading_batch(2, 1, context)
    gt = batch.gt_world.copy()
    gt[0, HIDDEN[0]] = np.nan
    found = examples_of(replace(batch, gt_world=gt), wrong, context)
    unknown = (found.inputs.frame == 0) & (found.inputs.joint == HIDDEN[0])
    assert unknown.any()
    assert torch.equal(found.error_mm.isnan(), unknown)


def test_train_choice_learns_which_candidate_is_right(context):
    """On the same rig and on another number of views; joints of the training poses are wrong or right by halves."""
    training, wrong = misleading_batch(24, 1, context)
    given = [examples_of(training, pose, context) for pose in (wrong, training.gt_world)]
    settings = ChoiceSettings(width=16, pooled=8, pose_width=16, pose_facts=4, hidden=32, epochs=30, frames_per_step=8)
    weights = train_choice(given, settings, seed=0, device=CPU)
    batch, wrong = misleading_batch(6, 2, context)
    for test in (batch, of_views(batch, np.array([0, 1, 2]))):
        for start in (wrong, batch.gt_world):
            chosen = choose_candidates(weights, *views_and_peaks(test, context), start, H36M_BODY)
            error = np.linalg.norm(chosen - batch.gt_world, axis=-1)[:, HIDDEN]
            assert (error < 60).mean() > 0.8


def test_train_choice_same_seed_same_weights(context):
    batch, wrong = misleading_batch(4, 1, context)
    given = [examples_of(batch, wrong, context)]
    one, other, third = (train_choice(given, ChoiceSettings(epochs=2), seed, CPU) for seed in (0, 0, 1))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    assert np.abs(one["place"] - third["place"]).max() > 0.01


def test_train_choice_without_known_joints(context):
    """Frames without labels, and frames without candidates, leave the weights finite."""
    batch, wrong = misleading_batch(3, 1, context)
    unlabeled = examples_of(replace(batch, gt_world=np.full_like(wrong, np.nan)), wrong, context)
    alone = make_batch(make_scene(3))
    empty = examples_of(alone, alone.gt_world, context)
    assert len(empty.error_mm) == 0
    for given in ([unlabeled], [empty], [examples_of(batch, wrong, context), unlabeled, empty]):
        weights = train_choice(given, ChoiceSettings(epochs=2, frames_per_step=3), seed=0, device=CPU)
        assert all(np.isfinite(values).all() for values in weights.values())


def test_train_choice_leaves_out_weights(context):
    batch, wrong = misleading_batch(3, 1, context)
    settings = ChoiceSettings(epochs=1, left_out=("place",))
    weights = train_choice([examples_of(batch, wrong, context)], settings, seed=0, device=CPU)
    assert (weights["place"] == 0).all()
    assert np.abs(weights["view"]).max() > 0


def test_of_frames_takes_all_candidates_of_the_frames(context):
    batch, wrong = misleading_batch(5, 1, context)
    part = examples_of(batch, wrong, context)
    frames = torch.tensor([4, 0, 3])
    inputs, error = _of_frames(part, frames, CPU)
    rows = torch.cat([torch.nonzero(part.inputs.frame == frame)[:, 0] for frame in frames])
    torch.testing.assert_close(error, part.error_mm[rows])
    torch.testing.assert_close(inputs.place, part.inputs.place[rows].float())
    torch.testing.assert_close(inputs.pose, part.inputs.pose[frames].float())
    torch.testing.assert_close(frames[inputs.frame], part.inputs.frame[rows])


def test_mirrored_inputs_column_by_column(context, monkeypatch):
    batch, wrong = misleading_batch(2, 1, context)
    given = examples_of(batch, wrong, context)
    monkeypatch.setattr(torch, "rand", lambda size, device: torch.zeros(size))
    found = _mirrored(_of_frames(given, torch.arange(2), CPU)[0], given.partner)
    expected = given.inputs
    joint = torch.as_tensor(given.partner)
    torch.testing.assert_close(found.joint, joint[expected.joint])
    place = expected.place.float()
    torch.testing.assert_close(found.place[:, PLACE], place[:, PLACE] * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(found.place[:, MOVE], place[:, MOVE] * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(found.place[:, [SCORE, IS_FROM_POSE]], place[:, [SCORE, IS_FROM_POSE]])
    for columns in distance_columns(17):
        torch.testing.assert_close(found.place[:, columns], place[:, columns][:, joint])
        assert not torch.equal(found.place[:, columns], place[:, columns])
    pose = expected.pose.float()
    torch.testing.assert_close(found.pose[..., 0], -pose[:, joint, 0])
    torch.testing.assert_close(found.pose[..., 1:], pose[:, joint, 1:])
    views = expected.views.float()
    torch.testing.assert_close(found.views[..., [0, 1, 2, 6]], views[..., [2, 1, 0, 8]])
    torch.testing.assert_close(found.views[..., NUM_SAMPLES:], views[..., NUM_SAMPLES:])


def test_log_softmax_of_groups():
    values, group = torch.tensor([1.0, 2.0, 300.0, -300.0, 5.0]), torch.tensor([0, 0, 1, 1, 2])
    expected = torch.cat([values[:2].log_softmax(0), values[2:4].log_softmax(0), torch.zeros(1)])
    torch.testing.assert_close(_log_softmax(values, group), expected)
