"""Learned choice: a small network reads the heatmaps at all candidates of a joint, and chooses one.

A joint that is hidden in some views may lie where two wrong peaks agree, although other peaks agree on the right place.
For each candidate (candidates.py), the network sees the heatmaps of the joint and of its left/right partner in all
views, and the candidate's place in the pose. So the choice fuses the views, and the rig may be any.

The forward pass is plain array code: numpy in the 3D step, torch in the training (lib/core/pose3d/train_choice.py).

Source: our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.keypoints.peak_rays import PeakRays
from lib.multiviews.refinement.candidates import distinct_candidates
from lib.multiviews.refinement.view_sampler import ViewSampler
from lib.utils.errors import InputError

Array = Any  # numpy or torch

SIDE = 3  # samples, of the square around a candidate's projection
NUM_SAMPLES = SIDE**2
NUM_VIEW_INPUTS = NUM_SAMPLES + 3
NUM_POSE_INPUTS = 6  # per joint
TORSO = ("root", "neck", "rhip", "lhip", "rsho", "lsho")
# Columns of ChoiceInputs.place
PLACE, MOVE, SCORE, IS_FROM_POSE = slice(0, 3), slice(3, 6), 6, 7
_FIRST_DISTANCE = 8
_SCORE_SCALE = 0.25  # scores of candidates are up to 2.4 per view


def distance_columns(num_joints: int) -> tuple[slice, slice]:
    """Return the columns of ChoiceInputs.place with the distances to all joints, and with their changes."""
    middle = _FIRST_DISTANCE + num_joints
    return slice(_FIRST_DISTANCE, middle), slice(middle, middle + num_joints)


def num_place_inputs(num_joints: int) -> int:
    """Return the number of inputs that describe the place of a candidate."""
    return _FIRST_DISTANCE + 2 * num_joints


@dataclass(frozen=True)
class ChoiceInputs:
    """Inputs of the network: n candidates of joints of F frames, numpy or torch.

    The candidates of a joint follow each other, the joint of the pose first. Joints with one candidate are left out.

    Attributes:
        views: (n, V, NUM_VIEW_INPUTS) samples of the joint's heatmap at the projection, the partner's there, and the
            heights of both highest peaks; relative to the frame's usual peak height.
        place: (n, num_place_inputs(J)) place and move, m, in the frame of the torso; score of the candidate; 1 for the
            joint of the pose; distances to all joints, m, and their changes.
        pose: (F, J, NUM_POSE_INPUTS) place of each joint, m, in the frame of the torso; mean, highest and lowest height
            of the heatmaps at its projections.
        frame, joint: (n,) indices.
    """

    views: Array
    place: Array
    pose: Array
    frame: Array
    joint: Array


def empty_inputs(num_joints: int) -> ChoiceInputs:
    """Return the inputs of one candidate, of the last joint, in two views without heatmaps, to test weights."""
    return ChoiceInputs(
        np.zeros((1, 2, NUM_VIEW_INPUTS), np.float32),
        np.zeros((1, num_place_inputs(num_joints)), np.float32),
        np.zeros((1, num_joints, NUM_POSE_INPUTS), np.float32),
        np.zeros(1, np.int64),
        np.full(1, num_joints - 1),
    )


def choose_candidates(
    weights: Mapping[str, np.ndarray], views: ViewSampler, peaks: PeakRays, pose_world: np.ndarray, body: HumanBody
) -> np.ndarray:
    """Return the poses (F, J, 3), mm, with the chosen candidates.

    Args:
        weights: of choice_scores().
        views, peaks, pose_world, body: see choice_inputs().

    Raises:
        InputError: the body lacks a joint of the torso.
    """
    inputs, points = choice_inputs(views, peaks, pose_world, body)
    chosen = pose_world.copy()
    if len(points):
        order = np.lexsort((-choice_scores(weights, inputs), inputs.joint, inputs.frame))
        first = np.ones(len(order), bool)
        first[1:] = (np.diff(inputs.frame[order]) != 0) | (np.diff(inputs.joint[order]) != 0)
        best = order[first]  # of each joint; the joint of the pose if scores are equal, since the sort is stable
        chosen[inputs.frame[best], inputs.joint[best]] = points[best]
    return chosen


def choice_inputs(
    views: ViewSampler, peaks: PeakRays, pose_world: np.ndarray, body: HumanBody
) -> tuple[ChoiceInputs, np.ndarray]:
    """List the candidates of all joints, and describe them.

    Args:
        views: heatmaps of F frames.
        peaks: (F, V, J, K) peaks with weights up to 1.
        pose_world: (F, J, 3) mm; its joints are candidates.
        body: skeleton with the joints TORSO.

    Returns:
        The inputs of the network, and the candidates (n, 3), mm.

    Raises:
        InputError: the body lacks a joint of the torso.
    """
    points, score, count = distinct_candidates(peaks, views.cameras, pose_world, body.root, views.backend)
    listed = np.arange(points.shape[2]) < count[..., None]
    frame, joint, number = np.nonzero(listed & (count > 1)[..., None])
    points, score = points[frame, joint, number], score[frame, joint, number]

    origin, axes = torso_frame(pose_world, body)
    in_torso = _to_torso(pose_world, origin[:, None], axes[:, None])
    place, others = _to_torso(points, origin[frame], axes[frame]), in_torso[frame]
    now = in_torso[frame, joint]
    distance = np.linalg.norm(place[:, None] - others, axis=-1)
    change = distance - np.linalg.norm(now[:, None] - others, axis=-1)
    evidence = np.stack([score * _SCORE_SCALE, number == 0], -1)

    at_pose = views.squares(views.project(pose_world), np.arange(body.num_joints), 0)[..., 0]
    at_pose = views.relative(at_pose)
    support = np.stack([at_pose.mean(1), at_pose.max(1), at_pose.min(1)], -1)
    inputs = ChoiceInputs(
        _view_inputs(views, points, frame, joint),
        np.concatenate([place, place - now, evidence, distance, change], -1, dtype=np.float32),
        np.concatenate([in_torso, support], -1, dtype=np.float32),
        frame,
        joint,
    )
    return inputs, points


def _view_inputs(views: ViewSampler, points_world: np.ndarray, frame: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Return `views` of ChoiceInputs for candidates (n, 3), mm."""
    center = views.project_rows(points_world, frame)
    partner = views.partner[joint]
    own = views.rows(views.maps[frame, :, joint], center, SIDE // 2)
    other = views.rows(views.maps[frame, :, partner], center, 0)
    tops = np.stack([views.highest[frame, :, joint], views.highest[frame, :, partner]], -1)
    return views.relative(np.concatenate([own, other, tops], -1), frame).astype(np.float32)


def torso_frame(pose_world: np.ndarray, body: HumanBody) -> tuple[np.ndarray, np.ndarray]:
    """Return origin (F, 3), mm, and axes (F, 3, 3) of the torso: rows left, front and up.

    Raises:
        InputError: the body lacks a joint of the torso.
    """
    lacking = [name for name in TORSO if name not in body.joint_names]
    if lacking:
        raise InputError(
            f"learned refinement: expected the joints {', '.join(TORSO)}; {lacking[0]} is missing; use rpsm+refine"
        )
    root, neck, right_hip, left_hip, right_shoulder, left_shoulder = (
        pose_world[:, body.joint_names.index(name)] for name in TORSO
    )
    up = _unit(neck - root)
    left = left_hip - right_hip + 0.5 * (left_shoulder - right_shoulder)
    left = _unit(left - (left * up).sum(-1, keepdims=True) * up)
    return root, np.stack([left, np.cross(up, left), up], 1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True).clip(1e-6)


def _to_torso(points_world: np.ndarray, origin: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return points in the frame of the torso, m."""
    return (axes @ (points_world - origin)[..., None])[..., 0] / 1000


def choice_scores(weights: Mapping[str, Array], inputs: ChoiceInputs) -> Array:
    """Run the network (numpy or torch): a score (n,) per candidate; the highest of a joint is chosen.

    Args:
        weights: `view` (C, D), `view_bias` (D,), `pooled` (D, S), `pooled_joint` (J, S); `mean`, `highest`, `lowest`
            (S, H); `place` (P, H); `pose` (6*J, B), `pose_bias` (B,), `pose_joint` (B, J*T), `from_pose` (T, H);
            `joint` (J, H); `hidden` (H, H), `hidden_bias` (H,); `score` (H, 1).
        inputs: of choice_inputs().
    """
    frame, joint = inputs.frame, inputs.joint
    num_frames, num_joints = inputs.pose.shape[:2]
    flat = inputs.views.reshape(-1, inputs.views.shape[-1])  # one product of matrices
    view = (flat @ weights["view"] + weights["view_bias"]).clip(0) @ weights["pooled"]
    view = (view.reshape(*inputs.views.shape[:2], view.shape[-1]) + weights["pooled_joint"][joint][:, None]).clip(0)
    highest, lowest = (view.max(1), view.min(1)) if isinstance(view, np.ndarray) else (view.amax(1), view.amin(1))
    pose = (inputs.pose.reshape(num_frames, -1) @ weights["pose"] + weights["pose_bias"]).clip(0)
    pose = (pose @ weights["pose_joint"]).reshape(num_frames, num_joints, -1)[frame, joint]
    hidden = view.mean(1) @ weights["mean"] + highest @ weights["highest"] + lowest @ weights["lowest"]
    hidden = hidden + inputs.place @ weights["place"] + pose @ weights["from_pose"] + weights["joint"][joint]
    hidden = (hidden.clip(0) @ weights["hidden"] + weights["hidden_bias"]).clip(0)
    return (hidden @ weights["score"])[:, 0]
