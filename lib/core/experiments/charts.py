"""Charts of the results page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.core.experiments.paper_tables import (
    DATA_TEXT,
    FREE_TEXT,
    KIND_TEXT,
    METHOD_TEXT,
    depth_values,
    free_error,
    paper_depths,
)
from lib.core.experiments.plan import FREE_ROWS, METHODS_3D, WITH_3D, ExtraTestSet
from lib.core.experiments.seed_results import TABLE_1_JOINTS, SeedResults, SeedValues
from lib.utils.drawing.error_charts import COLORS
from lib.utils.files.atomic import atomic_path

DPI = 110


def save_charts(results: SeedResults, sets: Sequence[ExtraTestSet], folder: Path) -> dict[str, Path]:
    """Write the charts.

    Args:
        results: results of the seeds.
        sets: further test sets.
        folder: receives the PNGs.

    Returns:
        Table -> picture: "rates", "errors", "depth", "free" and "difficulty", those that have something to show.
    """
    drawn = {
        "rates": _rates(results),
        "errors": _errors(results),
        "depth": _depth(results),
        "free": _free(results),
        "difficulty": _difficulty(results, sets),
    }
    drawn = {name: figure for name, figure in drawn.items() if figure is not None}
    paths = {name: folder / f"{name}.png" for name in drawn}
    for name, figure in drawn.items():
        with atomic_path(paths[name]) as temporary:
            figure.savefig(temporary, format="png")
    return paths


def _known(values: Iterable[SeedValues]) -> list[float]:
    return [number for one in values for number in one.by_seed.values()]


def _figure(width: float, columns: int) -> tuple[Figure, np.ndarray]:
    """Return a figure of one row, the vertical axis in common."""
    figure = Figure(figsize=(width, 3.6), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    for one in axes:
        one.tick_params(labelsize=8)
        one.grid(axis="y", color="0.9", linewidth=0.6)
        one.set_axisbelow(True)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    return figure, axes


def _bars(axes: Axes, groups: Sequence[str], series: Mapping[str, Sequence[SeedValues]]) -> None:
    """Draw groups of bars, means with the seeds as dots."""
    width = 0.84 / len(series)
    for index, (label, values) in enumerate(series.items()):
        places = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * width
        axes.bar(places, [one.mean for one in values], width, color=COLORS[index], label=label)
        for place, one in zip(places, values, strict=True):
            axes.plot([place] * len(one.by_seed), list(one.by_seed.values()), ".", color="0.15", markersize=3)
    axes.set_xticks(range(len(groups)), groups)


def _points(axes: Axes, groups: Sequence[str], series: Mapping[str, Sequence[SeedValues]]) -> None:
    """Draw groups of points, means with the spread over the seeds: for axes that do not begin at 0."""
    for index, (label, values) in enumerate(series.items()):
        places = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * 0.6 / len(series)
        axes.errorbar(
            places,
            [one.mean for one in values],
            [np.nan_to_num(one.spread) for one in values],
            fmt="o",
            markersize=5,
            capsize=2,
            color=COLORS[index],
            label=label,
        )
    axes.set_xticks(range(len(groups)), groups)


def _rates(results: SeedResults) -> Figure | None:
    groups = {**TABLE_1_JOINTS, "occluded": None}
    drawn = {
        data: {
            text: [
                results.detection_rate(f"{data}/{kind}", where="occluded")
                if joints is None
                else results.detection_rate(f"{data}/{kind}", joints)
                for joints in groups.values()
            ]
            for kind, text in KIND_TEXT.items()
        }
        for data in DATA_TEXT
    }
    if not _known(value for series in drawn.values() for values in series.values() for value in values):
        return None
    figure, axes = _figure(11, 2)
    for one, (data, series) in zip(axes, drawn.items(), strict=True):
        _points(one, list(groups), series)
        one.set(ylabel="joint detection rate, %")
        one.set_title(f"trained on {DATA_TEXT[data]}", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure


def _errors(results: SeedResults) -> Figure | None:
    drawn = {
        data: {
            METHOD_TEXT[method]: [results.error(f"{data}/{kind}", method) for kind in WITH_3D] for method in METHODS_3D
        }
        for data in DATA_TEXT
    }
    if not _known(value for series in drawn.values() for values in series.values() for value in values):
        return None
    figure, axes = _figure(11, 2)
    for one, (data, series) in zip(axes, drawn.items(), strict=True):
        _bars(one, [KIND_TEXT[kind].split(" along")[0] for kind in WITH_3D], series)
        one.set(ylabel="MPJPE, mm")
        one.set_title(f"trained on {DATA_TEXT[data]}", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure


def _depth(results: SeedResults) -> Figure | None:
    values = depth_values(results)
    papers = paper_depths()
    if not _known(values.values()):
        return None
    figure, (axes,) = _figure(5.5, 1)
    depths = list(values)
    axes.errorbar(
        depths,
        [one.mean for one in values.values()],
        [np.nan_to_num(one.spread) for one in values.values()],
        marker="o",
        color=COLORS[0],
        capsize=3,
        label="here",
    )
    axes.plot(
        depths, [papers[depth] for depth in depths], marker="s", linestyle="--", color="0.45", label="paper, Human3.6M"
    )
    axes.set(xlabel="depth of the recursion", ylabel="MPJPE, mm", ylim=(0, None))
    axes.legend(fontsize=8, frameon=False)
    return figure


def _free(results: SeedResults) -> Figure | None:
    series = {METHOD_TEXT[method]: [free_error(results, row, method) for row in FREE_ROWS] for method in METHODS_3D}
    if not _known(value for values in series.values() for value in values):
        return None
    figure, (axes,) = _figure(7.5, 1)
    _bars(axes, [FREE_TEXT[row].replace(", ", ",\n").replace(" on ", "\non ") for row in FREE_ROWS], series)
    axes.set(ylabel="MPJPE, mm", xlim=(-0.5, len(FREE_ROWS) - 0.5))
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _difficulty(results: SeedResults, sets: Sequence[ExtraTestSet]) -> Figure | None:
    rigs = [one for one in sets if not one.same_rig]
    num_views = [one.num_views for one in rigs]
    drawn = {
        where: [[results.detection_rate(f"{rig.key}/{kind}", where=where) for rig in rigs] for kind in KIND_TEXT]
        for where in ("all", "occluded")
    }
    if not _known(value for series in drawn.values() for values in series for value in values):
        return None
    figure, axes = _figure(11, 2)
    for one, (where, series) in zip(axes, drawn.items(), strict=True):
        for index, (text, values) in enumerate(zip(KIND_TEXT.values(), series, strict=True)):
            if _known(values):
                one.errorbar(
                    num_views,
                    [value.mean for value in values],
                    [np.nan_to_num(value.spread) for value in values],
                    marker="o",
                    capsize=3,
                    color=COLORS[index],
                    label=text,
                )
        one.set(xlabel="views of an unseen rig", ylabel="joint detection rate, %", xticks=num_views)
        one.set_title(f"{where} joints", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure
