"""Report on a run's 3D results: a page with tables and figures, and the comparison with other runs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.core.evaluation2d.provenance import warn_of_outdated_results
from lib.core.pose3d.metrics_3d import mpjpe, summarize
from lib.core.pose3d.tables_3d import all_tables
from lib.core.report.comparison import MethodResults, comparison, save_comparison
from lib.core.report.figures import (
    make_animation,
    make_comparison_charts,
    make_contact_sheet,
    make_error_charts,
    make_pose_figure,
)
from lib.core.report.run_page import SingleView, write_run_page
from lib.core.report.run_poses import RunPoses
from lib.core.run_directory import CONTACT_SHEET_STEM, PAGE_NAME, POSES_STEM, REPORT_FOLDER, REPORT_NAME
from lib.utils.files.atomic import write_bytes

logger = logging.getLogger(__name__)

SHEET_FRAMES = 6


@dataclass(frozen=True)
class ReportSettings:
    """Figures and animations of a report.

    Attributes:
        frames: indices for the contact sheet and one figure each; None = evenly spaced frames in the sheet, and
            figures of the typical and the worst frame.
        animations: file name without suffix -> indices, ordered by time.
        suffix: ".mp4" or ".gif".
        frames_per_second: speed of animations.
        turn_deg: speed of the orbiting camera in animations, degrees per second.
        whole_images: show whole images instead of crops in figures and animations.
    """

    frames: list[int] | None = None
    animations: Mapping[str, list[int]] = field(default_factory=dict)
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


def write_report(
    run: RunPoses, compared: Sequence[MethodResults], settings: ReportSettings, single_view: SingleView | None = None
) -> None:
    """Write figures, comparison, report.md and report.html to report_directory(), and the contact sheet.

    The contact sheet is in the run directory, for all reports of the run.

    Figures and animations older than the poses are removed.

    Args:
        run: the poses.
        compared: results of all methods; the methods of this run come first.
        settings: figures and animations.
        single_view: predicts heatmaps before fusion, for report.html; None = unknown.

    Raises:
        InputError: a frame does not exist, predictions or images are missing, or writing fails.
    """
    run.check_frames(settings.frames or [], "--frames")
    directory = report_directory(run.directory, run.path.name)
    _remove_outdated(directory, run.path)
    sheet = run.directory / f"{CONTACT_SHEET_STEM}{_suffix(run.path.name)}.png"
    source = find_method(run, compared)
    method = source.label if source else run.path.name
    warn_if_outdated(run.directory, compared, run)
    frames = run.frames
    results = summarize(run.pose_world, run.gt_world, frames.actions, frames.joint_set.names, run.root, frames.parts)
    save_comparison(directory, compared)
    charts = make_error_charts(run, results, f"{method}, {len(run)} frames", directory)
    figures = []
    for frame in run.typical_and_worst() if settings.frames is None else settings.frames:
        figures.append(f"frame_{frame:06d}.png")
        make_pose_figure(run, frame, directory / figures[-1], settings.whole_images)
    make_contact_sheet(run, run.evenly_spaced(SHEET_FRAMES) if settings.frames is None else settings.frames, sheet)
    comparison_charts = make_comparison_charts(compared, directory) if len(compared) > 1 else []
    animations = []
    for name, indices in settings.animations.items():
        animations.append(f"{name}{settings.suffix}")
        path = directory / animations[-1]
        make_animation(run, indices, path, settings.frames_per_second, settings.turn_deg, settings.whole_images)
    page = [
        f"# 3D results: {method}",
        f"{len(run)} frames of {frames.groups.shape[1]} views; poses in `{run.path.name}`.",
        all_tables(results),
        *map(_link, charts),
        "## Frames",
        *map(_link, [*figures, f"../{sheet.name}"]),
        *(["## Animations", *map(_link, animations)] if animations else []),
        comparison(compared),
        *map(_link, comparison_charts),
    ]
    text = "\n\n".join(page) + "\n"
    write_bytes(directory / REPORT_NAME, text.encode())
    write_run_page(directory / PAGE_NAME, run, method, text, settings.frames or (), single_view)
    num_figures = len(charts) + len(figures) + len(comparison_charts) + len(animations)
    logger.info("report: %s with %d figures, %s", directory / REPORT_NAME, num_figures, sheet)


def _remove_outdated(directory: Path, poses: Path) -> None:
    for pattern in ("frame_*.png", "frames_*.*", "sequence_*.*", "comparison_per_*.png"):
        for figure in directory.glob(pattern):
            if figure.stat().st_mtime_ns < poses.stat().st_mtime_ns:
                figure.unlink()


def find_method(run: RunPoses, compared: Sequence[MethodResults]) -> MethodResults | None:
    """Return the method that wrote the poses, by the file name and the mean error in its results; None = unknown."""
    error = mpjpe(run.pose_world, run.gt_world)
    for one in compared:
        mean = one.results["mpjpe"]["absolute"]["frames"]
        if one.results.get("poses") == run.path.name and mean is not None and np.isclose(mean, error):
            return one
    return None


def warn_if_outdated(directory: Path, compared: Sequence[MethodResults], run: RunPoses | None = None) -> None:
    """Warn if results or poses were made from other predictions than those now in their directory.

    Args:
        directory: the run directory.
        compared: results of all methods; the methods of this run come first.
        run: the poses; None = check the results only.
    """
    entries = {one.method: one.results for one in compared if one.run == compared[0].run}
    poses = {}
    if run is not None:
        method = find_method(run, compared)
        poses[run.path.name] = run.source or (method.results.get("predictions") if method else None)
    warn_of_outdated_results(directory, entries, poses)


def _link(name: str) -> str:
    text = Path(name).stem.replace("_", " ")
    return f"[{text}]({name})" if name.endswith(".mp4") else f"![{text}]({name})"
