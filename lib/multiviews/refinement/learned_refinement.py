"""Learned refinement: a small network reads the heatmaps around the projections of a pose, and moves them.

For each view and joint, the network sees the heatmaps of the joint and of its left/right partner around the
projection, and how high the other views are there. It combines them with the other joints of the view. It predicts the
offset of the joint from the projection, and the size of its own error. refine.py fits the pose to the predicted places,
weighted by the predicted errors, and to the limb lengths. So the views are fused in 3D, and the rig may be any.

The forward pass is plain array code: numpy in the 3D step, torch in the training (lib/core/pose3d/train_refinement.py).

Source: our own. Weights per view and joint are learned as in AdaFuse (Zhang et al., IJCV 2021) and learnable
triangulation (Iskakov et al., ICCV 2019), here together with the places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.multiviews.cameras import Cameras, project
from lib.multiviews.keypoints.heatmap_values import highest_values, on_host, take_values
from lib.multiviews.keypoints.left_right import FlipPairs
from lib.multiviews.pictorial.heatmap_sampling import bilinear_taps
from lib.utils.transforms import transform_points

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numpy import Backend

Array = Any  # numpy or torch


@dataclass(frozen=True)
class SamplingSettings:
    """Places where the heatmaps are read. Units are cells: 1/32 of the heatmap's width."""

    cells: int = 32  # cells per heatmap width
    radius: int = 3  # of the square around the projection, own heatmap
    partner_radius: int = 2  # the same, heatmap of the left/right partner
    farthest: float = 24.0  # cells outside of the map, to which projections are clipped
    min_height: float = 1e-3  # lower limit of the usual peak height


SAMPLING = SamplingSettings()
NUM_OWN = (2 * SAMPLING.radius + 1) ** 2
NUM_PARTNER = (2 * SAMPLING.partner_radius + 1) ** 2
NUM_INPUTS = NUM_OWN + NUM_PARTNER + 5


@dataclass(frozen=True)
class LearnedRefinement:
    """Weights of the network, and what they are for.

    Attributes:
        weights: arrays of view_offsets().
        joint_names: names of the J joints.
        fusion: NETWORK.FUSION of the heatmaps.
        checkpoint: digest of the weights that predicted the heatmaps; "" = unknown.
    """

    weights: Mapping[str, np.ndarray]
    joint_names: tuple[str, ...]
    fusion: str
    checkpoint: str = ""

    def predict(
        self,
        heatmaps: Array,
        cameras: Cameras,
        image_to_heatmap: np.ndarray,
        pose_world: np.ndarray,
        partner: np.ndarray,
        backend: Backend | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict the places of the joints of F frames in V views.

        Args:
            heatmaps, cameras, image_to_heatmap, pose_world, partner, backend: see pose_inputs().

        Returns:
            places (F, V, J, 2), heatmap px, and expected errors (F, V, J), cells.
        """
        inputs, projection = pose_inputs(heatmaps, cameras, image_to_heatmap, pose_world, partner, backend)
        offset, log_error = view_offsets(self.weights, inputs)
        return projection + offset * cell_px(heatmaps), np.exp(log_error.clip(-4, 4))


def partners(num_joints: int, flip_pairs: FlipPairs) -> np.ndarray:
    """Return the index (J,) of the left/right partner of each joint; joints of the middle are their own."""
    index = np.arange(num_joints)
    for right, left in flip_pairs:
        index[right], index[left] = left, right
    return index


def cell_px(heatmaps: Array) -> float:
    """Return the size of a cell in heatmap px."""
    return heatmaps.shape[-1] / SAMPLING.cells


def pose_inputs(
    heatmaps: Array,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    pose_world: np.ndarray,
    partner: np.ndarray,
    backend: Backend | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Read the heatmaps around the projections of poses.

    Args:
        heatmaps: (F, V, J, H, W), numpy or torch.
        cameras: numpy cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.
        pose_world: (F, J, 3) mm.
        partner: (J,) of partners().
        backend: see sample_squares().

    Returns:
        inputs: (F, V, J, NUM_INPUTS) float32: samples of both heatmaps relative to the frame's usual peak height, the
            heights of both highest peaks, and the mean height at the projections: over the views, over the frame, and
            relative to the highest peak.
        projection: (F, V, J, 2) heatmap px.
    """
    heatmaps = on_host(heatmaps)
    cell = cell_px(heatmaps)
    height, width = heatmaps.shape[-2:]
    per_view = np.broadcast_to(pose_world[:, None], (*heatmaps.shape[:2], *pose_world.shape[1:]))
    reach = SAMPLING.farthest * cell
    found = transform_points(project(per_view, cameras)[0], image_to_heatmap)
    projection = np.nan_to_num(found, nan=-reach).clip(-reach, [width + reach, height + reach])
    highest = highest_values(heatmaps)  # (F, V, J)
    usual = np.median(highest.max(1), -1)[:, None, None, None].clip(SAMPLING.min_height)
    own = sample_squares(heatmaps, projection, np.arange(len(partner)), SAMPLING.radius, cell, backend) / usual
    other = sample_squares(heatmaps, projection, partner, SAMPLING.partner_radius, cell, backend) / usual
    top = highest[..., None] / usual
    center = own[..., NUM_OWN // 2, None]
    over_views = np.broadcast_to(center.mean(1, keepdims=True), center.shape)
    over_frame = np.broadcast_to(center.mean((1, 2), keepdims=True), center.shape)
    parts = [own, other, top, top[:, :, partner], over_views, over_frame, center / top.clip(0.05)]
    return np.concatenate(parts, -1, dtype=np.float32), projection


def sample_squares(
    heatmaps: Array, center: np.ndarray, joints: np.ndarray, radius: int, step: float, backend: Backend | None = None
) -> np.ndarray:
    """Interpolate heatmaps on squares of samples. Values below 0 and outside of the map are 0.

    Args:
        heatmaps: (F, V, J, H, W), numpy or torch.
        center: (F, V, J, 2) centers of the squares, heatmap px.
        joints: (J,) map that is read for each joint.
        radius: samples from the center to the border.
        step: distance of the samples, heatmap px.
        backend: its kernel is used if it has one; None = numpy.

    Returns:
        (F, V, J, n), row by row.
    """
    if backend is not None and backend.sample_squares is not None and isinstance(heatmaps, np.ndarray):
        return backend.sample_squares(heatmaps, center, joints, radius, step)
    axis = np.arange(-radius, radius + 1) * step
    dy, dx = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
    height, width = heatmaps.shape[-2:]
    taps = bilinear_taps(center[..., 0, None] + dx, center[..., 1, None] + dy, (height, width), np)
    maps = np.arange(np.prod(heatmaps.shape[:3], dtype=int)).reshape(heatmaps.shape[:3])[:, :, joints]
    first = taps.first + maps[..., None] * (height * width)
    shifts = (0, 1, width, width + 1)
    return sum(
        weight * take_values(heatmaps, first + shift).clip(0)
        for weight, shift in zip(taps.weights, shifts, strict=True)
    )


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
