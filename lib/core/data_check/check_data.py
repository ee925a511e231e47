"""All checks of the data sets of a configuration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config_io import dataset_root
from lib.core.data_check.boxes import check_crops, check_joints_in_images
from lib.core.data_check.counts import check_counts, check_visible
from lib.core.data_check.findings import ERROR, NOTE, WARNING, CheckResult, Section
from lib.core.data_check.group_sequence import GroupSequence
from lib.core.data_check.image_files import ImageFacts, check_images, first_rows, inspect, missing_rows
from lib.core.data_check.limbs import check_limbs
from lib.core.data_check.motion import MotionWindow, check_motion, find_windows
from lib.core.data_check.reprojection import check_reprojection
from lib.core.data_check.world_consistency import check_agreement
from lib.core.drawing import read_crops, union_skeleton
from lib.dataset.annotations import Annotations
from lib.dataset.data_sets import DATA_SETS, load_multiview
from lib.dataset.groups import group_views
from lib.dataset.mpii import load_mpii
from lib.multiviews.body import body_of
from lib.utils.drawing.vis import joint_grid, save_image
from lib.utils.errors import InputError
from lib.utils.files.atomic import make_directory
from lib.utils.joints import UNION_20
from lib.utils.transforms import transform_points


@dataclass(frozen=True)
class CheckSettings:
    """Size of the check."""

    num_images: int | None = 400  # images to read in addition to the images of the motion check; None = all
    workers: int = 1  # processes that read images
    box_groups: int = 20_000  # groups whose boxes are measured
    windows: int = 4  # sequences of groups whose images are compared with the labels in motion
    sheet_rows: int = 6  # rows of a contact sheet
    sheet_columns: int = 4  # its columns for single images; groups have a column per view
    cell_px: int = 300  # side of its cells, px


def check_data(config: Any, directory: Path, settings: CheckSettings) -> Iterator[CheckResult]:
    """Check the training and the evaluation data of a configuration.

    Args:
        config: merged configuration; DATA_DIR, DATASET (except the steps), TEST.JOINTS and
            PICT_STRUCT.LIMB_LENGTH_TOLERANCE are used.
        directory: receives the contact sheets.
        settings: size of the check.

    Yields:
        The result of each data set and subset.

    Raises:
        InputError: an annotation cannot be read.
    """
    keys = config.DATASET
    root = dataset_root(config)
    make_directory(directory)
    done = set()
    for name, subset in ((keys.TRAIN_DATASET, keys.TRAIN_SUBSET), (keys.TEST_DATASET, keys.TEST_SUBSET)):
        loaded = []
        if DATA_SETS[name].views_file is not None:
            loaded.append((load_multiview(name, keys, root, subset, check=False), _check_multiview))
        if DATA_SETS[name].has_mpii:
            loaded.append((load_mpii(root, subset), _check_single_images))
        for data, check in loaded:
            if (data.source, subset) not in done:
                done.add((data.source, subset))
                sheet = directory / f"{data.source}_{subset}.jpg"
                yield check(config, data, subset, sheet, settings)


def _check_multiview(
    config: Any, annotations: Annotations, subset: str, sheet: Path, settings: CheckSettings
) -> CheckResult:
    title = f"{annotations.source}, {subset}: {len(annotations)} images"
    try:
        rows = group_views(annotations, camera_ids=config.DATASET.CAMERAS)
    except InputError as error:
        section = Section("Counts")
        section.add(ERROR, str(error))
        return CheckResult(title, [section], None)
    groups = GroupSequence.ordered(annotations, rows, body_of(annotations.joint_set))
    windows = find_windows(groups, settings.windows)
    data_format = config.DATASET.DATA_FORMAT
    window_rows = np.concatenate([np.array([], int), *(window.rows.ravel() for window in windows)])
    facts, missing, num_images = _read_images(annotations, window_rows, data_format, settings)
    labeled = config.TEST.JOINTS or annotations.joint_set.names
    expected = [name if name in labeled else "" for name in annotations.joint_set.names]
    counts = check_counts(annotations, rows)
    check_visible(counts, groups.camera_names, expected, groups.visible)
    image_wh = [facts.size(groups.rows[:, view]) for view in range(groups.num_views)]
    boxes = groups.spread(settings.box_groups)
    sections = [
        counts,
        check_images(annotations, facts, missing, num_images),
        check_reprojection(groups, image_wh),
        check_agreement(groups),
        check_motion([MotionWindow.of_groups(window, data_format) for window in windows]),
        check_crops(
            boxes.camera_names,
            boxes.joints_img,
            boxes.visible,
            annotations.center[boxes.rows],
            annotations.scale[boxes.rows],
            image_wh,
            config.DATASET.CROP,
        ),
        check_joints_in_images(annotations, facts, groups),
        check_limbs(groups, config.PICT_STRUCT.LIMB_LENGTH_TOLERANCE),
    ]
    shown = groups.spread(settings.sheet_rows)
    texts = [f"{shown.name(group)}, {camera}" for group in range(len(shown)) for camera in shown.camera_names]
    drawn = _save_sheet(sheet, annotations, shown.rows.ravel(), texts, shown.num_views, data_format, settings.cell_px)
    return CheckResult(title, sections, sheet if drawn else None)


def _check_single_images(
    config: Any, annotations: Annotations, subset: str, sheet: Path, settings: CheckSettings
) -> CheckResult:
    """Check single images, which have neither cameras nor 3D labels."""
    data_format = config.DATASET.DATA_FORMAT
    facts, missing, num_images = _read_images(annotations, np.array([], int), data_format, settings)
    counts = Section("Counts")
    joints = annotations.visible.sum(1)
    names = annotations.joint_set.names
    counts.body = (
        f"{len(annotations)} people in {len(np.unique(annotations.image))} images, "
        f"{joints.mean():.1f} of {len(names)} joints annotated on average."
    )
    if subset == "test":
        counts.add(NOTE, "no joints: this subset is for predictions, not for training or evaluation")
    else:
        visible = annotations.visible[:, None, UNION_20.indices(names)]
        check_visible(counts, [annotations.source], names, visible, WARNING)
    sections = [counts, check_images(annotations, facts, missing, num_images)]
    if joints.any():
        labels = (annotations.joints_img, annotations.visible, annotations.center, annotations.scale)
        sections.append(check_crops([annotations.source], *(array[:, None] for array in labels), [None], True))
        sections.append(check_joints_in_images(annotations, facts))
    count = min(settings.sheet_rows * settings.sheet_columns, len(annotations))
    rows = np.linspace(0, len(annotations) - 1, count).astype(int)
    texts = [annotations.image_name(row) for row in rows]
    drawn = _save_sheet(sheet, annotations, rows, texts, settings.sheet_columns, data_format, settings.cell_px)
    title = f"{annotations.source}, {subset}: {len(annotations)} people"
    return CheckResult(title, sections, sheet if drawn else None)


def _read_images(
    annotations: Annotations, rows: np.ndarray, data_format: str, settings: CheckSettings
) -> tuple[ImageFacts, np.ndarray, int]:
    """Find missing images and read some: `rows` and settings.num_images others, evenly spaced.

    Returns:
        Facts of the images that were read, rows whose image is missing, number of images.
    """
    images = first_rows(annotations)
    missing = missing_rows(annotations, images, data_format)
    present = np.setdiff1d(images, missing)
    count = len(present) if settings.num_images is None else min(settings.num_images, len(present))
    spread = present[np.linspace(0, len(present) - 1, count).astype(int)] if count else present
    rows = np.union1d(np.setdiff1d(rows, missing), spread)
    return inspect(annotations, rows, data_format, settings.workers), missing, len(images)


def _save_sheet(
    path: Path,
    annotations: Annotations,
    rows: np.ndarray,
    texts: Sequence[str],
    columns: int,
    data_format: str,
    cell_px: int,
) -> bool:
    """Draw the 2D joints into the boxes of (K,) rows; return False if an image cannot be read."""
    try:
        crops, matrices = read_crops(annotations, rows, (cell_px, cell_px), data_format)
    except InputError:
        return False
    joints = transform_points(annotations.joints_img[rows].astype(np.float64), matrices)
    skeleton = union_skeleton()
    grid = joint_grid(
        np.stack(crops), joints, annotations.visible[rows], skeleton, columns, texts, "labels in their boxes"
    )
    save_image(path, grid)
    return True
