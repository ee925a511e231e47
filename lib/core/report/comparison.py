"""Results of several runs side by side with the paper's."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.pose3d.tables_3d import TIDY_HEADER, is_readable, named_parts, percent, tidy_rows
from lib.core.report.paper_results import TABLE_3, TABLE_3_COLUMNS, TABLE_4, TOTAL_CAPTURE, PaperRow
from lib.core.run_directory import COMPARISON_CSV_NAME, COMPARISON_NAME, RESULTS_3D_NAME
from lib.dataset.protocol import ALL
from lib.utils.errors import InputError
from lib.utils.files.atomic import write_bytes, write_csv
from lib.utils.files.json_file import read_json
from lib.utils.tables import markdown_table

PAPER = "paper"
NOTE = "MPJPE in mm without alignment, unless a column says otherwise; PCK and AUC are root-relative."
HUMAN36M_NOTES = (
    "The rows of the paper (Qiu et al., ICCV 2019, Tables 3 and 4) are Human3.6M, subjects 9 and 11; they say nothing "
    "about other data. Its average is taken as the mean over frames, since it lies above the mean of its actions.",
    "Actions are matched by name; the paper's names may be shifted from Posing (action 7) on, as they are in the "
    "released code. Its means are not affected.",
)
TOTAL_CAPTURE_NOTE = (
    "The rows of the paper (Qiu et al., ICCV 2019) are Total Capture: Walking 2 (W2), Freestyle 3 (FS3) and Acting 3 "
    "(A3) of subjects 1 to 5."
)


@dataclass(frozen=True)
class Row:
    """One method of one run.

    Attributes:
        run: name of the run.
        method: name of the method in its results file.
        results: its entry there.
    """

    run: str
    method: str
    results: dict[str, Any]

    @property
    def label(self) -> str:
        """Run and method."""
        return f"{self.run}: {self.method}"


def load_results(path: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Read the 3D results of a run.

    Args:
        path: a run directory, or its results_3d.json.

    Returns:
        Method -> results.

    Raises:
        InputError: missing, or not a file of 3D results.
    """
    file = _results_file(path)
    methods = read_json(file)
    if not isinstance(methods, dict) or not methods:
        raise InputError(f"{file}: expected the results of at least one method")
    for name, results in methods.items():
        if not is_readable(results):
            raise InputError(f"{file}: '{name}' has no 3D results with mpjpe, per_action and per_joint")
    return methods


def load_rows(paths: Sequence[str | os.PathLike]) -> list[Row]:
    """Read several runs, every method in them; a run named twice is read once.

    Args:
        paths: run directories or results files.

    Raises:
        InputError: a run is missing, or its joints are not those of the others.
    """
    files = list(dict.fromkeys(_results_file(path).resolve() for path in paths))
    rows = [
        Row(name, method, results)
        for name, file in zip(_run_names(files), files, strict=True)
        for method, results in load_results(file).items()
    ]
    first = rows[0]
    for row in rows[1:]:
        only_first = sorted(first.results["per_joint"].keys() - row.results["per_joint"].keys())
        only_this = sorted(row.results["per_joint"].keys() - first.results["per_joint"].keys())
        if only_first or only_this:
            raise InputError(
                f"'{row.label}' has other joints than '{first.label}': lacks {', '.join(only_first) or '-'}, "
                f"adds {', '.join(only_this) or '-'}; their means cannot be compared"
            )
    return rows


