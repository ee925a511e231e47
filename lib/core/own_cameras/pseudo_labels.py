"""Predictions on the training images -> labels on which the views agree: a data set without annotated joints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config_io import dataset_root
from lib.core.pose3d.frames import EvaluatedFrames, load_frames, open_predictions
from lib.dataset.conventions import MM_PER_UNIT
from lib.dataset.data_sets import annotation_file
from lib.dataset.storage.h36m_pickle import load_records
from lib.dataset.storage.new_dataset_folder import new_root
from lib.multiviews.cameras import project_camera, visible_to, world_to_camera
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.keypoints.view_consensus import consistent_points
from lib.utils.errors import InputError
from lib.utils.files.json_file import write_json
from lib.utils.files.portable_pickle import write_pickle
from lib.utils.tables import markdown_table
from lib.utils.transforms import SCALE_UNIT_PX

MARKER = "pseudo_labels.json"


@dataclass(frozen=True)
class PseudoLabelSettings:
    """What counts as agreement.

    Attributes:
        tolerance: largest reprojection error of a kept joint, share of the box.
        min_views: views that must agree; None = 3, or 2 where there are but two.
    """

    tolerance: float = 0.03
    min_views: int | None = None


@dataclass(frozen=True)
class PseudoLabels:
    """Labels of F frames of V views.

    Attributes:
        pose_world: (F, J, 3) mm, finite; joints that are kept in no view stand in the middle of those that are.
        all_views_world: (F, J, 3) mm, triangulated from all views, for the report; NaN where that is impossible.
        kept: (F, V, J) bool, joints that are trained on.
    """

    pose_world: np.ndarray
    all_views_world: np.ndarray
    kept: np.ndarray


def agreeing_labels(locations: np.ndarray, frames: EvaluatedFrames, settings: PseudoLabelSettings) -> PseudoLabels:
    """Keep the 2D joints on which the views agree.

    Args:
        locations: (F, V, J, 3) predicted x, y in image px and peak value, joints of the frames' joint set; where the
            peak is not positive nothing was predicted.
        frames: cameras and boxes.
        settings: what counts as agreement.

    Returns:
        The labels.

    Raises:
        InputError: the settings are out of range, or nothing agrees.

    Source: paper section 3.2.
    """
    if not 0 < settings.tolerance < 1:
        raise InputError(f"--tolerance: expected a share of the box between 0 and 1, received {settings.tolerance:g}")
    num_views = locations.shape[1]
    if settings.min_views is not None and not 2 <= settings.min_views <= num_views:
        raise InputError(f"--min-views: expected 2 to {num_views}, received {settings.min_views}")
    points_img = np.where(locations[..., 2:] > 0, locations[..., :2], np.nan).astype(np.float64)  # empty maps: not seen
    min_views = min(3, num_views) if settings.min_views is None else settings.min_views
    side = frames.scale[..., 0] * SCALE_UNIT_PX
    found = consistent_points(points_img, frames.cameras, side, settings.tolerance, min_views)
    if not found.agrees.any():
        raise InputError(
            "the views agree on no joint at all: wrong cameras, a network that knows too little, or too "
            "small a --tolerance"
        )
    # What is not trained on must stand somewhere all the same; rays that hardly meet may do so kilometres away.
    pose_world = found.points_world.copy()
    pose_world[~found.agrees.any((1, 2))] = np.nanmedian(pose_world, (0, 1))
    middle = np.nanmedian(pose_world, 1, keepdims=True)
    pose_world = np.where(np.isfinite(pose_world), pose_world, middle)
    return PseudoLabels(pose_world, triangulate(points_img, frames.cameras), found.agrees)


def make_pseudo_labels(
    config: Any, directory: Path, root: Path, settings: PseudoLabelSettings, force: bool = False
) -> str:
    """Write a data set ROOT whose training labels are what a network predicted and the views agree on.

    Boxes, cameras, images (linked) and the validation set are those of DATASET.ROOT. True poses are read for the
    report alone.

    Args:
        config: TEST_SUBSET is TRAIN_SUBSET, the training annotation that was predicted.
        directory: run directory with the predictions.
        root: the new folder.
        settings: what counts as agreement.
        force: replace a data set that was made here before.

    Returns:
        The report, Markdown.

    Raises:
        InputError: TEST_SUBSET is another one, no predictions, those of other images, no pickle of the annotation, or
            the disk refuses.
    """
    keys = config.DATASET
    if keys.TEST_SUBSET != keys.TRAIN_SUBSET:  # labels of the validation set would be taken for its truth
        raise InputError(
            f"DATASET.TEST_SUBSET is {keys.TEST_SUBSET}: set it {keys.TRAIN_SUBSET}, here and for "
            "run/pose2d/valid.py, to label the training set"
        )
    frames = load_frames(config)
    with open_predictions(config, directory, frames, needs_heatmaps=False) as predictions:
        locations = predictions.read_locations().reshape(*frames.image_ids.shape, -1, 3)
    labels = agreeing_labels(locations[:, :, frames.joint_order], frames, settings)
    home = dataset_root(config)
    source = annotation_file(keys.TEST_DATASET, keys, home, keys.TEST_SUBSET, keys.CROP).path
    report = _report(labels, frames)
    with new_root(root, force, MARKER) as folder:
        folder_name = source.parent.parent.name
        write_pickle(folder / folder_name / "annot" / source.name, list(_records(config, source, frames, labels)))
        for path in _linked(home, source):
            link = folder / path.relative_to(home)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(path.resolve(), root.resolve() / path.relative_to(home).parent))
        write_json(folder / MARKER, {"settings": asdict(settings), "frames": len(frames), "kept": labels.kept.mean()})
    return report


def _linked(home: Path, source: Path) -> Iterator[Path]:
    """Yield what the new data set shares with the one it is made of."""
    own = {source.name, source.with_suffix(".arrays").name}
    yield from (path for path in sorted(source.parent.iterdir()) if path.name not in own and "train" not in path.name)
    yield from sorted(source.parent.parent.glob("images*"))
    yield from (home / name for name in ("mpii", "MPII") if (home / name).exists())


def _records(config: Any, source: Path, frames: EvaluatedFrames, labels: PseudoLabels) -> Iterator[dict[str, Any]]:
    """Yield the published records of the frames with the new joints in place of the annotated ones."""
    by_image = {record.get("image"): record for record in load_records(source)}
    factor = MM_PER_UNIT[config.DATASET.POSE_UNIT]
    joints_cam = world_to_camera(labels.pose_world[:, None], frames.cameras)  # (F, V, J, 3)
    # What a view cannot see has no pixel there, only numbers that may be too large for a float32.
    seen = visible_to(joints_cam, frames.cameras)[..., None]
    joints_img = np.where(seen, project_camera(joints_cam, frames.cameras)[0], frames.center[:, :, None])
    joints_cam = joints_cam / factor
    visible = np.repeat(labels.kept[..., None].astype(float), 3, -1)
    for place in np.ndindex(frames.image_ids.shape):
        name = frames.image_ids[place]
        if name not in by_image:
            raise InputError(f"{source}: has no record of '{name}', which was predicted")
        yield {
            **{key: value for key, value in by_image[name].items() if key != "joints_occluded"},
            "joints_2d": joints_img[place],
            "joints_3d": joints_cam[place],
            "joints_3d_camera": joints_cam[place],
            "joints_vis": visible[place],
        }


def _report(labels: PseudoLabels, frames: EvaluatedFrames) -> str:
    """Say what was kept and, since these frames are annotated, how far it is from the truth."""
    known = labels.kept.any(1)
    pose_world = np.where(known[..., None], labels.pose_world, labels.all_views_world)
    error = np.linalg.norm(pose_world - frames.gt_world, axis=-1)
    rows = [
        [
            name,
            100 * float(labels.kept[:, :, joint].mean()),
            _median(error[known[:, joint], joint]),
            _median(error[~known[:, joint], joint]),
        ]
        for joint, name in enumerate(frames.joint_set.names)
    ]
    rows.append(["**all**", 100 * float(labels.kept.mean()), _median(error[known]), _median(error[~known])])
    header = ["joint", "kept (%)", "error of the kept, median (mm)", "of the others"]
    return f"{len(frames)} frames\n\n{markdown_table(header, rows)}"


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else float("nan")
