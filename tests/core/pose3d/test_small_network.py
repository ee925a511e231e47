"""Optimizer of the small networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.core.pose3d.small_network import matrix, optimize
from lib.core.pose3d.train_choice import ChoiceSettings
from lib.utils.errors import InputError

CPU = torch.device("cpu")


def test_matrix_keeps_the_variance():
    torch.manual_seed(0)
    assert float((torch.randn(200, 400) @ matrix(400, 300)).std()) == pytest.approx(1, abs=0.05)


def test_optimize_fits_the_trained_weights_alone(caplog):
    """Two sets of frames; `fixed` and the weights that are left out keep their values."""
    caplog.set_level("INFO")
    torch.manual_seed(0)
    sets = [torch.randn(30, 2), torch.randn(5, 2)]
    seen = []

    def loss(weights, index, frames):
        seen.append((index, len(frames)))
        error = sets[index][frames] @ weights["a"] + weights["left"] - sets[index][frames] @ weights["target"]
        return error.square().mean()

    settings = ChoiceSettings(epochs=60, frames_per_step=8, learning_rate=0.1, weight_decay=0.0, left_out=("left",))
    target = torch.tensor([[1.0], [-2.0]])
    initial = {"a": torch.zeros(2, 1), "left": torch.ones(1)}
    weights = optimize("test", initial, {"target": target}, [30, 5], loss, settings, CPU)
    np.testing.assert_allclose(weights["a"], target, atol=0.05)
    np.testing.assert_array_equal(weights["target"], target)
    assert weights["left"] == 0
    assert sorted(seen[:5]) == [(0, 6), (0, 8), (0, 8), (0, 8), (1, 5)]  # one epoch
    assert "test: 300 steps; loss of the last epoch 0.000" in caplog.text


def test_optimize_weights_not_finite():
    def loss(weights, index, frames):
        return weights["a"].sum() * torch.inf

    with pytest.raises(InputError, match=r"learned refinement, test: .* not finite \(a\)"):
        optimize("test", {"a": torch.ones(1)}, {}, [4], loss, ChoiceSettings(epochs=1), CPU)