def comparison(rows: Sequence[Row]) -> str:
    """Format rows and the paper's as Markdown: means, per action, per joint, and what to mind."""
    papers = _papers(rows)
    notes = [NOTE]
    if any(not paper.sequences for paper in papers):
        notes += HUMAN36M_NOTES
    if any(paper.sequences for paper in papers):
        notes.append(TOTAL_CAPTURE_NOTE)
    counts = {row.results.get("num_frames") for row in rows}
    if len(counts) > 1:
        notes.insert(0, f"The runs were evaluated on different numbers of frames ({', '.join(map(str, counts))}).")
    page = ["## Means", _means_table(rows, papers), "## Per action", _action_table(rows, papers)]
    if any(_sequences(row) for row in rows):
        page += ["## Per part", _part_table(rows)]
    page += ["## Per joint", _joint_table(rows), "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(page)


def save_comparison(directory: str | os.PathLike, rows: Sequence[Row]) -> None:
    """Write comparison.md and comparison.csv, the latter with one number per row, the paper's included.

    Args:
        directory: created if it is not there.
        rows: of load_rows().
    """
    directory = Path(directory)
    write_bytes(directory / COMPARISON_NAME, f"# 3D results side by side\n\n{comparison(rows)}\n".encode())
    own = [[row.run, *values] for row in rows for values in tidy_rows(row.method, row.results)]
    write_csv(directory / COMPARISON_CSV_NAME, ["run", *TIDY_HEADER], own + _paper_tidy_rows(_papers(rows)))


def _results_file(path: str | os.PathLike) -> Path:
    path = Path(path)
    file = path / RESULTS_3D_NAME if path.is_dir() else path
    if not file.exists():
        what = f"no {RESULTS_3D_NAME} in this directory" if path.is_dir() else "no such run directory or results file"
        raise InputError(f"{path}: {what}; run/pose3d/estimate.py writes {RESULTS_3D_NAME}")
    return file


def _run_names(files: Sequence[Path]) -> list[str]:
    """Name runs after their directories (or files of another name), with as many parents as tell them apart."""
    paths = [file.parent if file.name == RESULTS_3D_NAME else file for file in files]  # all different
    short = [path.with_suffix("") if path == file else path for path, file in zip(paths, files, strict=True)]
    parts = [path.parts for path in (short if len(set(short)) == len(short) else paths)]
    depth = 1
    while max(Counter(part[-depth:] for part in parts).values()) > 1:
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def _sequences(row: Row) -> tuple[str, ...]:
    return tuple(name for name in row.results.get("per_part", {}) if name != ALL)


def _papers(rows: Sequence[Row]) -> list[PaperRow]:
    """Return the paper's rows on the data that some run was evaluated on, told by the sequences in its results."""
    evaluated = {_sequences(row) for row in rows}
    return [paper for paper in (*TABLE_3, *TABLE_4, *TOTAL_CAPTURE) if paper.sequences in evaluated]


def _means_table(rows: Sequence[Row], papers: Sequence[PaperRow]) -> str:
    header = [
        "run: method",
        "frames",
        "mean over frames",
        "over actions",
        "root-relative",
        "PA",
        "median",
        "95 %",
        "PCK@150 (%)",
        "AUC (%)",
        "root",
        "limbs",
    ]
    lines: list[list[Any]] = []
    for row in rows:
        results = row.results
        means = row.results["mpjpe"]
        distribution = results.get("distribution", {})  # results of older versions have none
        distances, shares = (distribution.get(alignment, {}) for alignment in ("absolute", "root_relative"))
        lines.append(
            [
                row.label,
                results.get("num_frames"),
                means["absolute"]["frames"],
                means["absolute"]["actions"],
                *(means.get(alignment, {}).get("frames") for alignment in ("root_relative", "pa")),
                distances.get("p50"),
                distances.get("p95"),
                percent(shares.get("pck150")),
                percent(shares.get("auc")),
                results.get("root_source"),
                results.get("limb_length_source"),
            ]
        )
    for paper in papers:
        over_actions = float(np.mean(paper.by_column)) if paper.by_column else None
        lines.append([f"{PAPER}: {paper.method}", None, paper.average, over_actions, *[None] * 8])
    return markdown_table(header, lines)


def _action_table(rows: Sequence[Row], papers: Sequence[PaperRow]) -> str:
    """Rows are methods, columns the actions of the paper in its order, then those of other data sets."""
    papers = [paper for paper in papers if paper.by_column]
    columns = TABLE_3_COLUMNS if papers else {}
    others = sorted({name for row in rows for name in row.results["per_action"]} - columns.keys())
    actions = [*columns, *others]
    lines = []
    for row in rows:
        means = {name: entry["absolute"] for name, entry in row.results["per_action"].items()}
        lines.append([row.label, *map(means.get, actions), row.results["mpjpe"]["absolute"]["frames"]])
    for paper in papers:
        lines.append([f"{PAPER}: {paper.method}", *map(paper.per_action.get, actions), paper.average])
    return markdown_table(["run: method", *columns.values(), *others, "Avg"], lines)


def _part_table(rows: Sequence[Row]) -> str:
    parts = [named_parts(row.results) for row in rows]
    names = dict.fromkeys(name for one in parts for name in one)
    lines = [[name, *(one.get(name, {}).get("absolute") for one in parts)] for name in names]
    return markdown_table(["part", *(row.label for row in rows)], lines)


def _joint_table(rows: Sequence[Row]) -> str:
    joints = list(rows[0].results["per_joint"])
    lines = [[joint, *(row.results["per_joint"][joint]["absolute"] for row in rows)] for joint in joints]
    return markdown_table(["joint", *(row.label for row in rows)], lines)


def _paper_tidy_rows(papers: Sequence[PaperRow]) -> list[list[Any]]:
    rows = []
    for paper in papers:
        groups = [("all", "all", paper.average), *(("action", *item) for item in paper.per_action.items())]
        rows += [[PAPER, paper.method, group, name, "absolute", "mean", "mm", mm] for group, name, mm in groups]
    return rows
