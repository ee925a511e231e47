"""All checks of the data sets of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config_io import dataset_root
from lib.core.data_check.boxes import check_crops
from lib.core.data_check.counts import check_counts, check_visible
from lib.core.data_check.findings import ERROR, NOTE, WARNING, Section, count_level
from lib.core.data_check.group_sequence import GroupSequence
from lib.core.data_check.image_files import ImageFacts, check_images, first_rows, inspect, missing_rows
from lib.core.data_check.label_sheet import save_sheet
from lib.core.data_check.limbs import check_limbs
from lib.core.data_check.motion import check_motion, find_windows
from lib.core.data_check.reprojection import check_reprojection
from lib.core.data_check.world_consistency import check_agreement
from lib.dataset.annotations import Annotations
from lib.dataset.data_sets import DATA_SETS, load_multiview
from lib.dataset.groups import group_views
from lib.dataset.mpii import load_mpii
from lib.multiviews.body import body_of
from lib.utils.errors import InputError
from lib.utils.files.atomic import make_directory, write_bytes
from lib.utils.joints import UNION_20
from lib.utils.tables import markdown_table

BOX_GROUPS = 20_000  # whose boxes are measured
SHEET_ROWS = 6
SHEET_COLUMNS = 4  # of single images; groups have a column per view
WINDOWS = 4  # recordings whose images are compared with the labels in motion
MOST_IN_IMAGE = 0.98  # share of the joints; fewer: a warning, an error
SOME_IN_IMAGE = 0.9


@dataclass(frozen=True)
class CheckSettings:
    """How much to look at.

    Attributes:
        num_images: images to read beside those of the motion check; None = all.
        workers: processes that read images.
    """

    num_images: int | None = 400
    workers: int = 1


@dataclass(frozen=True)
class Checked:
    """The checks of one subset of one data set.

    Attributes:
        title: data set and subset.
        sections: their results.
        sheet: contact sheet, None where no image could be read.
    """

    title: str
    sections: list[Section]
    sheet: Path | None

    @property
    def num_errors(self) -> int:
        """Findings with which training would be wrong."""
        return count_level(self.sections, ERROR)


def check_data(config: Any, directory: Path, settings: CheckSettings) -> Iterator[Checked]:
    """Check the training and the evaluation data of a configuration.

    Args:
        config: the configuration; the steps do not matter here.
        directory: receives the contact sheets.
        settings: how much to look at.

    Yields:
        The result for each data set and subset.

    Raises:
        InputError: an annotation cannot be read.
    """
    keys = config.DATASET
    root = dataset_root(config)
    make_directory(directory)
    wanted = dict.fromkeys([(keys.TRAIN_DATASET, keys.TRAIN_SUBSET), (keys.TEST_DATASET, keys.TEST_SUBSET)])
    done: set[tuple[str, str]] = set()
    for name, subset in wanted:
        if DATA_SETS[name].views_file is not None:
            annotations = load_multiview(name, keys, root, subset, check=False)
            if _first_time(done, annotations, subset):
                yield _check_multiview(config, annotations, subset, directory, settings)
        if DATA_SETS[name].has_mpii:
            annotations = load_mpii(root, subset)
            if _first_time(done, annotations, subset):
                yield _check_singles(config, annotations, subset, directory, settings)


def _first_time(done: set[tuple[str, str]], annotations: Annotations, subset: str) -> bool:
    key = (annotations.source, subset)
    if key in done:
        return False
    done.add(key)
    return True


def _check_multiview(
    config: Any, annotations: Annotations, subset: str, directory: Path, settings: CheckSettings
) -> Checked:
    title = f"{annotations.source}, {subset}: {len(annotations)} images"
    try:
        groups = group_views(annotations, camera_ids=config.DATASET.CAMERAS)
    except InputError as error:
        section = Section("Counts")
        section.add(ERROR, str(error))
        return Checked(title, [section], None)
    everything = GroupSequence.ordered(annotations, groups, body_of(annotations.joint_set))
    windows = find_windows(everything, WINDOWS)
    data_format = config.DATASET.DATA_FORMAT
    rows = np.concatenate([np.array([], int), *(window.groups.ravel() for window in windows)])
    facts, missing, num_images = _read_images(annotations, rows, data_format, settings)
    counts = check_counts(annotations, groups)
    labelled = config.TEST.JOINTS or annotations.joint_set.names
    check_visible(
        counts,
        _camera_names(everything),
        [name if name in labelled else "" for name in annotations.joint_set.names],
        everything.visible,
    )
    image_wh = [facts.size(everything.groups[:, view]) for view in range(everything.num_views)]
    sections = [
        counts,
        check_images(annotations, facts, missing, num_images),
        check_reprojection(everything, image_wh),
        check_agreement(everything),
        check_motion(windows, data_format),
        _view_crops(everything.spread(BOX_GROUPS), image_wh, config.DATASET.CROP),
        _joints_in_images(annotations, facts, everything),
        check_limbs(everything, config.PICT_STRUCT.LIMB_LENGTH_TOLERANCE),
    ]
    shown = everything.spread(SHEET_ROWS)
    texts = [
        f"{shown.name(group)}, camera {camera_id}"
        for group in range(len(shown.groups))
        for camera_id in shown.camera_ids
    ]
    sheet = save_sheet(
        directory / f"{annotations.source}_{subset}.jpg",
        annotations,
        shown.groups.ravel(),
        texts,
        shown.num_views,
        data_format,
    )
    return Checked(title, sections, sheet)


def _camera_names(views: GroupSequence) -> list[str]:
    return [f"camera {camera_id}" for camera_id in views.camera_ids]


def _read_images(
    annotations: Annotations, rows: np.ndarray, data_format: str, settings: CheckSettings
) -> tuple[ImageFacts, np.ndarray, int]:
    """Look for all images and read some: `rows` and as many others as asked for, evenly over the data set.

    Returns:
        What was read, the rows whose image is missing, and the number of images.
    """
    images = first_rows(annotations)
    missing = missing_rows(annotations, images, data_format)
    there = np.setdiff1d(images, missing)
    count = len(there) if settings.num_images is None else min(settings.num_images, len(there))
    spread = there[np.linspace(0, len(there) - 1, count).astype(int)] if count else there
    rows = np.union1d(np.setdiff1d(rows, missing), spread)
    return inspect(annotations, rows, data_format, settings.workers), missing, len(images)


def _view_crops(views: GroupSequence, image_wh: Sequence[tuple[int, int] | None], crop: bool) -> Section:
    columns = range(views.num_views)
    joints, visible, annotations = views.joints_img, views.visible, views.annotations
    center, scale = annotations.center[views.groups], annotations.scale[views.groups]
    return check_crops(
        _camera_names(views),
        [joints[:, view] for view in columns],
        [visible[:, view] for view in columns],
        [center[:, view] for view in columns],
        [scale[:, view] for view in columns],
        list(image_wh),
        crop,
    )


def _check_singles(
    config: Any, annotations: Annotations, subset: str, directory: Path, settings: CheckSettings
) -> Checked:
    """Check single images, which have neither cameras nor 3D."""
    data_format = config.DATASET.DATA_FORMAT
    facts, missing, num_images = _read_images(annotations, np.array([], int), data_format, settings)
    counts = Section("Counts")
    joints = annotations.visible.sum(1)
    counts.body = (
        f"{len(annotations)} people in {len(np.unique(annotations.image))} images, "
        f"{joints.mean():.1f} of {len(annotations.joint_set)} joints annotated on average."
    )
    if subset == "test":
        counts.add(NOTE, "no joints: this subset can be predicted, not trained on or evaluated")
    else:
        names = annotations.joint_set.names
        check_visible(
            counts, [annotations.source], names, annotations.visible[:, None, UNION_20.indices(names)], WARNING
        )
    sections = [counts, check_images(annotations, facts, missing, num_images)]
    if joints.any():
        sections.append(
            check_crops(
                [annotations.source],
                [annotations.joints_img],
                [annotations.visible],
                [annotations.center],
                [annotations.scale],
                [None],
                True,
            )
        )
        sections.append(_joints_in_images(annotations, facts))
    count = min(SHEET_ROWS * SHEET_COLUMNS, len(annotations))
    rows = np.linspace(0, len(annotations) - 1, count).astype(int)
    sheet = save_sheet(
        directory / f"{annotations.source}_{subset}.jpg",
        annotations,
        rows,
        [annotations.image_name(row) for row in rows],
        SHEET_COLUMNS,
        data_format,
    )
    return Checked(f"{annotations.source}, {subset}: {len(annotations)} people", sections, sheet)


def _joints_in_images(annotations: Annotations, facts: ImageFacts, views: GroupSequence | None = None) -> Section:
    """Compare annotated joints with the sizes of the images that were read, per camera."""
    section = Section("Joints in the images")
    readable = (facts.image_wh > 0).all(1)
    rows, size = facts.rows[readable], facts.image_wh[readable]
    joints, visible = annotations.joints_img[rows], annotations.visible[rows]
    inside = ((joints >= -1) & (joints <= size[:, None])).all(-1)
    camera = np.zeros(len(rows), int) if views is None else annotations.labels3d.camera_id[rows]
    lines = []
    for camera_id in [0] if views is None else views.camera_ids:
        name = "all images" if views is None else f"camera {camera_id}"
        own = visible & (camera == camera_id)[:, None]
        if not own.any():
            was_read = (camera == camera_id).any()
            section.not_judged(
                f"where the joints of {name} lie: "
                + ("none is visible in the images that were read" if was_read else "no image could be read")
            )
            continue
        share = float(inside[own].mean())
        lines.append([name, int(own.sum()), 100 * share])
        if share < MOST_IN_IMAGE:
            section.add(
                ERROR if share < SOME_IN_IMAGE else WARNING,
                f"{name}: {100 * (1 - share):.1f} % of the joints lie outside their images: images of another "
                "size, or another order of x and y",
            )
    section.body = markdown_table(["", "joints", "inside their images (%)"], lines, 2) if lines else ""
    return section


def report(results: Sequence[Checked], title: str) -> str:
    """Format results as Markdown; the verdict stands at the end."""
    parts = [f"# {title}"]
    for checked in results:
        parts.append(f"# {checked.title}")
        parts += [section.markdown() for section in checked.sections]
        if checked.sheet is not None:
            parts.append(f"![labels in the images]({checked.sheet.name})")
    parts.append(f"# Verdict\n\n{verdict(results)}")
    return "\n\n".join(parts) + "\n"


def verdict(results: Sequence[Checked]) -> str:
    """Say in a line or a few what is wrong, and what could not be judged."""
    warnings = sum(count_level(checked.sections, WARNING) for checked in results)
    sections = [(f"{checked.title}: {section.title}", section) for checked in results for section in checked.sections]
    wrong = [
        f"- {title}: {finding.text}"
        for title, section in sections
        for finding in section.findings
        if finding.level == ERROR
    ]
    unjudged = [f"- {title}: {text}" for title, section in sections for text in section.unjudged]
    parts = [f"Nothing is wrong ({warnings} warnings)."]
    if wrong:
        parts = [f"{len(wrong)} findings with which training would be wrong ({warnings} warnings):", "\n".join(wrong)]
    if unjudged:
        parts += ["Not judged:", "\n".join(unjudged)]
    return "\n\n".join(parts)


def save_report(text: str, path: Path) -> None:
    """Write the report atomically."""
    write_bytes(path, text.encode())
