from __future__ import annotations

import pytest
import torch
from torch import nn

from lib.core.config_io import load_config
from lib.core.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from lib.models.fusion import CrossViewFusion
from lib.utils.errors import InputError


@pytest.fixture
def config(tmp_path):
    def load(*opts):
        (tmp_path / "a.yaml").write_text("")
        return load_config(tmp_path / "a.yaml", opts)

    return load


def test_rates_drop_at_the_epoch_named(config):
    published = config("TRAIN.LR", "1e-3", "TRAIN.LR_STEP", "[20, 25]")
    rates = [learning_rate(published, epoch) for epoch in (0, 19, 20, 24, 25, 29)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])
    assert learning_rate(config("TRAIN.LR_STEP", "[]", "TRAIN.LR", "0.5"), 1000) == 0.5
    assert learning_rate(config("TRAIN.LR_STEP", "[0]", "TRAIN.LR", "1", "TRAIN.LR_FACTOR", "0.5"), 0) == 0.5


def test_adam_has_no_weight_decay(config):
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(config("TRAIN.LR", "0.25", "TRAIN.WD", "0.5"), model)
    assert isinstance(optimizer, torch.optim.Adam)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.25, 0)


def test_sgd(config):
    opts = ["TRAIN.OPTIMIZER", "sgd", "TRAIN.MOMENTUM", "0.5", "TRAIN.WD", "0.25", "TRAIN.NESTEROV", "true"]
    optimizer = build_optimizer(config(*opts), nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.SGD)
    (group,) = optimizer.param_groups
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.5, 0.25, True)
    with pytest.raises(InputError, match=r"TRAIN\.NESTEROV needs TRAIN\.MOMENTUM"):
        build_optimizer(config(*opts, "TRAIN.MOMENTUM", "0"), nn.Linear(2, 2))


class Network(nn.Module):
    def __init__(self, with_fusion=True):
        super().__init__()
        self.backbone = nn.Linear(2, 2)
        self.fusion = CrossViewFusion(2, (1, 2)) if with_fusion else None


def test_bfloat16_moments_are_those_of_the_fusion_matrices(config):
    model = Network()
    optimizer = build_optimizer(config("TRAIN.FUSION_STATE", "bfloat16", "TRAIN.LR", "0.25"), model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kinds = {name: optimizer.state[parameter]["exp_avg"].dtype for name, parameter in model.named_parameters()}
    assert kinds == {"backbone.weight": torch.float32, "backbone.bias": torch.float32, "fusion.weight": torch.bfloat16}
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    set_learning_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]
    assert isinstance(build_optimizer(config(), model), torch.optim.Adam)


def test_the_seed_of_the_rounding_is_the_configurations(config):
    ends = []
    for seed in ("1", "1", "2"):
        model = Network()
        nn.init.zeros_(model.fusion.weight)
        optimizer = build_optimizer(config("TRAIN.FUSION_STATE", "bfloat16", "SEED", seed), model)
        for step in range(30):
            model.fusion.weight.grad = torch.full_like(model.fusion.weight, 0.1 + 0.01 * step)
            optimizer.step()
        ends.append(model.fusion.weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_bfloat16_moments_need_adam_and_fusion(config):
    with pytest.raises(InputError, match=r"TRAIN\.FUSION_STATE bfloat16 is for TRAIN\.OPTIMIZER adam, received sgd"):
        build_optimizer(config("TRAIN.FUSION_STATE", "bfloat16", "TRAIN.OPTIMIZER", "sgd"), Network())
    with pytest.raises(InputError, match="FUSION_STATE bfloat16 is about the matrices of the learned fusion, which"):
        build_optimizer(config("TRAIN.FUSION_STATE", "bfloat16"), Network(with_fusion=False))
    with pytest.raises(InputError, match="about the matrices of the learned fusion"):
        build_optimizer(config("TRAIN.FUSION_STATE", "bfloat16", "NETWORK.FUSION", "adaptive"), Network())


def test_frozen_weights_are_left_out(config):
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    (group,) = build_optimizer(config(), model).param_groups
    assert group["params"] == [model.weight]


def test_set_learning_rate():
    optimizer = torch.optim.SGD([{"params": [torch.ones(1)]}, {"params": [torch.ones(1)], "lr": 3.0}], lr=1.0)
    set_learning_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]
