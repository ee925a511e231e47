"""Overview of several runs: 2D and 3D results in one table, spread over seeds, paired differences."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config import FEW_IMAGES, keys_with_scope
from lib.core.evaluation2d.provenance import outdated_results, weights_changed
from lib.core.report.comparison import (
    MethodResults,
    fusion_of,
    labeled_name,
    load_results,
    matching_paper_rows,
    run_names,
)
from lib.core.run_directory import (
    HITS_2D_NAME,
    RESULTS_2D_NAME,
    RESULTS_3D_NAME,
    evaluated_configuration,
    evaluation_directories,
)
from lib.utils.drawing.error_charts import save_error_bars
from lib.utils.errors import InputError
from lib.utils.files.atomic import make_directory, write_bytes, write_csv
from lib.utils.files.digest import content_digest
from lib.utils.files.json_file import read_json
from lib.utils.tables import markdown_table

OVERVIEW_NAME = "overview.md"
OVERVIEW_CSV_NAME = "overview.csv"
CHART_NAMES = {"2D": "overview_2d.png", "3D": "overview_3d.png"}
UNITS = {"2D": "%", "3D": "mm"}
_DIFFERENCE_COLUMNS = {
    "2D": ("heatmaps", "difference (points of JDR)", "95 % interval", "images"),
    "3D": ("method", "difference (mm)", "95 % interval", "frames"),
}
INTERVAL = 1.96  # standard errors of a 95 % interval
_NAMING_KEYS = frozenset({"SEED", "NAME", "OUTPUT_DIR", "LOG_DIR"})
_UNIT_NOTES = {
    "2D": "Columns in %: joint detection rate (JDR), mean over the joints.",
    "3D": "Columns in mm: MPJPE without alignment, mean over frames, of each 3D method.",
}
_INTERVAL_NOTE = (
    "Intervals count frames and images as independent. Those of one recording are alike, so the true intervals are "
    "wider. They do not cover the seed of the training."
)


@dataclass(frozen=True)
class Run:
    """Results of a run directory.

    Attributes:
        name: shortest unique name of the run directory, with the fusion and what else differs from the training.
        directory: the run directory.
        seed: SEED of its configuration; None = unknown.
        settings: configuration keys that results depend on, without seed and names; None = unknown.
        rates: name of a JDR -> mean, %.
        num_images: images of the rates; None = unknown.
        errors: 3D method -> MPJPE, mm.
        methods: 3D method -> entry of results_3d.json.
        selection: how the weights were selected, e.g. on which images the best epoch; "" = unknown.
        outdated: results that belong to earlier weights or predictions, one note each.
        hits: digests of hits_2d.npz and of the ground truth of its images; empty = no such file.
    """

    name: str
    directory: Path
    seed: int | None
    settings: dict[str, Any] | None
    rates: dict[str, float]
    num_images: int | None
    errors: dict[str, float]
    methods: dict[str, dict[str, Any]]
    selection: str = ""
    outdated: tuple[str, ...] = ()
    hits: dict[str, str] = field(default_factory=dict)

    def values(self, kind: str) -> dict[str, float]:
        """Return the rates ("2D") or the errors ("3D")."""
        return self.rates if kind == "2D" else self.errors


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ only in their seed; a single run is a group of one."""

    name: str
    runs: tuple[Run, ...]

    def values(self, kind: str, item: str) -> list[float]:
        """Return the values of all runs that have the item."""
        return [run.values(kind)[item] for run in self.runs if item in run.values(kind)]


def load_overview_runs(paths: Sequence[str | os.PathLike]) -> list[Run]:
    """Read the 2D and 3D results of run directories and their evaluations; a run that is named twice is read once.

    Raises:
        InputError: a directory is missing or has no results.
    """
    directories = list(dict.fromkeys(found for path in paths for found in _with_results(Path(path).resolve())))
    names = run_names([directory / RESULTS_3D_NAME for directory in directories])
    return [_load_run(name, directory) for name, directory in zip(names, directories, strict=True)]


def _with_results(directory: Path) -> list[Path]:
    """Return the directories of a run that have results: its own and those of its evaluations."""
    names = (RESULTS_2D_NAME, RESULTS_3D_NAME)
    found = [one for one in evaluation_directories(directory) if any((one / name).is_file() for name in names)]
    if not found:
        raise InputError(
            f"{directory}: expected a run directory with {RESULTS_2D_NAME} or {RESULTS_3D_NAME}; run/pose2d/valid.py "
            "and run/pose3d/estimate.py write them"
        )
    return found


