from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.utils.drawing.training_curves import save_curves
from lib.utils.errors import InputError


def _plot(path: Path, history: list[dict[str, float]]) -> np.ndarray:
    save_curves(path, history)
    image = cv2.imread(str(path))
    assert image is not None
    return image


def test_save_curves_has_a_panel_per_kind_of_value(tmp_path: Path) -> None:
    both = _plot(tmp_path / "both.png", [{"epoch": e, "loss": 1 / (e + 1), "JDR": e / 4} for e in range(4)])
    one = _plot(tmp_path / "one.png", [{"epoch": e, "JDR": e / 4} for e in range(4)])
    assert both.shape[0] == one.shape[0]
    assert both.shape[1] == 2 * one.shape[1]
    assert {entry.name for entry in tmp_path.iterdir()} == {"both.png", "one.png"}


def test_save_curves_higher_values_are_higher(tmp_path: Path) -> None:
    def mean_row(value: float) -> float:
        image = _plot(tmp_path / "curve.png", [{"epoch": e, "accuracy": value} for e in range(5)])
        colored = np.ptp(image.astype(int), axis=-1) > 60
        return float(np.nonzero(colored[60:])[0].mean())  # the legend's line is above

    assert mean_row(0.6) + 30 < mean_row(0.2)


@pytest.mark.parametrize(
    "history",
    [
        [{"epoch": 0, "loss": 0.1, "accuracy": 0.0}],
        [{"epoch": 0, "loss": 100.0}, {"epoch": 1, "loss": 0.01, "JDR": 0.5}, {"epoch": 2, "loss": float("nan")}],
    ],
)
def test_save_curves_short_and_incomplete_histories(history: list[dict[str, float]], tmp_path: Path) -> None:
    assert _plot(tmp_path / "curves.png", history).std() > 5


@pytest.mark.parametrize("history", [[], [{"epoch": 1}], [{"loss": 0.5}]])
def test_save_curves_without_values_is_refused(history: list[dict[str, float]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least one epoch with 'epoch' and a value"):
        save_curves(tmp_path / "curves.png", history)
