"""Several training processes on the CPU (gloo), started by torchrun and by the script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import cv2
import h5py
import numpy as np
import pytest
import torch
import yaml
from cvf_tests.forked import ForkedScript, run_ranks
from cvf_tests.scripts import LONG, REPOSITORY, RUN, wait_for

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TRAIN = str(REPOSITORY / "run/pose2d/train.py")


def run(*words: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, env=ENVIRONMENT, timeout=240, **options)


@pytest.mark.slow
def test_train_two_processes_take_equal_steps(tiny_root, tiny_yaml, tmp_path):
    """10 groups in batches of 4; the last batch is smaller."""
    cfg = tiny_yaml(tiny_root(frames=7, mpii=12), resnet=True)
    values = yaml.safe_load(cfg.read_text())
    values["DATASET"]["TRAIN_DATASET"], values["TRAIN"]["BATCH_SIZE"], values["PRINT_FREQ"] = "mixed", 4, 1
    values["TRAIN"]["LR"] = 1e-4  # more, and rounding grows from step to step
    cfg.write_text(yaml.safe_dump(values))
    script = str(REPOSITORY / "tests/cvf_tests/equal_steps.py")
    for out, words in (("one.pt", [sys.executable]), ("two.pt", TORCHRUN)):
        done = run(*words, script, cfg, tmp_path / out)
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert len(one["losses"]) == len(two["losses"]) > 2 * 3
    for expected, found in zip(one["losses"], two["losses"], strict=True):
        for name in ("loss", "loss_routed", "loss_raw", "accuracy"):
            assert found[name] == pytest.approx(expected[name], rel=1e-5), name
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], value, rtol=1e-3, atol=2e-4, msg=name)
    first, second = (one["losses"][step]["loss"] for step in (3, 7))  # means of the epochs, after their 3 steps
    assert second < 0.99 * first  # the weights change


def test_train_two_processes_write_one_set_of_results(tiny_root, tiny_yaml, tmp_path, run_script, monkeypatch):
    root = tiny_root(frames=5, mpii=0)
    for path in (root / "h36m/images").glob("s_01*/*_00000[24].jpg"):  # the share of the second process differs
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    cfg = tiny_yaml(root, resnet=True)

    def start(command: Sequence[str], env: dict[str, str], stderr: IO | None) -> ForkedScript:
        return ForkedScript(command, tmp_path / f"{env['RANK']}.out", tmp_path / f"{env['RANK']}.err", env)

    monkeypatch.setattr("lib.core.runtime.launch.start_detached", start)
    opts = ("--opts", "TRAIN.BATCH_SIZE", 1, "TRAIN.SHUFFLE", "false")
    done = run_script("pose2d/train.py", "--cfg", cfg, "--gpus", "cpu,cpu", *opts)
    assert done.code == 0, [path.read_text() for path in tmp_path.glob("*.err")]
    outs = [(tmp_path / f"{rank}.out").read_text() for rank in range(2)]
    assert [out.count("epoch 0, validation on 20 images") for out in outs] == [1, 0]
    assert "2 processes: a step has 2 groups, TRAIN.BATCH_SIZE 1 per process" in outs[0]
    directory = tmp_path / "output" / RUN
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    # 2 groups a step; the fifth is left out, since one of the processes would have none
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert [line["step"] for line in epochs] == [2, 4]
    alone = run_script("pose2d/valid.py", "--cfg", cfg, "--state", "final")
    assert alone.code == 0, alone.err
    directory = directory / "evaluations/weights=final_state"
    results = (directory / "results_2d.json").read_text()
    assert json.loads(results)["perf"] == epochs[-1]["jdr"]  # with the statistics that are saved
    with h5py.File(directory / "predicted_heatmaps.h5") as file:
        expected = {key: file[key][:] for key in file}
    run_ranks(2, REPOSITORY / "run/pose2d/valid.py", "--cfg", cfg, "--state", "final", folder=tmp_path)
    assert (directory / "results_2d.json").read_text() == results
    with h5py.File(directory / "predicted_heatmaps.h5") as file:
        assert list(file) == list(expected)
        for key, values in expected.items():
            np.testing.assert_array_equal(file[key][:], values, err_msg=key)


def start_training(cfg: Path, *words: object, runner: Sequence[str] = (sys.executable,)) -> subprocess.Popen:
    command = [*runner, TRAIN, "--cfg", str(cfg), *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True, **pipes)


def children_of(process: subprocess.Popen) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not path.exists():
        pytest.skip("this system does not list children")
    return [int(number) for number in path.read_text().split()]


@pytest.mark.slow
def test_train_killed_process_ends_all_with_one_message(tiny_root, tiny_yaml, tmp_path):
    process = start_training(tiny_yaml(tiny_root(frames=4, mpii=0), resnet=True), "--gpus", "cpu,cpu", *LONG)
    wait_for(tmp_path / "output" / RUN / "metrics.jsonl", "loss", process)
    first, second = children_of(process)
    os.kill(second, signal.SIGKILL)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 3
    message = "error: process 1 of 2 was killed by signal 9; training stops; run the same command with --opts "
    assert err.splitlines() == [f"{message}TRAIN.RESUME true to resume from the last checkpoint"]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


@pytest.mark.slow
def test_train_several_processes_bad_input_is_one_line(tiny_root, tiny_yaml):
    root = tiny_root(frames=4, mpii=0)
    min((root / "h36m/images").glob("s_01*/*.jpg")).unlink()
    done = run(sys.executable, TRAIN, "--cfg", tiny_yaml(root, resnet=True), "--gpus", "cpu,cpu")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no such image" in done.stderr


@pytest.mark.parametrize("gpus", ["0", pytest.param("cpu,cpu", marks=pytest.mark.slow)])
def test_train_signal_to_the_process_group_is_resumable(tiny_root, tiny_yaml, tmp_path, run_script, gpus):
    """The loading processes receive the signal too, as from `timeout` or a shell."""
    cfg = tiny_yaml(tiny_root(frames=4, mpii=0), resnet=True)
    workers = ("--workers", 2)
    process = start_training(cfg, "--gpus", gpus, *workers, *LONG)
    wait_for(tmp_path / "output" / RUN / "metrics.jsonl", '"step": 3', process)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 75, err
    assert err.startswith("interrupted at epoch")
    assert err.count("\n") == 1
    state = torch.load(tmp_path / "output" / RUN / "checkpoint.pth.tar", weights_only=True)
    assert f"interrupted at epoch {state['epoch']}, step {state['step']};" in err
    end = state["epoch"] + 1
    resumed = (*LONG[:2], end, *LONG[3:], "TRAIN.RESUME", "true")
    again = run_script("pose2d/train.py", "--cfg", cfg, "--gpus", gpus, *resumed)
    assert again.code == 0, again.err
    logs = "".join(path.read_text() for path in (tmp_path / "output" / RUN).glob("*.log"))
    assert f"resumed from {tmp_path / 'output' / RUN / 'checkpoint.pth.tar'} at epoch {state['epoch']}, step " in logs


@pytest.mark.slow
def test_train_signal_to_torchrun_is_resumable(tiny_root, tiny_yaml, tmp_path):
    cfg = tiny_yaml(tiny_root(frames=4, mpii=0), resnet=True)
    process = start_training(cfg, "--gpus", "cpu", "--workers", 2, *LONG, runner=TORCHRUN)
    wait_for(tmp_path / "output" / RUN / "metrics.jsonl", '"step": 3', process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=90)
    state = torch.load(tmp_path / "output" / RUN / "checkpoint.pth.tar", weights_only=True)
    assert err.count(f"interrupted at epoch {state['epoch']}, step {state['step']};") == 2  # by both processes
