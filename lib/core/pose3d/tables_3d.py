"""3D results of a method as Markdown tables and as rows of a CSV file."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from lib.core.pose3d.metrics_3d import METRICS, PCK_MM, PERCENTILES, mean_error
from lib.dataset.protocol import ALL
from lib.utils.files.atomic import write_csv
from lib.utils.tables import markdown_table

# Tables per action and joint show the root-relative shares, as the literature does.
_SHARES = {"pck150": f"PCK@{PCK_MM:.0f} (%)", "auc": "AUC (%)"}
TIDY_HEADER = ["method", "group", "name", "alignment", "statistic", "unit", "value"]


def percent(share: float | None) -> float | None:
    """Return a share from 0 to 1 in percent; None (NaN in a JSON file) stays None."""
    return None if share is None else 100 * share


def action_table(results: dict[str, Any]) -> str:
    """Format the means per action, mm; the last two rows are the means over frames and over actions."""
    rows = [[name, entry["num_frames"], *_means(entry)] for name, entry in results["per_action"].items()]
    for label, kind in (("**mean over frames**", "frames"), ("**mean over actions**", "actions")):
        means = [results["mpjpe"][metric][kind] for metric in METRICS]
        shares = [percent(results["distribution"]["root_relative"][key]) for key in _SHARES]
        rows.append([label, results["num_frames"], *means, *(shares if kind == "frames" else [None] * len(shares))])
    return markdown_table(["action", "frames", *METRICS.values(), *_SHARES.values()], rows)


def joint_table(results: dict[str, Any]) -> str:
    """Format the means per joint, mm."""
    rows = [[name, *_means(entry)] for name, entry in results["per_joint"].items()]
    return markdown_table(["joint", *METRICS.values(), *_SHARES.values()], rows)


def _means(entry: dict[str, Any]) -> list[float | None]:
    return [*(entry[metric] for metric in METRICS), *(percent(entry[key]["root_relative"]) for key in _SHARES)]


def part_table(results: dict[str, Any], metric: str) -> str:
    """Format the means of a metric per part, mm: one row per sequence, one column per group of subjects."""
    means = {row: [entry[metric] for entry in columns.values()] for row, columns in results["per_part"].items()}
    over_frames = means.pop(ALL)
    over_sequences = [mean_error(np.array(column, float)) for column in zip(*means.values(), strict=True)]
    rows = [[name, *values] for name, values in means.items()]
    rows += [["**mean over frames**", *over_frames], ["**mean over sequences**", *over_sequences]]
    return markdown_table([f"{METRICS[metric]} per sequence", *results["per_part"][ALL]], rows)


def distribution_table(results: dict[str, Any]) -> str:
    """Format mean, percentiles, PCK and AUC of every alignment, mm and percent."""
    columns = [*(f"p{percent}" for percent in PERCENTILES), "max"]
    rows = [
        [
            name,
            results["mpjpe"][metric]["frames"],
            *(results["distribution"][metric][key] for key in columns),
            *(percent(results["distribution"][metric][key]) for key in _SHARES),
        ]
        for metric, name in (METRICS | {"absolute": "absolute"}).items()
    ]
    header = ["error of a joint", "mean", *(f"{percent} %" for percent in PERCENTILES), "max", *_SHARES.values()]
    return markdown_table(header, rows)


def all_tables(results: dict[str, Any]) -> str:
    """Return all tables of a method, with notes on their columns."""
    notes = [
        "Errors in mm. PCK and AUC (thresholds 0, 5, ..., 150 mm) per action and joint are root-relative. The root "
        "counts in root-relative means, not in root-relative percentiles, PCK and AUC."
    ]
    if results["num_missing"]:
        notes.append(
            f"{results['num_missing']} joints have no position: left out of means and percentiles, wrong in PCK "
            "and AUC."
        )
    if results.get("num_unlabeled"):
        notes.append(f"{results['num_unlabeled']} joints have no label and are left out.")
    if "coverage" in results:
        covered = "/".join(f"{100 * share:.1f}" for share in results["coverage"].values())
        notes.append(
            f"The {'/'.join(results['coverage'])} % regions cover {covered} % of the joints; median standard deviation "
            f"{results['median_sd_mm']:.1f} mm per axis."
        )
    parts = [part_table(results, metric) for metric in METRICS] if "per_part" in results else []
    tables = [action_table(results), *parts, joint_table(results), distribution_table(results)]
    return "\n\n".join([*tables, " ".join(notes)])


def named_parts(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the statistics of all parts by names such as "W2, seen subjects"; {} without parts."""
    return {
        f"{row}, {column}": entry
        for row, columns in results.get("per_part", {}).items()
        for column, entry in columns.items()
    }


def tidy_rows(method: str, results: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield one row (TIDY_HEADER) per number in the results of a method.

    The group is all, action, joint or part; the statistic is mean, mean_over_actions, p50 ..., max, pck150 or auc; the
    unit is mm or share (0 to 1).
    """
    for alignment in METRICS:
        means = results["mpjpe"].get(alignment, {})
        for statistic, kind in (("mean", "frames"), ("mean_over_actions", "actions")):
            if kind in means:
                yield [method, "all", "all", alignment, statistic, "mm", means[kind]]
        for statistic, value in results.get("distribution", {}).get(alignment, {}).items():
            yield [method, "all", "all", alignment, statistic, "share" if statistic in _SHARES else "mm", value]
    groups = {group: results[f"per_{group}"] for group in ("action", "joint")} | {"part": named_parts(results)}
    for group, entries in groups.items():
        for name, entry in entries.items():
            for alignment in METRICS:
                if alignment in entry:
                    yield [method, group, name, alignment, "mean", "mm", entry[alignment]]
                for statistic in _SHARES:
                    if alignment in entry.get(statistic, {}):
                        yield [method, group, name, alignment, statistic, "share", entry[statistic][alignment]]


def is_readable(results: Any) -> bool:
    """Return whether an entry of results_3d.json can be shown in tables and comparisons.

    It needs the absolute means over frames, over actions, per action and per joint. Everything else may be missing,
    as in older files, but must be a number or null.
    """
    try:
        needed = [results["mpjpe"]["absolute"][kind] for kind in ("frames", "actions")]
        needed += [entry["absolute"] for group in ("per_action", "per_joint") for entry in results[group].values()]
        numbers = [results.get("num_frames"), *needed, *(row[-1] for row in tidy_rows("", results))]
    except (KeyError, TypeError, AttributeError):
        return False
    return all(number is None or isinstance(number, (int, float)) for number in numbers)


def save_tidy_csv(path: str | os.PathLike, methods: dict[str, dict[str, Any]]) -> None:
    """Write the entries of results_3d.json to one CSV file, one number per row; NaN is an empty cell."""
    rows = [row for method, results in methods.items() for row in tidy_rows(method, results)]
    write_csv(path, TIDY_HEADER, [[*row[:-1], None if row[-1] != row[-1] else row[-1]] for row in rows])
