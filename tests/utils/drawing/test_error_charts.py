from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.utils.drawing.error_charts import COLORS, save_error_bars, save_error_histogram
from lib.utils.errors import InputError


def bgr(index: int) -> np.ndarray:
    return np.array([int(COLORS[index][at : at + 2], 16) for at in (5, 3, 1)])


def pixels(path: Path, index: int, tolerance: int = 3) -> np.ndarray:
    """(row, column) of the pixels of a color."""
    image = cv2.imread(str(path))
    assert image is not None
    assert 200 < image.shape[0] < 1500
    assert 500 < image.shape[1] < 1200
    return np.argwhere(np.abs(image.astype(int) - bgr(index)).max(-1) <= tolerance)


def test_save_error_bars_lengths_are_the_values(tmp_path: Path) -> None:
    path = tmp_path / "bars.png"
    save_error_bars(path, ["knee", "wrist"], {"one": [20.0, 40.0], "two": [10.0, None]})
    rows = cv2.imread(str(path)).shape[0]
    lengths = {}
    for index in (0, 1):
        found = pixels(path, index)
        found = found[found[:, 0] < rows * 0.75]  # without the legend
        lengths[index] = [int((found[:, 0] == row).sum()) for row in np.unique(found[:, 0])]
    assert max(lengths[0]) == pytest.approx(2 * min(lengths[0]), abs=6)
    assert max(lengths[0]) == pytest.approx(4 * max(lengths[1]), abs=6)
    assert len(lengths[1]) < 0.6 * len(lengths[0])  # one bar, not two
    assert [entry.name for entry in tmp_path.iterdir()] == ["bars.png"]


def test_save_error_bars_means_are_drawn(tmp_path: Path) -> None:
    values = {"one": [10.0] * 4}
    save_error_bars(tmp_path / "without.png", list("abcd"), values)
    save_error_bars(tmp_path / "with.png", list("abcd"), values, {"one": 10.0})
    without, with_mean = (cv2.imread(str(tmp_path / name)) for name in ("without.png", "with.png"))
    assert (without != with_mean).any()


def test_save_error_bars_spreads_are_drawn(tmp_path: Path) -> None:
    values = {"one": [10.0] * 4, "two": [12.0] * 4}
    save_error_bars(tmp_path / "without.png", list("abcd"), values, spreads={"two": [None, np.nan, None, None]})
    save_error_bars(tmp_path / "with.png", list("abcd"), values, spreads={"two": [1.0, None, None, None]})
    without, with_spread = (cv2.imread(str(tmp_path / name)) for name in ("without.png", "with.png"))
    assert without.shape != with_spread.shape or (without != with_spread).any()


def test_save_error_bars_many_series_limit_the_size(tmp_path: Path) -> None:
    series = {f"a run with a long name, number {number}": np.full(17, 30.0 + number) for number in range(12)}
    save_error_bars(tmp_path / "bars.png", [f"joint {joint}" for joint in range(17)], series)
    height, width = cv2.imread(str(tmp_path / "bars.png")).shape[:2]
    assert width < 1000
    assert height < 2800


def test_save_error_histogram_mean_line_is_at_the_mean(tmp_path: Path) -> None:
    def mean_column(errors: np.ndarray) -> float:
        save_error_histogram(tmp_path / "histogram.png", errors)
        found = pixels(tmp_path / "histogram.png", 1)
        columns, counts = np.unique(found[:, 1], return_counts=True)
        return float(columns[counts.argmax()])  # the line is longer than its sample in the legend

    low, high = np.repeat([10.0, 90.0], [70, 30]), np.repeat([10.0, 90.0], [30, 70])  # means 34 and 66, one axis
    ten_mm = (mean_column(high) - mean_column(low)) / 3.2
    assert ten_mm > 30
    middle = np.repeat([10.0, 90.0], [50, 50])
    assert mean_column(middle) == pytest.approx((mean_column(high) + mean_column(low)) / 2, abs=2)


def test_save_error_histogram_large_and_missing_errors(tmp_path: Path) -> None:
    errors = np.append(np.linspace(0, 50, 999), [1e6])
    save_error_histogram(tmp_path / "with.png", errors)
    save_error_histogram(tmp_path / "missing.png", np.append(errors, [np.nan] * 500))
    image = cv2.imread(str(tmp_path / "with.png")).astype(int)
    bars = (image[..., 0] - image[..., 2] > 60).any(0)  # bluish columns
    assert np.count_nonzero(bars) > 0.5 * image.shape[1]  # an error of 1 km does not compress the axis
    assert (image != cv2.imread(str(tmp_path / "missing.png"))).any()


def test_charts_without_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no joint has a finite error"):
        save_error_histogram(tmp_path / "x.png", np.full((3, 4), np.nan))
    with pytest.raises(InputError, match="nothing to plot"):
        save_error_bars(tmp_path / "x.png", [], {})
    with pytest.raises(InputError, match=r"two: expected shape \(2\), received \(1,\)"):
        save_error_bars(tmp_path / "x.png", ["a", "b"], {"one": [1, 2], "two": [1]})
    assert not list(tmp_path.iterdir())
