"""Training curves with one point per epoch."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from lib.utils.drawing.agg import Axes, Figure, MaxNLocator, PercentFormatter
from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_path

LOG_SCALE_RANGE = 10  # ratio of losses from which the scale is logarithmic


def save_curves(path: str | os.PathLike, history: Sequence[Mapping[str, float]], title: str = "") -> None:
    """Write a figure with one panel of losses and one of shares (accuracy, JDR), as PNG, atomically.

    Args:
        path: file to write.
        history: one entry per epoch with `epoch`, and any of `loss`, `..._loss` (any unit) and other names, which are
            shares between 0 and 1. Values may be missing in some epochs.
        title: title of the figure.

    Raises:
        InputError: nothing to plot, an entry without `epoch`, or the disk is full.
    """
    names = list(dict.fromkeys(name for entry in history for name in entry if name != "epoch"))
    if not names or any("epoch" not in entry for entry in history):
        raise InputError(f"{path}: expected at least one epoch with 'epoch' and a value, received {list(history)[:1]}")
    epochs = np.array([entry["epoch"] for entry in history], float)
    series = {name: np.array([entry.get(name, np.nan) for entry in history], float) for name in names}
    panels = {
        "loss": {name: values for name, values in series.items() if name.endswith("loss")},
        "share of joints": {name: values for name, values in series.items() if not name.endswith("loss")},
    }
    panels = {label: lines for label, lines in panels.items() if lines}
    figure = Figure(figsize=(4.6 * len(panels), 3.4), dpi=120, layout="constrained")
    for axes, (label, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _draw_panel(axes, label, epochs, lines)
    figure.suptitle(title, fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_panel(axes: Axes, label: str, epochs: np.ndarray, lines: Mapping[str, np.ndarray]) -> None:
    for name, values in lines.items():
        known = np.isfinite(values)  # lines bridge epochs without a value
        axes.plot(epochs[known], values[known], marker="o", markersize=3, linewidth=1.6, label=name.replace("_", " "))
    values = np.concatenate(list(lines.values()))
    values = values[np.isfinite(values)]
    if label != "loss":
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    elif values.size and values.min() > 0 and values.max() > LOG_SCALE_RANGE * values.min():
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(set(epochs)) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    axes.grid(color="0.9", linewidth=0.6)
    axes.legend(fontsize=8, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
