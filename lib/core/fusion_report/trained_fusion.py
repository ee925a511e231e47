"""Test groups together with the trained fusion layer: which pixels vote for a pixel, and where it may lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.core.build_model import build_model
from lib.core.pose3d.frames import load_frames
from lib.core.run_directory import weights_file
from lib.dataset.annotations import Annotations
from lib.models.fusion import CrossViewFusion
from lib.models.fusion_product import source_views
from lib.models.registry import fusion_name
from lib.models.weights import load_model
from lib.multiviews.body import body_of
from lib.multiviews.cameras import Cameras
from lib.multiviews.geometry.epipolar import curve_depths, epipolar_curve
from lib.utils.errors import InputError
from lib.utils.joints import UNION_20
from lib.utils.transforms import image_to_heatmap_affine, transform_points

PERSON_REACH_MM = 2000.0  # points this much nearer or farther than the root may still be the person's


@dataclass(frozen=True)
class FusedGroup:
    """One group of V views with its true joints; J joints in the order of the data set.

    Attributes:
        title: names the group.
        rows: (V,) rows of the annotations.
        cameras: leading axis V.
        joints_img: (V, J, 2) true joints, px of the original images.
        visible: (V, J) which of them are annotated.
        root_depth: (V,) mm.
        to_heatmap: (V, 2, 3) image px -> heatmap px.
        heatmap_wh: (width, height) of the heatmaps.
    """

    title: str
    rows: np.ndarray
    cameras: Cameras
    joints_img: np.ndarray
    visible: np.ndarray
    root_depth: np.ndarray
    to_heatmap: np.ndarray
    heatmap_wh: tuple[int, int]

    def sources(self, view: int) -> list[int]:
        """Return the views that are fused into a view, in the order of its matrices."""
        return source_views(len(self.rows))[view]

    def pixels(self, view: int, points_img: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the heatmap pixels nearest to points (P, 2) of the original image of a view.

        Returns:
            (P, 2) integer (x, y), and (P,) bool: whether they lie in the heatmap.
        """
        pixels = np.rint(transform_points(points_img, self.to_heatmap[view])).astype(np.int64)
        return pixels, ((pixels >= 0) & (pixels < self.heatmap_wh)).all(-1)

    def curves(self, view: int, points_img: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find where the other views show what pixels of a view may show.

        Args:
            view: the view.
            points_img: (P, 2) px of its original image.

        Returns:
            (V-1, P, D, 2) epipolar curves, px of the other views' original images; (V-1, P, D) where they are valid;
            (D,) which corners are within PERSON_REACH_MM of the root's depth.
        """
        depths, near = curve_depths(self.root_depth[view], PERSON_REACH_MM)
        curve, valid = epipolar_curve(points_img, self.cameras[view], self.cameras[self.sources(view)], depths)
        return curve, valid, near


@dataclass(frozen=True)
class TrainedFusion:
    """The test groups of a run and its fusion layer.

    Attributes:
        fusion: the trained layer.
        annotations: of the test images.
        groups: (G, V) their rows.
        image_wh: (width, height) of the network input.
    """

    fusion: CrossViewFusion
    annotations: Annotations
    groups: np.ndarray
    image_wh: tuple[int, int]

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def num_views(self) -> int:
        """Number of views V."""
        return self.groups.shape[1]

    def spread(self, count: int) -> list[int]:
        """Choose groups evenly over the data set."""
        return np.linspace(0, len(self) - 1, min(count, len(self))).astype(int).tolist()

    def group(self, index: int) -> FusedGroup:
        """Collect what is known of a group."""
        annotations = self.annotations
        rows = self.groups[index]
        heatmap_wh = self.fusion.heatmap_hw[::-1]
        labels = annotations.labels3d
        union = UNION_20.indices(annotations.joint_set.names)
        recording = labels.protocol.recording_name(labels.action[rows[0]], labels.subaction[rows[0]])
        return FusedGroup(
            title=f"group {index}: S{labels.subject[rows[0]]} {recording}, image {labels.frame[rows[0]]}",
            rows=rows,
            cameras=labels.cameras[labels.camera_idx[rows]],
            joints_img=annotations.joints_img[rows][:, union].astype(np.float64),
            visible=annotations.visible[rows][:, union],
            root_depth=labels.pose_cam[rows, body_of(annotations.joint_set).root, 2].astype(np.float64),
            to_heatmap=image_to_heatmap_affine(
                annotations.center[rows], annotations.scale[rows], self.image_wh, heatmap_wh
            ),
            heatmap_wh=heatmap_wh,
        )

    def votes(self, view: int, pixels: np.ndarray) -> np.ndarray:
        """Return the weights of the other views' pixels for pixels (P, 2) of a view's heatmap, (P, V-1, H, W)."""
        return self.fusion.votes(view, torch.as_tensor(pixels)).numpy()


def load_trained_fusion(config: Any, directory: Path) -> TrainedFusion:
    """Read the test groups of a run and the fusion layer of its checkpoint.

    Args:
        config: the configuration of the run.
        directory: the run directory.

    Raises:
        InputError: a network without fusion, data without calibrated views, unreadable annotation, or a checkpoint
            that is missing or does not fit.
    """
    if fusion_name(config.NETWORK) != "learned":
        raise InputError(
            f"NETWORK.FUSION {fusion_name(config.NETWORK)}: this network has no matrices that could be shown"
        )
    frames = load_frames(config)
    model = build_model(config, frames.groups.shape[1])
    load_model(model, weights_file(config, directory))
    return TrainedFusion(model.fusion, frames.annotations, frames.groups, tuple(config.NETWORK.IMAGE_SIZE))


def check_index(index: int, count: int, what: str, flag: str, first: int = 0) -> None:
    """Raise an InputError if a flag's `index` is none of `count` things, e.g. "groups", counted from `first`."""
    if not first <= index < first + count:
        raise InputError(f"{flag}: {index} does not exist; the data set has {what} {first} to {first + count - 1}")
