"""train.py killed at any moment resumes from a whole file and ends with the weights of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cvf_tests.scripts import REPOSITORY, RUN

TIMES = ("groups_per_s", "data_seconds", "data_share", "memory_mb")
RUN_SPECIFIC = {*TIMES, "OUTPUT_DIR", "LOG_DIR"}


def start_training(script: str, cfg: Path, out: Path, *opts: object) -> subprocess.Popen:
    words = [
        sys.executable,
        REPOSITORY / script,
        "--cfg",
        cfg,
        "--modelDir",
        out,
        "--logDir",
        out / "log",
        "--opts",
        "TRAIN.RESUME",
        "true",
        "PRINT_FREQ",
        1,
        *opts,
    ]
    return subprocess.Popen(
        [*map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY / "tests")},
    )


def finish(process: subprocess.Popen) -> None:
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out


def metrics(directory: Path) -> list[dict]:
    """Metrics without the values that depend on time."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def check_equal(found: object, expected: object, where: str) -> None:
    """Compare nested dictionaries of tensors and numbers, bit by bit."""
    if isinstance(expected, dict):
        expected = {key: value for key, value in expected.items() if key not in RUN_SPECIFIC}
        assert found.keys() - RUN_SPECIFIC == expected.keys(), where
        for key, value in expected.items():
            check_equal(found[key], value, f"{where}/{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for number, pair in enumerate(zip(found, expected, strict=True)):
            check_equal(*pair, f"{where}/{number}")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    else:
        assert found == expected, where


@pytest.mark.slow
@pytest.mark.parametrize(  # more epochs than the kills leave time for
    ("script", "num_kills", "num_epochs"),
    [("run/pose2d/train.py", 20, 60), ("tests/cvf_tests/background_training.py", 8, 24)],
)
def test_train_killed_repeatedly_equals_an_uninterrupted_run(
    tiny_root, tiny_yaml, tmp_path, script, num_kills, num_epochs
):
    cfg = tiny_yaml(tiny_root(frames=6, mpii=0), resnet=True)
    rng = random.Random(0)
    opts = ("TRAIN.END_EPOCH", num_epochs, "TRAIN.VALIDATE_EVERY", 3, "DATASET.ROT_FACTOR", 20)
    start = time.perf_counter()
    uninterrupted = start_training("run/pose2d/train.py", cfg, tmp_path / "whole", *opts)
    while not (tmp_path / "whole" / RUN / "metrics.jsonl").exists():
        assert uninterrupted.poll() is None, uninterrupted.communicate()
        time.sleep(0.02)
    start_seconds = time.perf_counter() - start
    finish(uninterrupted)

    directory = tmp_path / "killed" / RUN
    checkpoint = directory / "checkpoint.pth.tar"
    positions = [(0, 0)]
    half_written = 0
    for kill in range(num_kills):
        process = start_training(
            script, cfg, tmp_path / "killed", *opts, "TRAIN.CHECKPOINT_STEPS", 1, "WORKERS", kill % 2
        )
        try:
            process.wait(rng.uniform(0.6, 2.0) * start_seconds)
            raise AssertionError(f"the run ended before it could be killed: {process.communicate()}")
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        half_written += any(directory.glob(".checkpoint*.tmp.tar"))
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)  # loads at any time
            positions.append((state["epoch"], state["step"]))
    assert positions == sorted(positions)  # never backwards
    assert len(set(positions)) > num_kills / 3  # and it trained in between
    print(f"{num_kills} kills, {half_written} of them within a checkpoint; positions {positions}")
    finish(start_training(script, cfg, tmp_path / "killed", *opts))

    for name in ("checkpoint.pth.tar", "model_best.pth.tar", "final_state.pth.tar"):
        found, expected = (torch.load(tmp_path / one / RUN / name, weights_only=True) for one in ("killed", "whole"))
        check_equal(found, expected, name)
    assert metrics(directory) == metrics(tmp_path / "whole" / RUN)
    assert not list(directory.glob(".*.tmp*"))
