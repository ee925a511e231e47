from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch

from lib.core.loss import Losses
from lib.core.training.epoch_meters import EpochMeters

CPU = torch.device("cpu")


def losses(routed, raw=0.0):
    return Losses(*(torch.tensor(value) for value in (routed + raw, routed, raw)))


def hits(found, counted):
    return torch.tensor([found, counted], dtype=torch.float64)


def test_means_count_groups_and_joints_by_hand():
    meters = EpochMeters(3, CPU)
    meters.update(losses(2.0, 1.0), hits([4, 0, 0], [4, 4, 0]), 4, 0)
    meters.update(losses(5.0, 0.0), hits([0, 1, 0], [1, 1, 0]), 1, 1)
    epoch, window, bad = meters.read()
    assert epoch == window
    assert epoch == pytest.approx(
        {"loss": 17 / 5, "loss_routed": 13 / 5, "loss_raw": 4 / 5, "groups": 5, "accuracy": (4 / 5 + 1 / 5) / 2}
    )
    assert bad == -1
    meters.update(losses(1.0), hits([1, 0, 0], [1, 1, 0]), 1, 2)
    epoch, window, _ = meters.read()
    assert window == pytest.approx({"loss": 1, "loss_routed": 1, "loss_raw": 0, "groups": 1, "accuracy": 0.5})
    assert epoch["loss"] == pytest.approx(18 / 6)


def test_nothing_yet():
    epoch, window, bad = EpochMeters(3, CPU).read()
    assert epoch == window == dict.fromkeys(epoch, 0.0)
    assert bad == -1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_first_bad_step_is_remembered(value):
    meters = EpochMeters(1, CPU)
    for step, loss in enumerate([1.0, value, 2.0, value]):
        meters.update(losses(loss), hits([0], [1]), 1, step)
    assert meters.read()[2] == 1


def test_sums_go_on_from_a_checkpoint():
    whole, first = EpochMeters(2, CPU), EpochMeters(2, CPU)
    for step in range(4):
        for meters in (whole, first) if step < 2 else (whole,):
            meters.update(losses(0.1 * step, 0.3), hits([step, 1], [4, 4]), step + 1, step)
    second = EpochMeters(2, CPU)
    second.load_state(first.state())
    for step in (2, 3):
        second.update(losses(0.1 * step, 0.3), hits([step, 1], [4, 4]), step + 1, step)
    assert second.read()[0] == whole.read()[0]


TWO_PROCESSES = """
import sys, torch
from lib.core.training.epoch_meters import EpochMeters
from lib.core.loss import Losses
from lib.utils.parallel.distributed import process_group
from lib.utils.parallel.ranks import ranks_from_environment

ranks, cpu = ranks_from_environment(), torch.device("cpu")
with process_group(ranks, cpu):
    meters = EpochMeters(1, cpu)
    print(meters.read()[2])
    for step in range(3):
        value = torch.tensor(float("nan") if (ranks.rank, step) in ((1, 1), (0, 2)) else 1.0)
        meters.update(Losses(value, value, value), torch.ones(2, 1, dtype=torch.float64), 1, step)
    print(meters.read()[2])
"""


def test_every_process_hears_of_the_first_bad_step():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES],
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in "01"
    ]
    assert [process.communicate(timeout=120)[0].split() for process in processes] == [["-1", "1"], ["-1", "1"]]
