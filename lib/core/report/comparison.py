"""Comparison of the 3D results of several runs with each other and with the paper, as Markdown and CSV."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.pose3d.tables_3d import TIDY_HEADER, is_readable, named_parts, percent, tidy_rows
from lib.core.report.paper_results import TABLE_3, TABLE_3_COLUMNS, TABLE_4, TOTAL_CAPTURE, PaperRow
from lib.core.run_directory import (
    COMPARISON_CSV_NAME,
    COMPARISON_NAME,
    RESULTS_3D_NAME,
    evaluation_directories,
    evaluation_label,
    run_of,
)
from lib.dataset.protocol import ALL
from lib.utils.errors import InputError
from lib.utils.files.atomic import write_bytes, write_csv
from lib.utils.files.json_file import read_json
from lib.utils.tables import markdown_table

logger = logging.getLogger(__name__)

PAPER = "paper"
NOTE = "MPJPE in mm without alignment, unless a column says otherwise; PCK and AUC are root-relative."
HUMAN36M_NOTES = (
    "The paper's rows (Qiu et al., ICCV 2019, Tables 3 and 4) are Human3.6M, subjects 9 and 11, and do not apply to "
    "other data. Their average is taken as the mean over frames, because it is above the mean of the actions.",
    "Actions are matched by name. The paper's names may be shifted from Posing (action 7) on, as in the original code; "
    "the means are not affected.",
)
TOTAL_CAPTURE_NOTE = (
    "The paper's rows (Qiu et al., ICCV 2019) are Total Capture: Walking 2 (W2), Freestyle 3 (FS3) and Acting 3 (A3) "
    "of subjects 1 to 5."
)


@dataclass(frozen=True)
class MethodResults:
    """Results of one method in one run.

    Attributes:
        run: name of the run.
        method: name of the entry in results_3d.json.
        results: the entry.
    """

    run: str
    method: str
    results: dict[str, Any]

    @property
    def label(self) -> str:
        """Run and method."""
        return f"{self.run}: {self.method}"

    @property
    def sequences(self) -> tuple[str, ...]:
        """Sequences that are evaluated separately; () for Human3.6M."""
        return tuple(name for name in self.results.get("per_part", {}) if name != ALL)


def load_results(path: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Read the 3D results of a run directory or results file, method -> results; an InputError if there are none."""
    file = _results_file(path)
    methods = read_json(file)
    if not isinstance(methods, dict) or not methods:
        raise InputError(f"{file}: expected the results of at least one method")
    for name, results in methods.items():
        if not is_readable(results):
            raise InputError(f"{file}: '{name}' has no 3D results with mpjpe, per_action and per_joint")
    return methods


def load_runs(paths: Sequence[str | os.PathLike]) -> list[MethodResults]:
    """Read the results of all methods in several runs; a run that is named twice is read once.

    A run directory includes its evaluations (lib/core/run_directory.py), except those with other joints.

    Args:
        paths: run directories, directories of evaluations, or results files. The first has results of its own.

    Raises:
        InputError: a run is missing, or the runs have different joints.
    """
    named = [_results_file(paths[0]), *(Path(path) for path in paths[1:])]
    files = dict.fromkeys(file.resolve() for path in [named[0], *paths] for file in results_files(path))
    explicit = {path.resolve() for path in named} | {path.resolve() / RESULTS_3D_NAME for path in named}
    compared: list[MethodResults] = []
    for name, file in zip(run_names(list(files)), files, strict=True):
        methods = load_results(file)
        label = labeled_name(name, file.parent, fusion_of(methods))
        for one in (MethodResults(label, method, results) for method, results in methods.items()):
            problem = _difference_of_joints(compared[0], one) if compared else ""
            if not problem:
                compared.append(one)
            elif file in explicit:
                raise InputError(f"{problem}; their means cannot be compared")
            else:
                logger.info("left out: %s", problem)
    return compared


def _difference_of_joints(first: MethodResults, other: MethodResults) -> str:
    lacking = sorted(first.results["per_joint"].keys() - other.results["per_joint"].keys())
    added = sorted(other.results["per_joint"].keys() - first.results["per_joint"].keys())
    if not lacking and not added:
        return ""
    return (
        f"'{other.label}' has other joints than '{first.label}': lacks {', '.join(lacking) or '-'}, "
        f"adds {', '.join(added) or '-'}"
    )


