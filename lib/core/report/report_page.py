"""Tables and pictures of a run's 3D results, and a page that shows them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.evaluation2d.provenance import warn_of_outdated
from lib.core.pose3d.methods import root_index
from lib.core.pose3d.metrics_3d import mpjpe, summarize
from lib.core.pose3d.tables_3d import all_tables
from lib.core.report.comparison import Row, comparison, save_comparison
from lib.core.report.figures import (
    make_animation,
    make_comparison_charts,
    make_contact_sheet,
    make_error_charts,
    make_pose_figure,
)
from lib.core.report.run_poses import RunPoses
from lib.core.run_directory import CONTACT_SHEET_STEM, POSES_STEM, REPORT_FOLDER, REPORT_NAME
from lib.multiviews.body import body_of
from lib.utils.files.atomic import write_bytes

logger = logging.getLogger(__name__)

SHEET_FRAMES = 6


@dataclass(frozen=True)
class Animation:
    """What to animate.

    Attributes:
        name: file name without suffix.
        frames: indices of groups, in the order of time.
    """

    name: str
    frames: list[int]


@dataclass(frozen=True)
class ReportSettings:
    """What a report shows beside tables and charts.

    Attributes:
        frames: indices of groups for the contact sheet and a figure each; None = spread evenly over the sheet, and
            figures of the typical and the worst one.
        animations: sequences.
        suffix: ".mp4" or ".gif".
        frames_per_second: speed of the animations.
        turn_deg: degrees per second by which the pose turns in them.
        whole_images: whole images instead of boxes in figures and animations.
    """

    frames: list[int] | None = None
    animations: Sequence[Animation] = field(default_factory=list)
    suffix: str = ".mp4"
    frames_per_second: float = 10.0
    turn_deg: float = 20.0
    whole_images: bool = False


def report_directory(directory: Path, poses_name: str) -> Path:
    """Return the folder of a report in a run directory: report/ for poses3d.npz, report_<name>/ for other poses."""
    return directory / f"{REPORT_FOLDER}{_suffix(poses_name)}"


def _suffix(poses_name: str) -> str:
    stem = Path(poses_name).stem
    return "" if stem == POSES_STEM else f"_{stem}"


def write_report(config: Any, run: RunPoses, rows: Sequence[Row], settings: ReportSettings) -> None:
    """Write the pictures of a run, the comparison and report.md, which shows all of them, into report_directory().

    The contact sheet goes into the run directory: contact_sheet.png, for poses of another name than poses3d.npz with
    that name. Frames, animations and charts that are older than the poses show other ones and are removed.

    Args:
        config: the configuration of the run.
        run: its poses.
        rows: what is compared; the methods of the run itself come first.
        settings: what to draw.

    Raises:
        InputError: a frame does not exist, predictions or images are missing, or the disk refuses.
    """
    run.check_frames(settings.frames or [], "--frames")
    directory = report_directory(run.directory, run.path.name)
    _remove_outdated(directory, run.path)
    sheet = run.directory / f"{CONTACT_SHEET_STEM}{_suffix(run.path.name)}.png"
    row = row_of(run, rows)
    method = row.label if row else run.path.name
    warn_if_outdated(run.directory, rows, run)
    body = body_of(run.frames.joint_set)
    results = summarize(
        run.pose_world,
        run.gt_world,
        run.frames.actions,
        body.joint_names,
        root_index(config.DATASET.ROOTIDX, body),
        run.frames.parts,
    )
    save_comparison(directory, rows)
    charts = make_error_charts(run, results, f"{method}, {len(run)} frames", directory)
    figures = _make_figures(config, run, directory, settings)
    shown = run.evenly_spaced(SHEET_FRAMES) if settings.frames is None else settings.frames
    make_contact_sheet(config, run, shown, sheet)
    compared = make_comparison_charts(rows, directory) if len(rows) > 1 else []
    animations = _make_animations(config, run, directory, settings)
    page = [
        f"# 3D results: {method}",
        f"{len(run)} frames of {run.frames.groups.shape[1]} views; poses in `{run.path.name}`.",
        all_tables(results),
        *map(_picture, charts),
        "## Frames",
        *map(_picture, [*figures, f"../{sheet.name}"]),
        *(["## Animations", *map(_picture, animations)] if animations else []),
        comparison(rows),
        *map(_picture, compared),
    ]
    write_bytes(directory / REPORT_NAME, ("\n\n".join(page) + "\n").encode())
    logger.info(
        "report: %s, %s and %d pictures beside it",
        directory / REPORT_NAME,
        sheet,
        len(charts) + len(figures) + len(compared) + len(animations),
    )


def _remove_outdated(directory: Path, poses: Path) -> None:
    for pattern in ("frame_*.png", "frames_*.*", "sequence_*.*", "comparison_per_*.png"):
        for picture in directory.glob(pattern):
            if picture.stat().st_mtime_ns < poses.stat().st_mtime_ns:
                picture.unlink()


def row_of(run: RunPoses, rows: Sequence[Row]) -> Row | None:
    """Find the method that wrote the poses: its results point to the file and have its mean; None = there is none."""
    error = mpjpe(run.pose_world, run.gt_world)
    for row in rows:
        mean = row.results["mpjpe"]["absolute"]["frames"]
        if row.results.get("poses") == run.path.name and mean is not None and np.isclose(mean, error):
            return row
    return None


def warn_if_outdated(directory: Path, rows: Sequence[Row], run: RunPoses | None = None) -> None:
    """Warn if results or poses are not of the predictions that their directory holds now.

    Args:
        directory: of the run or evaluation.
        rows: what is compared; the methods of the run itself come first.
        run: its poses that are shown, None = there are none.
    """
    own = {row.method: row.results for row in rows if row.run == rows[0].run}
    poses = {}
    if run is not None:
        row = row_of(run, rows)
        poses[run.path.name] = run.source or (row.results.get("predictions") if row else None)
    warn_of_outdated(directory, own, poses)


def _make_figures(config: Any, run: RunPoses, directory: Path, settings: ReportSettings) -> list[str]:
    frames = run.typical_and_worst() if settings.frames is None else settings.frames
    names = [f"frame_{frame:06d}.png" for frame in frames]
    for frame, name in zip(frames, names, strict=True):
        make_pose_figure(config, run, frame, directory / name, settings.whole_images)
    return names


def _make_animations(config: Any, run: RunPoses, directory: Path, settings: ReportSettings) -> list[str]:
    names = [f"{animation.name}{settings.suffix}" for animation in settings.animations]
    for animation, name in zip(settings.animations, names, strict=True):
        make_animation(
            config,
            run,
            animation.frames,
            directory / name,
            settings.frames_per_second,
            settings.turn_deg,
            settings.whole_images,
        )
    return names


def _picture(name: str) -> str:
    text = Path(name).stem.replace("_", " ")
    return f"[{text}]({name})" if name.endswith(".mp4") else f"![{text}]({name})"
