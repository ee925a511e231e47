from __future__ import annotations

import json
import logging

import pytest
import torch
from cvf_tests.stubs import CPU

from lib.core.build_model import build_model
from lib.core.training.optimizer import build_optimizer
from lib.core.training.profiling import WARM_UP_STEPS, StepProfiler, profile_steps
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError


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


class CountedStep(TrainStep):
    """Notes the number of groups of each step."""

    def __call__(self, inputs, share=1.0):
        self.sizes.append(len(inputs))
        return super().__call__(inputs, share)


def test_so_many_steps_are_trained_over_several_epochs_if_need_be(loaders, tmp_path):
    config, loader, _ = loaders(num_views=2, frames=3, mpii=0)("TRAIN.BATCH_SIZE", "2")
    model = build_model(config, 2, is_train=True)
    step = CountedStep(model, build_optimizer(config, model), config, CPU)
    step.sizes = []
    (tmp_path / "run").mkdir()
    profile_steps(config, 2, tmp_path / "run", step, loader, CPU)
    assert step.sizes == [2, 1, 2, 1, 2]  # WARM_UP_STEPS and two
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["trace.json"]
