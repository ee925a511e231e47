"""Charts of 3D errors: their distribution, and means per joint or action."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from lib.utils.drawing.agg import Axes, Figure, PercentFormatter
from lib.utils.errors import InputError, check_shape
from lib.utils.files.atomic import atomic_path

DPI = 120
SHOWN_PERCENTILE = 99.0  # the histogram ends slightly above it; larger errors count in the last bin
NUM_BINS = 60
MAX_GROUP_INCHES = 0.9  # height of the bars of one name
MARKS = {"median": 50, "90 %": 90, "95 %": 95, "99 %": 99}
COLORS = ("#1b86de", "#f16207", "#50b060", "#8250b4", "#c8a000", "#787878", "#d4527c", "#3fb6b2")
HATCHES = ("", "///", "...", "xxx")  # for more series than colors


def save_error_histogram(path: str | os.PathLike, errors: np.ndarray, title: str = "") -> None:
    """Write a histogram of errors with mean, percentiles and cumulative share, as PNG, atomically.

    Args:
        path: file to write.
        errors: distances of any shape, mm; distances that are not finite count only in the total.
        title: title of the chart.

    Raises:
        InputError: no finite distance, or the disk is full.
    """
    found = errors[np.isfinite(errors)]
    if not found.size:
        raise InputError(f"{path}: no error to plot: no joint has a finite error")
    end = max(1.0, float(np.percentile(found, SHOWN_PERCENTILE)) * 1.15)
    figure, axes = _figure(7.2, 4.2, title)
    edges = np.linspace(0, end, NUM_BINS + 1)
    counts, _ = np.histogram(found.clip(max=end), edges)
    axes.bar(edges[:-1], counts / errors.size, np.diff(edges), align="edge", color=COLORS[0], alpha=0.55)
    beyond = np.count_nonzero(found > end)
    if beyond:
        axes.annotate(
            f"{beyond} beyond,\nmax {found.max():.0f} mm",
            (end, counts[-1] / errors.size),
            (-4, 22),
            textcoords="offset points",
            fontsize=8,
            ha="right",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    below = axes.twinx()
    grid = np.linspace(0, end, 400)
    below.plot(grid, np.searchsorted(np.sort(found), grid, side="left") / errors.size, color="0.25", linewidth=1.4)
    below.set(ylim=(0, 1.0), ylabel="share of the joints below (line)")
    below.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    below.tick_params(labelsize=8)
    below.spines["top"].set_visible(False)
    axes.axvline(found.mean(), color=COLORS[1], linewidth=1.8, label=f"mean {found.mean():.1f} mm")
    for (name, percent), style in zip(MARKS.items(), ("-", "--", "-.", ":"), strict=True):
        value = float(np.percentile(found, percent))
        axes.axvline(value, color="0.25", linewidth=1.2, linestyle=style, label=f"{name} {value:.1f} mm")
    axes.set(xlim=(0, end), xlabel="distance of a joint from the ground truth, mm", ylabel="share of the joints (bars)")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    below.legend(*axes.get_legend_handles_labels(), fontsize=8, loc="center right", framealpha=0.9)
    _save(figure, path)


def save_error_bars(
    path: str | os.PathLike,
    names: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    means: Mapping[str, float | None] | None = None,
    title: str = "",
    axis_title: str = "mean distance, mm",
    spreads: Mapping[str, Sequence[float | None]] | None = None,
) -> None:
    """Write a chart with one group of horizontal bars per name and one bar per series, as PNG, atomically.

    Args:
        path: file to write.
        names: joints, actions, ..., from top to bottom.
        series: label -> one value per name; None and NaN leave a gap.
        means: label -> mean over all, drawn as a vertical line.
        title: title of the chart.
        axis_title: quantity and unit of the values.
        spreads: label -> standard deviation of each value, drawn as an error bar; None and NaN draw none.

    Raises:
        InputError: nothing to plot, a series of another length, or the disk is full.
    """
    if not names or not series:
        raise InputError(f"{path}: nothing to plot")
    figure, axes = _figure(7.2, 1.3 + len(names) * (0.12 + min(0.11 * len(series), MAX_GROUP_INCHES)), title)
    height = 0.84 / len(series)
    centers = np.arange(len(names), dtype=float)
    for index, (label, values) in enumerate(series.items()):
        check_shape(f"{path}: {label}", (len(values),), (len(names),))
        lengths = np.array(values, float)
        color = COLORS[index % len(COLORS)]
        offset = (index - (len(series) - 1) / 2) * height
        mean = (means or {}).get(label)
        text = label if mean is None else f"{label} (mean {mean:.1f})"
        hatch = HATCHES[index // len(COLORS) % len(HATCHES)]
        style = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0.3}
        axes.barh(centers + offset, lengths, height, label=text, **style)
        std = np.array((spreads or {}).get(label, [None] * len(names)), float)
        shown = np.isfinite(std)
        if shown.any():
            axes.errorbar(
                lengths[shown], (centers + offset)[shown], xerr=std[shown], fmt="none", ecolor="0.2", capsize=2
            )
        if mean is not None:
            axes.axvline(mean, color=color, linewidth=1.1, linestyle="--", alpha=0.8)
    axes.set_yticks(centers, names)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel=axis_title)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    longest = max(map(len, axes.get_legend_handles_labels()[1]))
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=min(3, max(1, 100 // (longest + 6))))
    _save(figure, path)


def _figure(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: str | os.PathLike) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