def comparison(compared: Sequence[MethodResults]) -> str:
    """Format results and the paper's results as Markdown: means, per action, per part, per joint, notes."""
    papers = matching_paper_rows(compared)
    notes = [NOTE]
    if any(not paper.sequences for paper in papers):
        notes += HUMAN36M_NOTES
    if any(paper.sequences for paper in papers):
        notes.append(TOTAL_CAPTURE_NOTE)
    counts = {one.results.get("num_frames") for one in compared}
    if len(counts) > 1:
        notes.insert(0, f"The runs were evaluated on different numbers of frames ({', '.join(map(str, counts))}).")
    page = ["## Means", _means_table(compared, papers), "## Per action", _action_table(compared, papers)]
    if any(one.sequences for one in compared):
        page += ["## Per part", _part_table(compared)]
    page += ["## Per joint", _joint_table(compared), "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(page)


def save_comparison(directory: str | os.PathLike, compared: Sequence[MethodResults]) -> None:
    """Write comparison.md, and comparison.csv with one number per row; both include the paper's results."""
    directory = Path(directory)
    write_bytes(directory / COMPARISON_NAME, f"# Comparison of 3D results\n\n{comparison(compared)}\n".encode())
    rows = [[one.run, *values] for one in compared for values in tidy_rows(one.method, one.results)]
    for paper in matching_paper_rows(compared):
        groups = [("all", "all", paper.average), *(("action", *item) for item in paper.per_action.items())]
        rows += [[PAPER, paper.method, group, name, "absolute", "mean", "mm", mm] for group, name, mm in groups]
    write_csv(directory / COMPARISON_CSV_NAME, ["run", *TIDY_HEADER], rows)


def _results_file(path: str | os.PathLike) -> Path:
    path = Path(path)
    file = path / RESULTS_3D_NAME if path.is_dir() else path
    if not file.exists():
        what = f"no {RESULTS_3D_NAME} in this directory" if path.is_dir() else "no such run directory or results file"
        raise InputError(f"{path}: {what}; run/pose3d/estimate.py writes {RESULTS_3D_NAME}")
    return file


def results_files(path: str | os.PathLike) -> list[Path]:
    """Return the results files of a run directory and its evaluations; a results file is returned unchanged.

    Raises:
        InputError: there is none.
    """
    path = Path(path)
    files = [directory / RESULTS_3D_NAME for directory in evaluation_directories(path)] if path.is_dir() else []
    return [file for file in files if file.is_file()] or [_results_file(path)]


def run_names(files: Sequence[Path]) -> list[str]:
    """Return the names of runs, with as many parent folders as make them unique.

    Args:
        files: results files; one that is called results_3d.json has the name of its run directory.
    """
    paths = [run_of(file.parent) if file.name == RESULTS_3D_NAME else file for file in files]
    short = [path.with_suffix("") if path == file else path for path, file in zip(paths, files, strict=True)]
    parts = [path.parts for path in (short if len(set(short)) == len(set(paths)) else paths)]
    depth = 1
    while max(Counter(part[-depth:] for part in set(parts)).values()) > 1:
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def labeled_name(name: str, directory: Path, fusion: str | None) -> str:
    """Return the name of a run with evaluation_label(), e.g. "256_fusion (epipolar_max)"."""
    label = evaluation_label(directory, fusion)
    return f"{name} ({label})" if label else name


def fusion_of(methods: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the fusion that results of 3D methods name; None in results of earlier versions."""
    return next((entry["fusion"] for entry in methods.values() if "fusion" in entry), None)


def matching_paper_rows(compared: Sequence[MethodResults]) -> list[PaperRow]:
    """Return the paper's rows for the evaluated data sets, which the sequences in the results identify."""
    evaluated = {one.sequences for one in compared}
    return [paper for paper in (*TABLE_3, *TABLE_4, *TOTAL_CAPTURE) if paper.sequences in evaluated]


def _means_table(compared: Sequence[MethodResults], papers: Sequence[PaperRow]) -> str:
    header = ["run: method", "frames", "mean over frames", "over actions", "root-relative", "PA", "median", "95 %"]
    header += ["PCK@150 (%)", "AUC (%)", "root", "limbs"]
    rows: list[list[Any]] = []
    for one in compared:
        means = one.results["mpjpe"]
        distribution = one.results.get("distribution", {})  # missing in older files
        errors = distribution.get("absolute", {})
        shares = distribution.get("root_relative", {})
        rows.append(
            [
                one.label,
                one.results.get("num_frames"),
                means["absolute"]["frames"],
                means["absolute"]["actions"],
                means.get("root_relative", {}).get("frames"),
                means.get("pa", {}).get("frames"),
                errors.get("p50"),
                errors.get("p95"),
                percent(shares.get("pck150")),
                percent(shares.get("auc")),
                one.results.get("root_source"),
                one.results.get("limb_length_source"),
            ]
        )
    for paper in papers:
        over_actions = float(np.mean(paper.by_column)) if paper.by_column else None
        rows.append([f"{PAPER}: {paper.method}", None, paper.average, over_actions, *[None] * 8])
    return markdown_table(header, rows)


def _action_table(compared: Sequence[MethodResults], papers: Sequence[PaperRow]) -> str:
    """Format one row per method; the columns are the paper's actions in its order, then other actions."""
    papers = [paper for paper in papers if paper.by_column]
    columns = TABLE_3_COLUMNS if papers else {}
    others = sorted({name for one in compared for name in one.results["per_action"]} - columns.keys())
    actions = [*columns, *others]
    rows = []
    for one in compared:
        means = {name: entry["absolute"] for name, entry in one.results["per_action"].items()}
        rows.append([one.label, *map(means.get, actions), one.results["mpjpe"]["absolute"]["frames"]])
    for paper in papers:
        rows.append([f"{PAPER}: {paper.method}", *map(paper.per_action.get, actions), paper.average])
    return markdown_table(["run: method", *columns.values(), *others, "Avg"], rows)


def _part_table(compared: Sequence[MethodResults]) -> str:
    parts = [named_parts(one.results) for one in compared]
    names = dict.fromkeys(name for part in parts for name in part)
    rows = [[name, *(part.get(name, {}).get("absolute") for part in parts)] for name in names]
    return markdown_table(["part", *(one.label for one in compared)], rows)


def _joint_table(compared: Sequence[MethodResults]) -> str:
    joints = list(compared[0].results["per_joint"])
    rows = [[joint, *(one.results["per_joint"][joint]["absolute"] for one in compared)] for joint in joints]
    return markdown_table(["joint", *(one.label for one in compared)], rows)