def _load_run(name: str, directory: Path) -> Run:
    file_2d = directory / RESULTS_2D_NAME
    content = read_json(file_2d) if file_2d.is_file() else None
    rates, num_images = ({}, None) if content is None else _rates(file_2d, content)
    selection = (content or {}).get("selection", "")
    methods = load_results(directory) if (directory / RESULTS_3D_NAME).is_file() else {}
    errors = {method: entry["mpjpe"]["absolute"]["frames"] for method, entry in methods.items()}
    fusion = (content or {}).get("fusion") or fusion_of(methods)
    values = evaluated_configuration(directory)
    settings = None
    if values is not None:
        ignored = keys_with_scope("runtime") | _NAMING_KEYS
        settings = {key: value for key, value in values.items() if key not in ignored}
    label = labeled_name(name, directory, fusion)
    seed = None if values is None else values["SEED"]
    outdated = tuple(_outdated(label, directory, content or {}, methods))
    hits = (content or {}).get("hits", {})
    return Run(label, directory, seed, settings, rates, num_images, errors, methods, selection, outdated, hits)


def _outdated(
    name: str, directory: Path, content_2d: dict[str, Any], methods: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """Yield a note for the 2D results, and one for the 3D results, that later files have replaced."""
    if weights_changed(content_2d):
        weights = Path(content_2d["weights"]).name
        yield f"{name}: {weights} has changed since the 2D results; run run/pose2d/valid.py again"
    old = outdated_results(directory, {method: entry.get("predictions") for method, entry in methods.items()})
    if old:
        yield f"{name}: predicted again since {', '.join(old)}; run run/pose3d/estimate.py again"


def _rates(path: Path, content: Any) -> tuple[dict[str, float], int | None]:
    rates = content.get("jdr") if isinstance(content, dict) else None
    try:
        # Files of earlier versions call single_view "single".
        means = {_present_name(name): 100 * float(entry["mean"]) for name, entry in rates.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: expected the results of run/pose2d/valid.py; run it again") from None
    return means, content.get("num_images")


def _present_name(name: str) -> str:
    return name.replace("single,", "single_view,", 1) if name.startswith("single,") else name


def group_by_settings(runs: Sequence[Run]) -> list[RunGroup]:
    """Group the runs whose configurations differ only in the seed.

    A group has the name of its first run. Runs without a stored configuration stay alone.
    """
    groups: list[list[Run]] = []
    for run in runs:
        same = (group for group in groups if run.settings is not None and group[0].settings == run.settings)
        group = next(same, None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    return [RunGroup(_group_name(group), tuple(group)) for group in groups]


def _group_name(runs: Sequence[Run]) -> str:
    seeds = f" (seeds {', '.join(str(run.seed) for run in runs)})" if len(runs) > 1 else ""
    return f"{runs[0].name}{seeds}"


def overview(groups: Sequence[RunGroup], with_paper: bool = False) -> str:
    """Format 2D and 3D results as one Markdown table, with paired differences from the first group, and notes.

    Args:
        groups: of group_by_settings(), or groups of one run.
        with_paper: add the paper's means for the evaluated data sets.
    """
    columns = [(kind, item) for kind in UNITS for item in _main_items(groups, kind)]
    header = ["run", *(f"{_label(kind, item)} ({UNITS[kind]})" for kind, item in columns)]
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


def _items(groups: Sequence[RunGroup], kind: str) -> list[str]:
    """Return the columns in order of appearance; no column is empty."""
    return list(dict.fromkeys(item for group in groups for run in group.runs for item in run.values(kind)))


def _main_items(groups: Sequence[RunGroup], kind: str) -> list[str]:
    """Return the items of the table: all and occluded joints at one threshold, and all 3D methods.

    The threshold is the configured one if it is the same in all runs, else "crop".
    """
    items = _items(groups, kind)
    if kind == "3D" or not items:
        return items
    configured = {next(iter(run.rates)).split(", ")[1] for group in groups for run in group.runs if run.rates}
    threshold = configured.pop() if len(configured) == 1 else "crop threshold"
    return [item for item in items if threshold in item and not item.endswith("visible joints")]


def _label(kind: str, item: str) -> str:
    """Shorten "fused, crop threshold, occluded joints" to "fused, occluded", and "rpsm (numpy)" to "rpsm"."""
    if kind == "3D":
        return item.removesuffix(" (numpy)")
    maps, _, *rest = item.split(", ")
    return ", ".join([maps, *(words.removesuffix(" joints") for words in rest)])


def _cell(values: Sequence[float]) -> str | None:
    if not values:
        return None
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def paired_differences(groups: Sequence[RunGroup]) -> list[list[Any]]:
    """Return rows (group, method, mean difference, interval, number of frames) against the first group.

    Runs are paired by seed, or by position if a group is a single run. A method is listed if both runs have its poses
    of the same images.
    """
    rows: list[list[Any]] = []
    for group in groups[1:]:
        for method in _items([groups[0], group], "3D"):
            pairs = [
                pair for first, other in _seed_pairs(groups[0], group) if (pair := _frame_errors(first, other, method))
            ]
            if not pairs:
                continue
            difference = np.mean([other - first for first, other in pairs], 0)  # (F,)
            rows.append([group.name, _label("3D", method), *_mean_and_interval(difference)])
    return rows


def paired_rate_differences(groups: Sequence[RunGroup]) -> list[list[Any]]:
    """Return rows (group, heatmaps, mean difference, interval, number of images) against the first group.

    Runs are paired as in paired_differences(). The mean is the difference of the JDRs, in points.
    """
    rows: list[list[Any]] = []
    for group in groups[1:]:
        for item in _main_items([groups[0], group], "2D"):
            shares = [_hit_shares(first, other, item) for first, other in _seed_pairs(groups[0], group)]
            known = [share for share in shares if share is not None]
            if known:
                rows.append([group.name, _label("2D", item), *_mean_and_interval(np.mean(known, 0))])
    return rows


def _mean_and_interval(difference: np.ndarray) -> list[Any]:
    """Return the mean of differences (F,), its 95 % interval, and F."""
    half = INTERVAL * difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else math.nan
    mean = difference.mean()
    interval = f"{mean - half:+.1f} to {mean + half:+.1f}" if math.isfinite(half) else None
    return [f"{mean:+.1f}", interval, len(difference)]


def _hit_shares(first: Run, other: Run, item: str) -> np.ndarray | None:
    """Return the share of each image (M,) in the difference of two JDRs, whose mean is the difference, in points.

    None if a run has no hits, or of other images or joints.
    """
    if not first.hits.get("truth") or first.hits.get("truth") != other.hits.get("truth"):
        return None
    hits = [_read_hits(run, item) for run in (first, other)]
    if hits[0] is None or hits[1] is None or hits[0].shape != hits[1].shape:
        return None
    counted = hits[0] >= 0
    if not np.array_equal(counted, hits[1] >= 0):
        return None
    gained = np.where(counted, hits[1] - hits[0], 0)  # (M, J)
    per_joint = counted.sum(0)
    has_images = per_joint > 0
    return 100 * len(gained) * (gained[:, has_images] / per_joint[has_images]).mean(1)


def _read_hits(run: Run, item: str) -> np.ndarray | None:
    path = run.directory / HITS_2D_NAME
    try:
        if content_digest(path) != run.hits.get("digest"):
            return None
        with np.load(path, allow_pickle=False) as file:
            return file["hits"][file["rows"].tolist().index(item)]
    except Exception:  # missing, damaged, or other rows
        return None


def _seed_pairs(first: RunGroup, other: RunGroup) -> Iterable[tuple[Run, Run]]:
    if len(first.runs) == len(other.runs) == 1:
        return [(first.runs[0], other.runs[0])]
    by_seed = {run.seed: run for run in other.runs}
    return [(run, by_seed[run.seed]) for run in first.runs if run.seed in by_seed]


def _frame_errors(first: Run, other: Run, method: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the mean error per frame (F,) of both runs, mm; None if one has no poses, or of other images."""
    poses = [_read_poses(run, method) for run in (first, other)]
    if poses[0] is None or poses[1] is None:
        return None
    if not np.array_equal(poses[0]["image_ids"], poses[1]["image_ids"]):
        return None
    distances = [np.linalg.norm(one["pose_world"] - one["gt_world"], axis=-1) for one in poses]
    labeled = np.isfinite(poses[0]["gt_world"]).all(-1)
    counted = labeled.any(1)
    errors = [np.where(labeled, one, 0.0).sum(1)[counted] / labeled.sum(1)[counted] for one in distances]
    return errors[0], errors[1]


def _read_poses(run: Run, method: str) -> dict[str, np.ndarray] | None:
    name = run.methods.get(method, {}).get("poses")
    if not isinstance(name, str):  # older results do not name the file
        return None
    try:
        with np.load(run.directory / Path(name).name, allow_pickle=False) as file:
            return {key: file[key] for key in ("pose_world", "gt_world", "image_ids")}
    except Exception:  # missing, damaged, or without ground truth
        return None


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
        items = _items(groups, kind)
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
