"""Methods of 3D inference on a batch of frames, from heatmaps to poses. Imports no torch.

A method takes (configuration, batch, limb prior, kernel) and returns BatchPoses; METHODS lists them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.core.make_prior import pictorial_settings
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras
from lib.multiviews.kernels import Kernel
from lib.multiviews.limb_prior import LimbPrior
from lib.multiviews.pictorial import rpsm
from lib.multiviews.triangulate import triangulate
from lib.utils.checks import InputError


@dataclass(frozen=True)
class FrameBatch:
    """What is known of f frames.

    Attributes:
        image_ids: (f, V) image names.
        heatmaps: (f, V, J, H, W) in the joint order of the prior's body.
        locations: (f, V, J, 3) predicted joints: x, y in image px and the peak value.
        cameras: leading axes (f, V).
        image_to_heatmap: (f, V, 2, 3) image px -> heatmap px.
        center: (f, V, 2) box centres, image px.
        truth_world: (f, J, 3) mm; only for the settings that ask for the ground truth.
    """

    image_ids: np.ndarray
    heatmaps: np.ndarray
    locations: np.ndarray
    cameras: Cameras
    image_to_heatmap: np.ndarray
    center: np.ndarray
    truth_world: np.ndarray


@dataclass(frozen=True)
class BatchPoses:
    """Poses of f frames.

    Attributes:
        pose_world: (f, J, 3) mm.
        num_box_roots: frames whose root was not found in two views; the box centres stood in.
    """

    pose_world: np.ndarray
    num_box_roots: int = 0


Method = Callable[[Any, FrameBatch, LimbPrior, Kernel], BatchPoses]


def root_index(config: Any) -> int:
    """Return DATASET.ROOTIDX, checked against the skeleton."""
    root, num_joints = config.DATASET.ROOTIDX, H36M_BODY.num_joints
    if root >= num_joints:
        raise InputError(f"DATASET.ROOTIDX: expected a joint index below {num_joints}, received {root}")
    return root


def root_world(config: Any, batch: FrameBatch) -> tuple[np.ndarray, int]:
    """Locate the roots as PICT_STRUCT.ROOT_SOURCE says.

    Returns:
        (f, 3) mm, world frame, and the number of frames in which the box centres stood in.

    Raises:
        InputError: the views of a frame stand at one place.
    """
    if config.PICT_STRUCT.ROOT_SOURCE == "ground_truth":
        return batch.truth_world[:, root_index(config)], 0
    location = batch.locations[:, :, root_index(config)]  # (f, V, 3)
    root = triangulate(location[:, :, None, :2], batch.cameras, location[:, :, None, 2])[:, 0]
    without = ~np.isfinite(root).all(1)
    if without.any():  # the box surrounds the person, so its centre is near enough for a cube of 2 m
        root = np.where(without[:, None], triangulate(batch.center[:, :, None], batch.cameras)[:, 0], root)
    if not np.isfinite(root).all():
        frame = int(np.flatnonzero(~np.isfinite(root).all(1))[0])
        raise InputError(f"frame of '{batch.image_ids[frame, 0]}': its views stand at one place, so the root cannot "
                         "be triangulated")  # fmt: skip
    return root, int(without.sum())


def limb_lengths(config: Any, batch: FrameBatch, prior: LimbPrior) -> np.ndarray:
    """Return the limb lengths that PICT_STRUCT.LIMB_LENGTH_SOURCE asks for: (f, E) or (E,), mm."""
    if config.PICT_STRUCT.LIMB_LENGTH_SOURCE == "ground_truth":
        return prior.body.limb_lengths(batch.truth_world)
    return prior.mean_lengths


def rpsm_method(config: Any, batch: FrameBatch, prior: LimbPrior, kernel: Kernel) -> BatchPoses:
    """The recursive pictorial structure around the root."""
    root, num_box_roots = root_world(config, batch)
    lengths, settings = limb_lengths(config, batch, prior), pictorial_settings(config)
    pose = rpsm(batch.heatmaps, batch.cameras, batch.image_to_heatmap, root, lengths, prior, settings, kernel)
    return BatchPoses(pose, num_box_roots)
