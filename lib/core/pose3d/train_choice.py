"""Training of the learned choice between joint candidates; see learned_choice.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lib.core.pose3d.frames import FrameBatch
from lib.core.pose3d.small_network import matrix, optimize
from lib.multiviews.keypoints.peak_rays import PeakRays
from lib.multiviews.refinement.learned_choice import (
    MOVE,
    NUM_POSE_INPUTS,
    NUM_SAMPLES,
    NUM_VIEW_INPUTS,
    PLACE,
    SIDE,
    ChoiceInputs,
    choice_inputs,
    choice_scores,
    distance_columns,
    num_place_inputs,
)
from lib.multiviews.refinement.view_sampler import ViewSampler


@dataclass(frozen=True)
class ChoiceSettings:
    """Network and optimizer."""

    width: int = 64  # per view
    pooled: int = 24
    pose_width: int = 256
    pose_facts: int = 24  # per joint
    hidden: int = 128
    epochs: int = 12
    frames_per_step: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.1  # of the inputs of the views and of the pose
    error_scale_mm: float = 50.0  # candidates whose errors differ by less are about as good
    max_error_mm: float = 400.0  # all worse candidates are as bad
    left_out: tuple[str, ...] = ()  # weights that stay 0, for ablations


@dataclass(frozen=True)
class ChoiceExamples:
    """Candidates of F frames of V views, frame by frame.

    Attributes:
        inputs: tensors of choice_inputs(); `views`, `place` and `pose` as float16.
        error_mm: (n,) distance from the ground truth; NaN = unknown.
        partner: (J,) left/right partner of each joint.
    """

    inputs: ChoiceInputs
    error_mm: Tensor
    partner: np.ndarray

    @cached_property
    def first_row(self) -> Tensor:
        """First row of each frame, and the number of rows: (F + 1,)."""
        count = torch.bincount(self.inputs.frame, minlength=len(self.inputs.pose))
        return torch.cat([count.new_zeros(1), count.cumsum(0)])


def choice_examples(batch: FrameBatch, views: ViewSampler, peaks: PeakRays, pose_world: np.ndarray) -> ChoiceExamples:
    """List the candidates of the poses (F, J, 3), mm, of a batch with ground truth."""
    inputs, points = choice_inputs(views, peaks, pose_world, batch.body)
    error = np.linalg.norm(points - batch.gt_world[inputs.frame, inputs.joint], axis=-1)
    half = (torch.from_numpy(array).half() for array in (inputs.views, inputs.place, inputs.pose))
    rows = (torch.from_numpy(index) for index in (inputs.frame, inputs.joint))
    return ChoiceExamples(ChoiceInputs(*half, *rows), torch.from_numpy(error).float(), views.partner)


def train_choice(
    examples: Sequence[ChoiceExamples], settings: ChoiceSettings, seed: int, device: torch.device
) -> dict[str, np.ndarray]:
    """Train the network; return the weights of choice_scores().

    The loss is the cross entropy of the candidates of each joint with exp(-error / error_scale_mm). Half of the frames
    are mirrored: left and right joints swap. AdamW, one cycle of the learning rate.
    """
    torch.manual_seed(seed)
    partner = examples[0].partner
    keep = 1 - settings.dropout

    def loss(weights: Mapping[str, Tensor], part: int, frames: Tensor) -> Tensor:
        inputs, error = _of_frames(examples[part], frames, device)
        return _loss(weights, _without_some(_mirrored(inputs, partner), keep), error, settings)

    initial = initial_choice(len(partner), settings)
    return optimize("choice", initial, {}, [len(one.inputs.pose) for one in examples], loss, settings, device)


def _of_frames(examples: ChoiceExamples, frames: Tensor, device: torch.device) -> tuple[ChoiceInputs, Tensor]:
    """Select frames; return their inputs and errors on a device."""
    inputs = examples.inputs
    first = examples.first_row[frames]
    count = examples.first_row[frames + 1] - first
    frame = torch.repeat_interleave(torch.arange(len(frames)), count)
    rows = torch.arange(len(frame)) + (first - (count.cumsum(0) - count))[frame]
    arrays = (inputs.views[rows], inputs.place[rows], inputs.pose[frames])
    moved = (*(array.to(device).float() for array in arrays), frame.to(device), inputs.joint[rows].to(device))
    return ChoiceInputs(*moved), examples.error_mm[rows].to(device)


def _mirrored(inputs: ChoiceInputs, partner: np.ndarray) -> ChoiceInputs:
    """Mirror half of the frames: left and right joints swap, the left axis of the torso and the columns of the maps."""
    order = torch.as_tensor(partner, device=inputs.joint.device)
    flipped = torch.rand(len(inputs.pose), device=inputs.joint.device) < 0.5
    rows = flipped[inputs.frame]
    samples = inputs.views[..., :NUM_SAMPLES].unflatten(-1, (SIDE, SIDE)).flip(-1).flatten(-2)
    views = torch.cat([samples, inputs.views[..., NUM_SAMPLES:]], -1)
    place = inputs.place.clone()
    for axes in (PLACE, MOVE):
        place[:, axes] *= place.new_tensor([-1.0, 1.0, 1.0])
    for columns in distance_columns(len(order)):
        place[:, columns] = place[:, columns][:, order]
    pose = inputs.pose[:, order]
    pose[..., 0] *= -1
    return ChoiceInputs(
        torch.where(rows[:, None, None], views, inputs.views),
        torch.where(rows[:, None], place, inputs.place),
        torch.where(flipped[:, None, None], pose, inputs.pose),
        inputs.frame,
        torch.where(rows, order[inputs.joint], inputs.joint),
    )


def _without_some(inputs: ChoiceInputs, keep: float) -> ChoiceInputs:
    """Set inputs of the views and of the poses to 0 at random."""
    views, pose = (array * (torch.rand_like(array) < keep) / keep for array in (inputs.views, inputs.pose))
    return ChoiceInputs(views, inputs.place, pose, inputs.frame, inputs.joint)


def _loss(weights: Mapping[str, Tensor], inputs: ChoiceInputs, error_mm: Tensor, settings: ChoiceSettings) -> Tensor:
    """Return the mean cross entropy over the joints with known errors; NaN, with gradients of 0, without any."""
    score = choice_scores(weights, inputs)
    num_joints = inputs.pose.shape[1]
    _, group = torch.unique_consecutive(inputs.frame * num_joints + inputs.joint, return_inverse=True)
    cost = error_mm.clip(max=settings.max_error_mm) / settings.error_scale_mm
    known = torch.isfinite(cost)
    target = _log_softmax(-cost.nan_to_num(), group).exp()
    entropy = -(target * _log_softmax(score, group))[known]
    return entropy.sum() / len(torch.unique(group[known]))


def _log_softmax(values: Tensor, group: Tensor) -> Tensor:
    """Return the logarithm of the softmax (n,) within each group."""
    empty = values.new_zeros(int(group[-1]) + 1 if len(group) else 0)
    highest = empty.scatter_reduce(0, group, values.detach(), "amax", include_self=False)[group]
    total = empty.index_add(0, group, (values - highest).exp())
    return values - highest - total.log()[group]


def initial_choice(num_joints: int, settings: ChoiceSettings) -> dict[str, Tensor]:
    """Return random weights; all scores begin at 0."""
    width, pooled, pose_width, hidden = settings.width, settings.pooled, settings.pose_width, settings.hidden
    return {
        "view": matrix(NUM_VIEW_INPUTS, width),
        "view_bias": torch.zeros(width),
        "pooled": matrix(width, pooled),
        "pooled_joint": 0.3 * torch.randn(num_joints, pooled),
        "mean": matrix(pooled, hidden),
        "highest": matrix(pooled, hidden),
        "lowest": matrix(pooled, hidden),
        "place": matrix(num_place_inputs(num_joints), hidden),
        "pose": matrix(NUM_POSE_INPUTS * num_joints, pose_width),
        "pose_bias": torch.zeros(pose_width),
        "pose_joint": matrix(pose_width, num_joints * settings.pose_facts),
        "from_pose": matrix(settings.pose_facts, hidden),
        "joint": 0.3 * torch.randn(num_joints, hidden),
        "hidden": matrix(hidden, hidden),
        "hidden_bias": torch.zeros(hidden),
        "score": torch.zeros(hidden, 1),
    }
