"""experiments-philly/train.sbatch with stubs of SLURM's commands; this machine plays two, on the CPU."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cvf_tests.scripts import LONG, REPOSITORY, RUN, wait_for

pytestmark = pytest.mark.slow

SRUN = """#!/bin/bash
# runs the command on each "machine" and forwards signals, as srun does
shift 2
for node in 1 2; do "$@" & pids+=($!); done
trap 'kill -TERM "${pids[@]}"' TERM
wait "${pids[@]}"; wait "${pids[@]}"
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$SCONTROL_LOG"
[ "$1" = show ] && printf 'localhost\\nlocalhost\\n' || true
"""


@pytest.fixture
def submit(tmp_path):
    """submit(*words) runs the script as SLURM does on two machines with one process each."""
    commands = tmp_path / "bin"
    commands.mkdir()
    torchrun = f'#!/bin/bash\nexec {sys.executable} -m torch.distributed.run "$@"\n'
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("torchrun", torchrun)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    environment = {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PORT": port,
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_JOB_ID": "77",
        "SCONTROL_LOG": str(tmp_path / "scontrol.txt"),
    }

    def run(*words: object) -> subprocess.Popen:
        script = REPOSITORY / "experiments-philly/train.sbatch"
        return subprocess.Popen(
            ["bash", str(script), *map(str, words)],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


def scontrol_calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "scontrol.txt").read_text().splitlines()


def test_sbatch_machines_train_together(submit, tiny_root, tiny_yaml, tmp_path):
    job = submit(
        "--cfg", tiny_yaml(tiny_root(frames=4, mpii=0), resnet=True), "--gpus", "cpu", "--opts", "TRAIN.BATCH_SIZE", 1
    )
    out, _ = job.communicate(timeout=240)
    assert job.returncode == 0, out
    assert "2 processes" in out
    directory = tmp_path / "output" / RUN
    assert torch.load(directory / "checkpoint.pth.tar", weights_only=True)["epoch"] == 2
    assert (directory / "final_state.pth.tar").exists()
    assert scontrol_calls(tmp_path) == ["show hostnames node[1-2]"]


def test_sbatch_end_of_time_requeues_the_job(submit, tiny_root, tiny_yaml, tmp_path):
    job = submit("--cfg", tiny_yaml(tiny_root(frames=4, mpii=0), resnet=True), "--gpus", "cpu", "--workers", 2, *LONG)
    wait_for(tmp_path / "output" / RUN / "metrics.jsonl", '"step": 3', job)
    job.send_signal(signal.SIGUSR1)
    out, _ = job.communicate(timeout=240)
    assert job.returncode == 0, out
    assert out.count("interrupted at epoch") == 2  # both processes, after the same step
    state = torch.load(tmp_path / "output" / RUN / "checkpoint.pth.tar", weights_only=True)
    assert f"interrupted at epoch {state['epoch']}, step {state['step']};" in out
    assert scontrol_calls(tmp_path)[-1] == "requeue 77"


def test_sbatch_error_does_not_requeue_the_job(submit, tiny_root, tiny_yaml, tmp_path):
    job = submit(
        "--cfg", tiny_yaml(tiny_root(frames=4, mpii=0), resnet=True), "--gpus", "cpu", "--opts", "TRAIN.LR", "fast"
    )
    out, _ = job.communicate(timeout=240)
    assert job.returncode != 0
    assert "TRAIN.LR" in out
    assert not any("requeue" in line for line in scontrol_calls(tmp_path))
