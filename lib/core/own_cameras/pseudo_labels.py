"""Pseudo labels: a training set whose labels are predictions on which the views agree."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config_io import dataset_root
from lib.core.own_cameras.recording_tables import error_summary
from lib.core.pose3d.frames import EvaluatedFrames, load_frames, open_predictions
from lib.dataset.conventions import MM_PER_UNIT
from lib.dataset.data_sets import annotation_file
from lib.dataset.storage.h36m_pickle import load_records
from lib.dataset.storage.new_dataset_folder import new_dataset_folder
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
    """Consensus between views.

    Attributes:
        tolerance: largest reprojection error of a kept joint, share of the crop side length.
        min_views: views that must agree; None = 3, or 2 with two views.
    """

    tolerance: float = 0.03
    min_views: int | None = None


@dataclass(frozen=True)
class PseudoLabels:
    """Labels of F groups of V views.

    Attributes:
        pose_world: (F, J, 3) mm, finite; joints kept in no view have the median position of the others.
        all_views_world: (F, J, 3) mm, triangulated from all views for the report; NaN where that is impossible.
        kept: (F, V, J) bool, joints that are trained on.
    """

    pose_world: np.ndarray
    all_views_world: np.ndarray
    kept: np.ndarray


def agreeing_labels(locations: np.ndarray, frames: EvaluatedFrames, settings: PseudoLabelSettings) -> PseudoLabels:
    """Keep the 2D joints on which the views agree.

    Args:
        locations: (F, V, J, 3) predicted x, y in image px and peak value, in the order of the joint set; without a
            positive peak nothing was predicted.
        frames: cameras and crops.
        settings: consensus between views.

    Raises:
        InputError: the settings are out of range, or the views agree on nothing.

    Source: paper section 3.2.
    """
    if not 0 < settings.tolerance < 1:
        raise InputError(
            f"--tolerance: expected a share of the crop side length between 0 and 1, received {settings.tolerance:g}"
        )
    num_views = locations.shape[1]
    if settings.min_views is not None and not 2 <= settings.min_views <= num_views:
        raise InputError(f"--min-views: expected 2 to {num_views}, received {settings.min_views}")
    points_img = np.where(locations[..., 2:] > 0, locations[..., :2].astype(np.float64), np.nan)
    min_views = min(3, num_views) if settings.min_views is None else settings.min_views
    side_px = frames.scale[..., 0] * SCALE_UNIT_PX
    found = consistent_points(points_img, frames.cameras, side_px, settings.tolerance, min_views)
    if not found.agrees.any():
        raise InputError("the views agree on no joint: wrong cameras, an untrained network, or too small a --tolerance")
    # Joints that are not trained on need a finite position near the person; nearly parallel rays meet far away.
    pose_world = found.points_world.copy()
    pose_world[~found.agrees.any((1, 2))] = np.nanmedian(pose_world, (0, 1))
    center = np.nanmedian(pose_world, 1, keepdims=True)
    pose_world = np.where(np.isfinite(pose_world), pose_world, center)
    return PseudoLabels(pose_world, triangulate(points_img, frames.cameras), found.agrees)


def make_pseudo_labels(
    config: Any, directory: Path, root: Path, settings: PseudoLabelSettings, force: bool = False
) -> str:
    """Write a data set ROOT whose training labels are predictions that the views agree on.

    Crops, cameras, images (linked) and the validation set come from DATASET.ROOT. Annotated poses are used only in
    the report.

    Args:
        config: configuration of the predictions; TEST_SUBSET must be TRAIN_SUBSET.
        directory: run directory with the predictions.
        root: new folder.
        settings: consensus between views.
        force: replace a data set that was made here before.

    Returns:
        The report as Markdown.

    Raises:
        InputError: another TEST_SUBSET, missing predictions or predictions of other images, no annotation pickle, or
            the disk is full.
    """
    keys = config.DATASET
    if keys.TEST_SUBSET != keys.TRAIN_SUBSET:  # labels of the validation set would replace its gt
        raise InputError(
            f"DATASET.TEST_SUBSET: expected {keys.TRAIN_SUBSET}, the training set, received {keys.TEST_SUBSET}; "
            "set it here and for run/pose2d/valid.py"
        )
    frames = load_frames(config)
    with open_predictions(config, directory, frames, needs_heatmaps=False) as predictions:
        locations = predictions.read_locations().reshape(*frames.image_ids.shape, -1, 3)
    labels = agreeing_labels(locations[:, :, frames.joint_order], frames, settings)
    home = dataset_root(config)
    source = annotation_file(keys.TEST_DATASET, keys, home, keys.TEST_SUBSET, keys.CROP).path
    report = _report(labels, frames)
    with new_dataset_folder(root, force, MARKER) as folder:
        folder_name = source.parent.parent.name
        write_pickle(folder / folder_name / "annot" / source.name, list(_records(config, source, frames, labels)))
        for path in _linked(home, source):
            link = folder / path.relative_to(home)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(path.resolve(), root.resolve() / path.relative_to(home).parent))
        write_json(folder / MARKER, {"settings": asdict(settings), "frames": len(frames), "kept": labels.kept.mean()})
    return report


def _linked(home: Path, source: Path) -> Iterator[Path]:
    """Yield the files that the new data set shares with its source: images, validation set, and MPII."""
    labels = {source.name, source.with_suffix(".arrays").name}
    yield from (
        path for path in sorted(source.parent.iterdir()) if path.name not in labels and "train" not in path.name
    )
    yield from sorted(source.parent.parent.glob("images*"))
    yield from (home / name for name in ("mpii", "MPII") if (home / name).exists())


def _records(config: Any, source: Path, frames: EvaluatedFrames, labels: PseudoLabels) -> Iterator[dict[str, Any]]:
    """Yield the annotation records with the new joints in place of the annotated ones."""
    by_image = {record.get("image"): record for record in load_records(source)}
    factor = MM_PER_UNIT[config.DATASET.POSE_UNIT]
    joints_cam = world_to_camera(labels.pose_world[:, None], frames.cameras)  # (F, V, J, 3)
    # Joints behind a camera have no pixel, and their projection may exceed the range of float32.
    seen = visible_to(joints_cam, frames.cameras)[..., None]
    joints_img = np.where(seen, project_camera(joints_cam, frames.cameras)[0], frames.center[:, :, None])
    joints_cam = joints_cam / factor
    visible = np.repeat(labels.kept[..., None].astype(float), 3, -1)
    for index in np.ndindex(frames.image_ids.shape):
        name = frames.image_ids[index]
        if name not in by_image:
            raise InputError(f"{source}: no record of '{name}', which the predictions contain")
        yield {
            **{key: value for key, value in by_image[name].items() if key != "joints_occluded"},
            "joints_2d": joints_img[index],
            "joints_3d": joints_cam[index],
            "joints_3d_camera": joints_cam[index],
            "joints_vis": visible[index],
        }


def _report(labels: PseudoLabels, frames: EvaluatedFrames) -> str:
    """Return the shares of kept joints and their errors against the annotation, as Markdown."""
    known = labels.kept.any(1)
    pose_world = np.where(known[..., None], labels.pose_world, labels.all_views_world)
    error = np.linalg.norm(pose_world - frames.gt_world, axis=-1)
    rows = [
        [
            name,
            100 * float(labels.kept[:, :, joint].mean()),
            error_summary(error[known[:, joint], joint])["median"],
            error_summary(error[~known[:, joint], joint])["median"],
        ]
        for joint, name in enumerate(frames.joint_set.names)
    ]
    medians = [error_summary(error[chosen])["median"] for chosen in (known, ~known)]
    rows.append(["**all**", 100 * float(labels.kept.mean()), *medians])
    header = ["joint", "kept (%)", "median error, kept (mm)", "median error, others (mm)"]
    return f"{len(frames)} groups\n\n{markdown_table(header, rows)}"
