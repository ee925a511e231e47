"""Overview of several runs: 2D and 3D results in one table, spread over seeds, paired differences."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from lib.core.config import FEW_IMAGES
from lib.core.report.compared_runs import Run, RunGroup, item_label, items_of, main_items
from lib.core.report.comparison import MethodResults, matching_paper_rows
from lib.core.report.paired_differences import paired_differences, paired_rate_differences
from lib.utils.drawing.error_charts import save_error_bars
from lib.utils.files.atomic import make_directory, write_bytes, write_csv
from lib.utils.tables import markdown_table

OVERVIEW_NAME = "overview.md"
OVERVIEW_CSV_NAME = "overview.csv"
CHART_NAMES = {"2D": "overview_2d.png", "3D": "overview_3d.png"}
UNITS = {"2D": "%", "3D": "mm"}
_DIFFERENCE_COLUMNS = {
    "2D": ("heatmaps", "difference (points of JDR)", "95 % interval", "images"),
    "3D": ("method", "difference (mm)", "95 % interval", "frames"),
}
_UNIT_NOTES = {
    "2D": "Columns in %: joint detection rate (JDR), mean over the joints.",
    "3D": "Columns in mm: MPJPE without alignment, mean over frames, of each 3D method.",
}
_INTERVAL_NOTE = (
    "Intervals count frames and images as independent. Those of one recording are alike, so the true intervals are "
    "wider. They do not cover the seed of the training."
)


def overview(groups: Sequence[RunGroup], with_paper: bool = False) -> str:
    """Format 2D and 3D results as one Markdown table, with paired differences from the first group, and notes.

    Args:
        groups: of group_by_settings(), or groups of one run.
        with_paper: add the paper's means for the evaluated data sets.
    """
    columns = [(kind, item) for kind in UNITS for item in main_items(groups, kind)]
    header = ["run", *(f"{item_label(kind, item)} ({UNITS[kind]})" for kind, item in columns)]
    rows = [[group.name, *(_cell(group.values(*column)) for column in columns)] for group in groups]
    page = [markdown_table(header, rows)]
    differences = {"2D": paired_rate_differences(groups), "3D": paired_differences(groups)}
    if any(differences.values()):
        page.append(f"## Difference from {groups[0].name}")
    for kind, names in _DIFFERENCE_COLUMNS.items():
        if differences[kind]:
            page.append(markdown_table(["run", *names], differences[kind], left_columns=2))
    if with_paper:
        results = [
            MethodResults(run.name, *item) for group in groups for run in group.runs for item in run.methods.items()
        ]
        rows = [[paper.method, paper.average] for paper in matching_paper_rows(results)]
        page += ["## Paper (Qiu et al., ICCV 2019)", markdown_table(["method", "MPJPE (mm)"], rows)]
    shown = {kind for kind, _ in columns}
    notes = [note for kind, note in _UNIT_NOTES.items() if kind in shown]
    notes += [_INTERVAL_NOTE] if any(differences.values()) else []
    notes += _selection_notes(groups)
    return "\n\n".join([*page, "\n".join(f"- {note}" for note in notes)])


def _selection_notes(groups: Sequence[RunGroup]) -> list[str]:
    """Name the runs of each selection of weights."""
    names: dict[str, list[str]] = {}
    for group in groups:
        for run in group.runs:
            if run.selection:
                names.setdefault(run.selection, []).append(run.name)
    return [f"Weights of {', '.join(runs)}: {selection}." for selection, runs in names.items()]


def _cell(values: Sequence[float]) -> str | None:
    if not values:
        return None
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def save_overview(directory: str | os.PathLike, groups: Sequence[RunGroup], text: str) -> list[Path]:
    """Write overview.md, overview.csv with one number per row, and a chart each of 2D and 3D.

    Returns:
        The files.
    """
    folder = make_directory(Path(directory))
    rows = [
        [group.name, run.name, run.seed, kind, item, value, UNITS[kind]]
        for group in groups
        for run in group.runs
        for kind in UNITS
        for item, value in run.values(kind).items()
    ]
    write_bytes(folder / OVERVIEW_NAME, f"# Comparison of runs\n\n{text}\n".encode())
    write_csv(folder / OVERVIEW_CSV_NAME, ["group", "run", "seed", "kind", "item", "value", "unit"], rows)
    files = [folder / OVERVIEW_NAME, folder / OVERVIEW_CSV_NAME]
    titles = {"2D": "joint detection rate, %", "3D": "MPJPE, mm"}
    for kind, name in CHART_NAMES.items():
        items = items_of(groups, kind)
        if items:
            series, spreads = (_series(groups, kind, items, of) for of in (np.mean, _spread))
            save_error_bars(folder / name, items, series, axis_title=titles[kind], spreads=spreads)
            files.append(folder / name)
    return files


def _series(
    groups: Sequence[RunGroup], kind: str, items: Sequence[str], of: Callable[[Sequence[float]], float]
) -> dict[str, list[float | None]]:
    """Return group -> `of` the values of each item; None where there are none."""
    columns = {group.name: [group.values(kind, item) for item in items] for group in groups}
    return {name: [float(of(values)) if values else None for values in found] for name, found in columns.items()}


def _spread(values: Sequence[float]) -> float:
    """Return the standard deviation over the seeds; NaN for one seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def check_comparable(runs: Sequence[Run]) -> list[str]:
    """Return notes on runs with outdated results, on few images, and on different data."""
    notes = [note for run in runs for note in run.outdated]
    few = {run.name: run.num_images for run in runs if run.num_images is not None and run.num_images < FEW_IMAGES}
    if few:
        images = ", ".join(f"{name}: {count} images" for name, count in few.items())
        notes.append(f"{images}; a rate over fewer than {FEW_IMAGES} images is imprecise")
    for first, other in combinations(runs, 2):
        if first.settings is None or other.settings is None:
            continue
        keys = ("DATASET.TEST_DATASET", "DATASET.TEST_SUBSET", "DATASET.TEST_STEP", "DATASET.TEST_EXCLUDE")
        differing = [key for key in keys if first.settings.get(key) != other.settings.get(key)]
        if differing:
            notes.append(f"{first.name} and {other.name} were evaluated on different data ({', '.join(differing)})")
    return notes
