from __future__ import annotations

import pytest
import torch
from torch import nn

from lib.core.config_io import load_config
from lib.core.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from lib.utils.errors import InputError


@pytest.fixture
def config(tmp_path):
    def load(*opts):
        (tmp_path / "a.yaml").write_text("")
        return load_config(tmp_path / "a.yaml", opts)

    return load


def test_learning_rate_drops_at_the_configured_epochs(config):
    published = config("TRAIN.LR", "1e-3", "TRAIN.LR_STEP", "[20, 25]")
    rates = [learning_rate(published.TRAIN, epoch) for epoch in (0, 19, 20, 24, 25, 29)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])
    assert learning_rate(config("TRAIN.LR_STEP", "[]", "TRAIN.LR", "0.5").TRAIN, 1000) == 0.5
    assert learning_rate(config("TRAIN.LR_STEP", "[0]", "TRAIN.LR", "1", "TRAIN.LR_FACTOR", "0.5").TRAIN, 0) == 0.5


def test_build_optimizer_adam_has_no_weight_decay(config):
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(config("TRAIN.LR", "0.25", "TRAIN.WD", "0.5").TRAIN, model)
    assert isinstance(optimizer, torch.optim.Adam)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.25, 0)


def test_build_optimizer_sgd_has_momentum_and_weight_decay(config):
    opts = ["TRAIN.OPTIMIZER", "sgd", "TRAIN.MOMENTUM", "0.5", "TRAIN.WD", "0.25", "TRAIN.NESTEROV", "true"]
    optimizer = build_optimizer(config(*opts).TRAIN, nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.SGD)
    (group,) = optimizer.param_groups
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.5, 0.25, True)
    with pytest.raises(InputError, match=r"TRAIN\.NESTEROV true: expected TRAIN\.MOMENTUM above 0"):
        build_optimizer(config(*opts, "TRAIN.MOMENTUM", "0").TRAIN, nn.Linear(2, 2))


def test_build_optimizer_frozen_parameters_are_left_out(config):
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    (group,) = build_optimizer(config().TRAIN, model).param_groups
    assert group["params"] == [model.weight]


def test_set_learning_rate_sets_all_groups():
    optimizer = torch.optim.SGD([{"params": [torch.ones(1)]}, {"params": [torch.ones(1)], "lr": 3.0}], lr=1.0)
    set_learning_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]
