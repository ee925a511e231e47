"""Charts of the results page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lib.core.experiments.paper_tables import (
    DATA_TEXT,
    FREE_TEXT,
    KIND_TEXT,
    METHOD_TEXT,
    depth_values,
    free_error,
    paper_depths,
)
from lib.core.experiments.plan import METHODS_3D, WITH_3D, ExtraTestSet
from lib.core.experiments.seed_results import TABLE_1_JOINTS, SeedResults, SeedValues
from lib.utils.drawing.agg import Axes, Figure, FigureCanvasAgg
from lib.utils.drawing.error_charts import COLORS
from lib.utils.files.atomic import atomic_path

DPI = 110

Series = Mapping[str, Sequence[SeedValues]]  # label -> value of each group


def save_charts(results: SeedResults, sets: Sequence[ExtraTestSet], folder: Path) -> dict[str, Path]:
    """Write PNGs to a folder; return table ("rates", "errors", ...) -> PNG, without tables that lack results."""
    figures = {
        "rates": _rates(results),
        "errors": _errors(results),
        "depth": _depth(results),
        "free": _free(results),
        "difficulty": _difficulty(results, sets),
    }
    paths = {}
    for name, figure in figures.items():
        if figure is not None:
            paths[name] = folder / f"{name}.png"
            with atomic_path(paths[name]) as temporary:
                figure.savefig(temporary, format="png")
    return paths


def _figure(width: float, columns: int) -> tuple[Figure, np.ndarray]:
    """Return a figure with one row of axes that share the vertical axis."""
    figure = Figure(figsize=(width, 3.6), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    for one in axes:
        one.tick_params(labelsize=8)
        one.grid(axis="y", color="0.9", linewidth=0.6)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _panels(
    panels: Mapping[str, Series], draw: Callable[[Axes, Series], None], ylabel: str, width: float = 11, ncols: int = 5
) -> Figure | None:
    """Draw title -> series next to each other with one legend; None without results."""
    if not any(value.by_seed for series in panels.values() for values in series.values() for value in values):
        return None
    figure, axes = _figure(width, len(panels))
    for one, (title, series) in zip(axes, panels.items(), strict=True):
        draw(one, series)
        one.set(ylabel=ylabel)
        one.set_title(title, fontsize=10)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=ncols, fontsize=8, frameon=False)
    return figure


def _bars(axes: Axes, groups: Sequence[str], series: Series) -> None:
    """Draw groups of bars: means, with the seeds as dots."""
    width = 0.84 / len(series)
    for index, (label, values) in enumerate(series.items()):
        places = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * width
        axes.bar(places, [one.mean for one in values], width, color=COLORS[index], label=label)
        for place, one in zip(places, values, strict=True):
            axes.plot([place] * len(one.by_seed), list(one.by_seed.values()), ".", color="0.15", markersize=3)
    axes.set_xticks(range(len(groups)), groups)


def _error_bars(axes: Axes, places: Iterable[float], values: Sequence[SeedValues], **style: object) -> None:
    """Draw means with the spread over the seeds."""
    means = [one.mean for one in values]
    spreads = [np.nan_to_num(one.spread) for one in values]
    axes.errorbar(places, means, spreads, **style)


def _rates(results: SeedResults) -> Figure | None:
    def rates(row: str) -> list[SeedValues]:
        per_joint = [results.detection_rate(row, joints) for joints in TABLE_1_JOINTS.values()]
        return [*per_joint, results.detection_rate(row, visibility="occluded")]

    def draw(axes: Axes, series: Series) -> None:
        groups = [*TABLE_1_JOINTS, "occluded"]
        for index, (label, values) in enumerate(series.items()):
            places = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * 0.6 / len(series)
            style = {"fmt": "o", "markersize": 5, "capsize": 2, "color": COLORS[index]}
            _error_bars(axes, places, values, label=label, **style)
        axes.set_xticks(range(len(groups)), groups)

    panels = {
        f"trained on {text}": {name: rates(f"{data}/{kind}") for kind, name in KIND_TEXT.items()}
        for data, text in DATA_TEXT.items()
    }
    return _panels(panels, draw, "joint detection rate, %")


def _errors(results: SeedResults) -> Figure | None:
    groups = [KIND_TEXT[kind].split(" along")[0] for kind in WITH_3D]
    panels = {
        f"trained on {text}": {
            METHOD_TEXT[method]: [results.error(f"{data}/{kind}", method) for kind in WITH_3D] for method in METHODS_3D
        }
        for data, text in DATA_TEXT.items()
    }
    return _panels(panels, lambda axes, series: _bars(axes, groups, series), "MPJPE, mm")


def _depth(results: SeedResults) -> Figure | None:
    values = depth_values(results)
    papers = paper_depths()
    if not any(value.by_seed for value in values.values()):
        return None
    figure, (axes,) = _figure(5.5, 1)
    depths = list(values)
    _error_bars(axes, depths, list(values.values()), marker="o", color=COLORS[0], capsize=3, label="here")
    style = {"marker": "s", "linestyle": "--", "color": "0.45"}
    axes.plot(depths, [papers[depth] for depth in depths], label="paper, Human3.6M", **style)
    axes.set(xlabel="depth of the recursion", ylabel="MPJPE, mm", ylim=(0, None))
    axes.legend(fontsize=8, frameon=False)
    return figure


def _free(results: SeedResults) -> Figure | None:
    groups = [text.replace(", ", ",\n").replace(" on ", "\non ") for text in FREE_TEXT.values()]
    series = {METHOD_TEXT[method]: [free_error(results, row, method) for row in FREE_TEXT] for method in METHODS_3D}

    def draw(axes: Axes, series: Series) -> None:
        _bars(axes, groups, series)
        axes.set(xlim=(-0.5, len(groups) - 0.5))

    return _panels({"": series}, draw, "MPJPE, mm", width=7.5, ncols=3)


def _difficulty(results: SeedResults, sets: Sequence[ExtraTestSet]) -> Figure | None:
    rigs = [one for one in sets if not one.same_rig]
    num_views = [one.num_views for one in rigs]

    def draw(axes: Axes, series: Series) -> None:
        for index, (label, values) in enumerate(series.items()):
            if any(value.by_seed for value in values):
                _error_bars(axes, num_views, values, marker="o", capsize=3, color=COLORS[index], label=label)
        axes.set(xlabel="views of an unseen rig", xticks=num_views)

    panels = {
        f"{visibility} joints": {
            text: [results.detection_rate(f"{rig.key}/{kind}", visibility=visibility) for rig in rigs]
            for kind, text in KIND_TEXT.items()
        }
        for visibility in ("all", "occluded")
    }
    return _panels(panels, draw, "joint detection rate, %")
