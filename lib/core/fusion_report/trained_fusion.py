"""A trained fusion layer with its test groups: weights between pixels, and their epipolar curves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.core.build_model import build_model
from lib.core.pose3d.frames import load_frames
from lib.core.run_directory import weights_file
from lib.dataset.annotations import Annotations
from lib.models.fusion import CrossViewFusion, source_views
from lib.models.registry import fusion_name
from lib.models.weights import load_model
from lib.multiviews.body import body_of
from lib.multiviews.cameras import Cameras
from lib.multiviews.geometry.epipolar import curve_depths, epipolar_curve
from lib.utils.errors import InputError
from lib.utils.joints import UNION_20
from lib.utils.transforms import image_to_heatmap_affine, transform_points

PERSON_REACH_MM = 2000.0  # the person is assumed within this distance of the root's depth


@dataclass(frozen=True)
class FusedGroup:
    """A group of V views with its ground truth; J joints in the order of the data set.

    Attributes:
        title: title of the group.
        rows: (V,) rows of the annotations.
        cameras: leading axis V.
        joints_img: (V, J, 2) true joints, px of the original images.
        visible: (V, J) bool, annotated joints.
        root_depth: (V,) depth of the root, mm.
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
        """Return the other views, in the order of the matrices of a view."""
        return source_views(len(self.rows))[view]

    def pixels(self, view: int, points_img: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the heatmap pixels nearest to points (P, 2) of the original image of a view.

        Returns:
            (P, 2) integer (x, y), and (P,) bool, whether they are in the heatmap.
        """
        pixels = np.rint(transform_points(points_img, self.to_heatmap[view])).astype(np.int64)
        return pixels, ((pixels >= 0) & (pixels < self.heatmap_wh)).all(-1)

    def curves(self, view: int, points_img: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute the epipolar curves of points in the other views.

        Args:
            view: view of the points.
            points_img: (P, 2) px of its original image.

        Returns:
            (V-1, P, D, 2) curves, px of the other views' original images; (V-1, P, D) bool, valid vertices; (D,) bool,
            vertices within PERSON_REACH_MM of the root's depth.
        """
        depths, near = curve_depths(self.root_depth[view], PERSON_REACH_MM)
        curve, valid = epipolar_curve(points_img, self.cameras[view], self.cameras[self.sources(view)], depths)
        return curve, valid, near


@dataclass(frozen=True)
class TrainedFusion:
    """The fusion layer of a run and its test groups.

    Attributes:
        fusion: the trained layer.
        annotations: annotations of the test images.
        groups: (G, V) rows of the annotations.
        image_wh: network input (width, height), px.
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
        """Return the indices of `count` groups, evenly spaced over the data set."""
        return np.linspace(0, len(self) - 1, min(count, len(self))).astype(int).tolist()

    def group(self, index: int) -> FusedGroup:
        """Return a group with its cameras and ground truth."""
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

    def source_weights(self, view: int, pixels: np.ndarray) -> np.ndarray:
        """Return the weights that heatmap pixels (P, 2) of a view give to the other views, (P, V-1, H, W)."""
        return self.fusion.source_weights(view, torch.as_tensor(pixels)).numpy()


def load_trained_fusion(config: Any, directory: Path) -> TrainedFusion:
    """Load the fusion layer of a run and its test groups.

    Args:
        config: configuration of the run.
        directory: the run directory.

    Raises:
        InputError: the network has no learned fusion, the data has no calibrated views, the annotation is unreadable,
            or the checkpoint is missing or does not fit.
    """
    if fusion_name(config.NETWORK) != "learned":
        raise InputError(f"NETWORK.FUSION {fusion_name(config.NETWORK)}: expected learned, whose matrices can be shown")
    frames = load_frames(config)
    model = build_model(config, frames.groups.shape[1])
    load_model(model, weights_file(config, directory))
    return TrainedFusion(model.fusion, frames.annotations, frames.groups, tuple(config.NETWORK.IMAGE_SIZE))


def check_index(index: int, count: int, what: str, flag: str, first: int = 0) -> None:
    """Raise an InputError if the `index` of a flag, e.g. of "groups", is not in [first, first + count)."""
    if not first <= index < first + count:
        raise InputError(f"{flag}: expected one of the {what} {first} to {first + count - 1}, received {index}")
