from __future__ import annotations

import json

import numpy as np
import pytest

from lib.core.training.metrics_log import MetricsLog
from lib.utils.errors import InputError


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_metrics_log_writes_numbers_and_images(tmp_path):
    with MetricsLog(tmp_path, tmp_path / "board", 0, 0) as log:
        log.add("train", 3, {"loss": np.float32(0.5), "accuracy": 1})
        log.add("epoch", 10, {"epoch": 0, "jdr": 0.25})
        log.add_image("heatmaps", 10, np.zeros((4, 6, 3), np.uint8))
    assert lines(tmp_path) == [
        {"kind": "train", "step": 3, "loss": 0.5, "accuracy": 1.0},
        {"kind": "epoch", "step": 10, "epoch": 0.0, "jdr": 0.25},
    ]
    (events,) = (tmp_path / "board").glob("events.out.tfevents.*")
    data = events.read_bytes()
    assert all(name in data for name in (b"train/loss", b"train/accuracy", b"epoch/jdr", b"heatmaps"))


def test_metrics_log_resumed_run_deletes_later_lines(tmp_path):
    with MetricsLog(tmp_path, tmp_path / "board", 0, 0) as log:
        for step in range(1, 6):
            log.add("train", step, {"loss": step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "st')  # a kill in the middle of a line
    with MetricsLog(tmp_path, tmp_path / "board", 3, 0) as log:
        log.add("train", 4, {"loss": 40})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(1, 1), (2, 2), (3, 3), (4, 40)]


def test_metrics_log_unfinished_epoch_is_logged_again(tmp_path):
    """Its steps are done, and it was noted, but the checkpoint of its end was not written any more."""
    with MetricsLog(tmp_path, tmp_path / "board", 0, 0) as log:
        for step in (2, 4):
            log.add("train", step, {"loss": step})
            log.add("epoch", step, {"epoch": step // 2 - 1, "jdr": step})
    with MetricsLog(tmp_path, tmp_path / "board", 4, 1) as log:
        log.add("epoch", 4, {"epoch": 1, "jdr": 40})
    assert [(line["kind"], line["step"]) for line in lines(tmp_path)] == [
        ("train", 2),
        ("epoch", 2),
        ("train", 4),
        ("epoch", 4),
    ]
    assert lines(tmp_path)[-1]["jdr"] == 40


@pytest.mark.parametrize("content", ["no json\n", "[1]\n", '{"a": 1}\n'])
def test_metrics_log_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(InputError, match="not the metrics of a training run"):
        MetricsLog(tmp_path, tmp_path / "board", 0, 0)
    assert (tmp_path / "metrics.jsonl").read_text() == content
