from __future__ import annotations

import json
import logging

import pytest
import torch

from lib.core.profile import WARM_UP_STEPS, StepProfiler
from lib.utils.checks import InputError
from tests.core.stubs import CPU


def train(profiler, num_steps):
    """Steps of one product each."""
    for _ in range(num_steps):
        torch.mm(torch.ones(3, 3), torch.ones(3, 3))
        profiler.step()
    profiler.stop()


def num_products(path):
    return sum(event.get("name") == "aten::mm" for event in json.loads(path.read_text())["traceEvents"])


def test_the_steps_after_the_first_ones_are_recorded(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        train(StepProfiler(2, tmp_path, CPU), WARM_UP_STEPS + 5)
    assert num_products(tmp_path / "trace.json") == 2
    (message,) = [message for message in caplog.messages if "profile:" in message]
    assert str(tmp_path / "trace.json") in message
    assert "aten::mm" in message


def test_a_training_that_is_shorter_leaves_what_there_is(tmp_path):
    train(StepProfiler(100, tmp_path, CPU), WARM_UP_STEPS + 3)
    assert num_products(tmp_path / "trace.json") == 3


def test_nothing_is_recorded_by_default(tmp_path):
    train(StepProfiler(0, tmp_path, CPU), WARM_UP_STEPS + 3)
    assert not list(tmp_path.iterdir())


def test_a_negative_number_is_refused(tmp_path):
    with pytest.raises(InputError, match="--profile: expected a number of steps, received -1"):
        StepProfiler(-1, tmp_path, CPU)
