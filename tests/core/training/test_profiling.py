from __future__ import annotations

import json
import logging

import pytest
from cvf_tests.stubs import CPU
from torch.profiler import record_function

from lib.core.build_model import build_model
from lib.core.training.epoch import EpochSettings
from lib.core.training.optimizer import build_optimizer
from lib.core.training.profiling import profile_steps
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError
from lib.utils.parallel.ranks import Ranks


class CountedStep(TrainStep):
    """Counts the groups of each step and marks it in the trace."""

    def __call__(self, inputs, share=1.0):
        self.sizes.append(len(inputs))
        with record_function("counted step"):
            return super().__call__(inputs, share)


@pytest.fixture
def problem(loaders, tmp_path):
    config, loader, _ = loaders(num_views=2, frames=3, mpii=0)("TRAIN.BATCH_SIZE", "2")
    model = build_model(config, 2, is_train=True)
    step = CountedStep(model, build_optimizer(config.TRAIN, model), CPU)
    step.sizes = []
    directory = tmp_path / "run"
    directory.mkdir()
    return step, loader, EpochSettings(loader.dataset.settings, CPU), directory


def test_profile_steps_records_the_steps_after_the_warm_up(problem, caplog):
    step, loader, settings, directory = problem
    with caplog.at_level(logging.INFO):
        profile_steps(2, directory, step, loader, settings)
    assert step.sizes == [2, 1, 2, 1, 2]  # WARM_UP_STEPS and two, over three epochs
    assert [path.name for path in directory.iterdir()] == ["trace.json"]
    events = json.loads((directory / "trace.json").read_text())["traceEvents"]
    assert sum(event.get("name") == "counted step" and event.get("ph") == "X" for event in events) == 2
    (message,) = [message for message in caplog.messages if "profile:" in message]
    assert str(directory / "trace.json") in message
    assert "aten::" in message


def test_profile_steps_ranks_other_than_0_write_nothing(problem):
    step, loader, settings, directory = problem
    loader.batch_sampler.shares = lambda step: [1, 1]
    profile_steps(1, directory, step, loader, settings, Ranks(rank=1, world_size=2))
    assert not list(directory.iterdir())


@pytest.mark.parametrize("num_steps", [0, -1])
def test_profile_steps_number_not_positive_is_refused(problem, num_steps):
    step, loader, settings, directory = problem
    with pytest.raises(InputError, match=f"--profile: expected a positive number of steps, received {num_steps}"):
        profile_steps(num_steps, directory, step, loader, settings)
