"""Learned refinement: small networks choose between the candidates of the joints, and correct their places.

First, the learned choice replaces joints by better candidates (learned_choice.py). Then, for each view and joint, a
network sees the heatmaps of the joint and of its left/right partner around the projection, and how high the other views
are there. It combines them with the other joints of the view. It predicts the offset of the joint from the projection
and the error to expect. refine.py fits the pose to the predicted places, weighted by the predicted errors, and to the
limb lengths. So the views are fused in 3D, and the rig may be any.

The forward pass is plain array code: numpy in the 3D step, torch in the training (lib/core/pose3d/train_refinement.py).

Source: our own. Weights per view and joint are learned as in AdaFuse (Zhang et al., IJCV 2021) and learnable
triangulation (Iskakov et al., ICCV 2019), here together with the places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.keypoints.peak_rays import PeakRays
from lib.multiviews.refinement.learned_choice import choose_candidates
from lib.multiviews.refinement.view_sampler import ViewSampler

Array = Any  # numpy or torch

_OWN_RADIUS = 3  # cells, of the square around the projection
_PARTNER_RADIUS = 2  # the same, heatmap of the left/right partner
NUM_OWN = (2 * _OWN_RADIUS + 1) ** 2
NUM_PARTNER = (2 * _PARTNER_RADIUS + 1) ** 2
NUM_INPUTS = NUM_OWN + NUM_PARTNER + 5


@dataclass(frozen=True)
class LearnedRefinement:
    """Weights of the networks, and what they are for.

    Attributes:
        weights: arrays of view_offsets().
        joint_names: names of the J joints.
        fusion: NETWORK.FUSION of the heatmaps.
        checkpoint: digest of the weights that predicted the heatmaps; "" = unknown.
        choice: arrays of choice_scores(); empty = no other candidate is chosen.
    """

    weights: Mapping[str, np.ndarray]
    joint_names: tuple[str, ...]
    fusion: str
    checkpoint: str = ""
    choice: Mapping[str, np.ndarray] = field(default_factory=dict)

    def choose(self, views: ViewSampler, peaks: PeakRays, pose_world: np.ndarray, body: HumanBody) -> np.ndarray:
        """Return the poses (F, J, 3), mm, with better candidates; see choose_candidates()."""
        return choose_candidates(self.choice, views, peaks, pose_world, body) if self.choice else pose_world

    def predict(self, views: ViewSampler, pose_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict the places of the joints of poses (F, J, 3), mm, in V views.

        Returns:
            places (F, V, J, 2), heatmap px, and expected errors (F, V, J), cells.
        """
        inputs, projection = pose_inputs(views, pose_world)
        offset, log_error = view_offsets(self.weights, inputs)
        return projection + offset * views.cell_px, np.exp(log_error.clip(-4, 4))


def pose_inputs(views: ViewSampler, pose_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read the heatmaps around the projections of poses (F, J, 3), mm.

    Returns:
        inputs: (F, V, J, NUM_INPUTS) float32: samples of both heatmaps relative to the frame's usual peak height, the
            heights of both highest peaks, and the mean height at the projections: over the views, over the frame, and
            relative to the highest peak.
        projection: (F, V, J, 2) heatmap px.
    """
    projection = views.project(pose_world)
    own = views.relative(views.squares(projection, np.arange(len(views.partner)), _OWN_RADIUS))
    other = views.relative(views.squares(projection, views.partner, _PARTNER_RADIUS))
    top = views.relative(views.highest[..., None])
    center = own[..., NUM_OWN // 2, None]
    over_views = np.broadcast_to(center.mean(1, keepdims=True), center.shape)
    over_frame = np.broadcast_to(center.mean((1, 2), keepdims=True), center.shape)
    parts = [own, other, top, top[:, :, views.partner], over_views, over_frame, center / top.clip(0.05)]
    return np.concatenate(parts, -1, dtype=np.float32), projection


def view_offsets(weights: Mapping[str, Array], inputs: Array) -> tuple[Array, Array]:
    """Run the network (numpy or torch).

    Args:
        weights: `mean`, `scale` (C,) of the inputs; `input` (C, D), `joint` (J, D); `hidden` (D, D), `hidden_bias`
            (D,); `narrow` (D, S), `body` (J*S, J*S), `body_bias` (J*S,); `own` (D, D), `from_body` (S, D),
            `combined_bias` (D,); `output` (D, 3), `output_joint` (J, 3).
        inputs: (F, V, J, C), of pose_inputs().

    Returns:
        offset (F, V, J, 2), cells, and logarithm of the error (F, V, J), cells.
    """
    shape = inputs.shape[:3]
    flat = ((inputs - weights["mean"]) * weights["scale"]).reshape(-1, inputs.shape[-1])  # one product of matrices
    one = (flat @ weights["input"]).reshape(*shape, -1) + weights["joint"]
    one = one.clip(0).reshape(len(flat), -1) @ weights["hidden"] + weights["hidden_bias"]
    one = one.clip(0)
    narrow = (one @ weights["narrow"]).clip(0)
    body = narrow.reshape(shape[0] * shape[1], -1) @ weights["body"] + weights["body_bias"]
    body = body.reshape(narrow.shape) @ weights["from_body"]
    combined = one @ weights["own"] + body + weights["combined_bias"]
    output = (combined.clip(0) @ weights["output"]).reshape(*shape, 3) + weights["output_joint"]
    return output[..., :2], output[..., 2]
