from __future__ import annotations

import pytest
import torch

from lib.core.config_io import load_config
from lib.core.loss import training_losses
from lib.core.training.learning_check import empty_heatmap_loss, learning_problem, remedy
from lib.dataset.network_input import gaussian_targets


@pytest.mark.parametrize("fusion", ["none", "learned"])
def test_empty_heatmap_loss_is_the_loss_of_zeros(tmp_path, fusion):
    (tmp_path / "a.yaml").write_text(f"NETWORK: {{IMAGE_SIZE: 256, HEATMAP_SIZE: 64, SIGMA: 2, FUSION: {fusion}}}")
    joints = torch.rand(2, 4, 20, 2) * 128 + 64  # the whole Gaussian is inside
    target, weight = gaussian_targets(joints, torch.ones(2, 4, 20, dtype=torch.bool), (256, 256), (64, 64), 2.0)
    zeros = torch.zeros_like(target)
    fused = None if fusion == "none" else zeros
    loss = training_losses(zeros, fused, target, weight, torch.ones(2, dtype=torch.bool)).total.item()
    assert empty_heatmap_loss(load_config(tmp_path / "a.yaml").NETWORK, 4) == pytest.approx(loss, rel=0.02)


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ([{"loss": 0.9, "jdr": 0.0}], None),  # one validation may be too early
        ([{"loss": 0.9, "jdr": 0.0}, {"loss": 0.8, "jdr": 0.2}], None),
        ([{"loss": 0.9}, {"loss": 0.8}], None),
        ([{"loss": 0.9}, {"loss": 145.0}], "loss 145 is 290 times that of empty heatmaps; "),
        ([{"loss": 0.9, "jdr": 0.01}, {"loss": 0.9, "jdr": 0.02}], "JDR is at most 2.0 % after 2 validations; "),
        ([{"loss": 9.0, "jdr": 0.0}] * 3, "loss 9 is 18 times that of empty heatmaps; JDR is at most 0.0 % after 3"),
    ],
)
def test_learning_problem_names_the_signs(tmp_path, history, words):
    (tmp_path / "a.yaml").write_text("")
    problem = learning_problem(history, 0.5, load_config(tmp_path / "a.yaml", ["NETWORK.PRETRAINED", ""]).NETWORK)
    if words is None:
        assert problem is None
    else:
        assert problem.startswith(f"the training does not learn: {words}")
        assert "NETWORK.INIT kaiming" in problem


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (
            ["PRETRAINED", ""],
            "weights (NETWORK.PRETRAINED), or set NETWORK.INIT kaiming NETWORK.FUSION_INIT zeros; try",
        ),
        (["PRETRAINED", "", "INIT", "kaiming", "FUSION_INIT", "zeros"], "weights (NETWORK.PRETRAINED); try"),
        (["PRETRAINED", "a.pth"], "try a smaller TRAIN.LR"),
    ],
)
def test_remedy_names_no_setting_that_is_made(tmp_path, opts, words):
    (tmp_path / "a.yaml").write_text("")
    opts = [f"NETWORK.{word}" if number % 2 == 0 else word for number, word in enumerate(opts)]
    assert (
        remedy(load_config(tmp_path / "a.yaml", opts).NETWORK).removeprefix("start from pretrained ").startswith(words)
    )
