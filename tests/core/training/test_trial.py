from __future__ import annotations

import logging
from collections import namedtuple

import pytest
import torch
from cvf_tests.stubs import CPU
from torch import nn

from lib.core.training.checkpoint import Progress, save_training_state, training_state
from lib.core.training.epoch import EpochSettings
from lib.core.training.optimizer import build_optimizer
from lib.core.training.step import TrainStep
from lib.core.training.trial import dry_run, overfit
from lib.utils.errors import InputError, ProgramExit


class OneAnswer(nn.Module):
    """Gives the same heatmaps (V, J, H, W) for every group, so it can learn one group."""

    fusion = None

    def __init__(self, num_views):
        super().__init__()
        self.maps = nn.Parameter(torch.zeros(num_views, 20, 16, 16))
        self.others = nn.Parameter(torch.zeros(500_000))  # 2 MB

    def forward(self, images, views=None):
        return (self.maps + 0 * self.others.sum()).expand(len(images), *self.maps.shape), None


@pytest.fixture
def problem(loaders):
    """problem(*opts) -> configuration, training and validation loader, settings; 3 groups of 2 views."""

    def make(*opts):
        config, *both = loaders(num_views=2, frames=3, mpii=0)("NETWORK.FUSION", "none", "TRAIN.LR", "0.1", *opts)
        return config, both, EpochSettings(both[0].dataset.settings, CPU)

    return make


@pytest.fixture
def learn(problem):
    config, (loader, _), settings = problem("DATASET.ROT_FACTOR", "40", "TRAIN.BATCH_SIZE", "2")

    def run(num_groups, max_steps):
        model = OneAnswer(2)
        step = TrainStep(model, build_optimizer(config.TRAIN, model), CPU)
        overfit(num_groups, max_steps, step, loader.dataset, settings, config)

    return run


def test_overfit_learns_a_group_without_augmentation(learn, caplog):
    with caplog.at_level(logging.INFO):
        learn(1, 300)
    assert "overfit: 1 groups learned after" in caplog.messages[-1]


def test_overfit_groups_that_the_network_cannot_learn_end_with_code_1(learn):
    with pytest.raises(ProgramExit, match=r"expected a loss of at most 5 % .* on 3 groups, received .* after 60 steps"):
        learn(3, 60)
    assert ProgramExit.exit_code == 1


@pytest.mark.parametrize("num_groups", [0, 4])
def test_overfit_wrong_number_of_groups_is_refused(learn, num_groups):
    with pytest.raises(InputError, match=f"--overfit: expected 1 to 3 groups, received {num_groups}"):
        learn(num_groups, 1)


@pytest.fixture
def rehearse(problem, tmp_path):
    """rehearse(*opts) makes a dry run and returns its step and configuration."""

    def run(*opts):
        config, both, settings = problem("TRAIN.BATCH_SIZE", "1", "TRAIN.END_EPOCH", "7", *opts)
        model = OneAnswer(2)
        step = TrainStep(model, build_optimizer(config.TRAIN, model), CPU)
        dry_run(config, tmp_path / "output/run", step, both, settings)
        return config, step

    return run


@pytest.mark.parametrize("opts", [(), ("TRAIN.KEEP_CHECKPOINTS", "3")])
def test_dry_run_knows_the_sizes_of_the_files(rehearse, tmp_path, caplog, opts):
    with caplog.at_level(logging.INFO):
        config, step = rehearse(*opts)
    assert not (tmp_path / "output").exists()
    first, table, last = caplog.messages
    assert "3 steps of" in first
    assert "for 7 epochs" in first
    sizes = {row.split("|")[1].strip(): float(row.split("|")[3]) for row in table.splitlines()[3:]}
    state = training_state(config.MODEL, step.network, step.optimizer, Progress())
    save_training_state(tmp_path / "a", state, [tmp_path / "b"])
    for name, file in (("checkpoint.pth.tar", "a"), ("model_best.pth.tar", "b"), ("final_state.pth.tar", "b")):
        assert sizes[name] == pytest.approx((tmp_path / file).stat().st_size / 1e6, abs=0.1)
    if opts:
        assert sizes["2 earlier checkpoints"] == pytest.approx(
            2 * sizes["checkpoint.pth.tar"], abs=0.16
        )  # three rounded values
    assert last.endswith("nothing was written")


def test_dry_run_full_disk_is_said(rehearse, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("lib.core.training.trial.shutil.disk_usage", lambda path: usage(10**6))
    with pytest.raises(ProgramExit, match=r"expected 0\.0 GB of free disk, received 0\.0 GB"):
        rehearse()


def test_dry_run_loss_that_is_not_finite_is_said(rehearse):
    with pytest.raises(ProgramExit, match="dry run: expected finite losses, received"):
        rehearse("TRAIN.LR", "1e30")
