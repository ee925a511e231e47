"""Results of several runs, grouped by what differs between them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.core.config import keys_with_scope
from lib.core.evaluation2d.provenance import outdated_results, weights_changed
from lib.core.report.comparison import fusion_of, labeled_name, load_results, run_names
from lib.core.run_directory import RESULTS_2D_NAME, RESULTS_3D_NAME, evaluated_configuration, evaluation_directories
from lib.utils.errors import InputError
from lib.utils.files.json_file import read_json

_NAMING_KEYS = frozenset({"SEED", "NAME", "OUTPUT_DIR", "LOG_DIR"})


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
    """Return the directories with results: the run directory itself, and its evaluations."""
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


def single_runs(runs: Sequence[Run]) -> list[RunGroup]:
    """Return one group per run."""
    return [RunGroup(run.name, (run,)) for run in runs]


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


def items_of(groups: Sequence[RunGroup], kind: str) -> list[str]:
    """Return the columns in order of appearance; no column is empty."""
    return list(dict.fromkeys(item for group in groups for run in group.runs for item in run.values(kind)))


def main_items(groups: Sequence[RunGroup], kind: str) -> list[str]:
    """Return the items of the table: all and occluded joints at one threshold, and all 3D methods.

    The threshold is the configured one if it is the same in all runs, else "crop".
    """
    items = items_of(groups, kind)
    if kind == "3D" or not items:
        return items
    configured = {next(iter(run.rates)).split(", ")[1] for group in groups for run in group.runs if run.rates}
    threshold = configured.pop() if len(configured) == 1 else "crop threshold"
    return [item for item in items if threshold in item and not item.endswith("visible joints")]


def item_label(kind: str, item: str) -> str:
    """Shorten "fused, crop threshold, occluded joints" to "fused, occluded", and "rpsm (numpy)" to "rpsm"."""
    if kind == "3D":
        return item.removesuffix(" (numpy)")
    maps, _, *rest = item.split(", ")
    return ", ".join([maps, *(words.removesuffix(" joints") for words in rest)])
