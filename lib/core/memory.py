"""The memory that a configuration needs on its device, found by running its steps on tensors without data.

Such tensors (torch's FakeTensorMode) have shapes and types, and every operation on them runs as in training but for the
arithmetic; a ledger books what comes and goes. It sees tensors, no workspaces inside cuDNN and no gaps of an allocator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lib.core.device import autocast_dtype
from lib.core.function import training_loss
from lib.core.loss import route
from lib.core.solver import build_optimizer
from lib.models.build import build_model
from lib.models.multiview_pose import MultiViewPose
from lib.utils.joints import UNION_20
from lib.utils.memory_ledger import PASSING, MemoryLedger

H36M_VIEWS = 4
SINGLE_VIEW = ("h36m", "mpii")
PARTS = ("weights", "gradients", "optimizer state", "activations kept for the backward pass", "batch", PASSING)
WEIGHTS, GRADIENTS, STATE, ACTIVATIONS, BATCH, _ = PARTS


@dataclass(frozen=True)
class Account:
    """Bytes on the device while steps run.

    Attributes:
        most: part -> its bytes when there are most of them.
        peak: part -> its bytes in the moment when the sum is largest.
    """

    most: dict[str, int]
    peak: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes needed."""
        return sum(self.peak.values())


def num_views(config: Any) -> int:
    """Return the views of a training item: 1 of the single-view data sets, DATASET.CAMERAS, else Human3.6M's 4."""
    if config.DATASET.TRAIN_DATASET in SINGLE_VIEW:
        return 1
    return len(config.DATASET.CAMERAS) or H36M_VIEWS


def training_account(config: Any) -> Account:
    """Account for training steps once the optimizer has its state.

    Args:
        config: the configuration: MODEL, NETWORK, TRAIN, DATASET.CAMERAS.

    Raises:
        InputError: settings that no network or optimizer can have.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), MemoryLedger() as ledger:
        model = _booked_model(config, ledger).train()
        optimizer = build_optimizer(config, model)
        inputs = _booked_batch(config, config.TRAIN.BATCH_SIZE, ledger)
        for _ in range(2):  # the first one makes the state
            _train_step(model, optimizer, inputs, config, ledger)
            ledger.label(GRADIENTS, (parameter.grad for parameter in model.parameters() if parameter.grad is not None))
            ledger.label(STATE, _tensors(state for states in optimizer.state.values() for state in states.values()))
    return Account(*ledger.balance())


def validation_account(config: Any) -> Account:
    """Account for a batch of valid.py; arguments and errors as in training_account()."""
    with FakeTensorMode(allow_non_fake_inputs=True), MemoryLedger() as ledger, torch.no_grad():
        model = _booked_model(config, ledger).eval()
        inputs = _booked_batch(config, config.TEST.BATCH_SIZE, ledger)
        _predict(model, inputs)
    return Account(*ledger.balance())


def _predict(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    single, fused = model(inputs["images"])
    return single, route(single, fused, inputs["is_multiview"])


def _train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: dict[str, Tensor], config: Any, ledger: MemoryLedger
) -> None:
    """What lib.core.function does with a batch, without looking at the loss, which has no value here."""

    def keep(tensor: Tensor) -> Tensor:
        ledger.label(ACTIVATIONS, [tensor])  # weights and batch have their label already
        return tensor

    products = autocast_dtype(config, torch.device("cuda"))  # a CPU may have to do without
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _routed = training_loss(model, inputs, config, products)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _booked_model(config: Any, ledger: MemoryLedger) -> MultiViewPose:
    model = build_model(config, num_views(config))
    ledger.label(WEIGHTS, model.state_dict().values())
    return model


def _booked_batch(config: Any, batch_size: int, ledger: MemoryLedger) -> dict[str, Tensor]:
    views, joints = num_views(config), len(UNION_20.names)
    inputs = {
        "images": torch.empty(batch_size, views, 3, *reversed(config.NETWORK.IMAGE_SIZE)),
        "target": torch.empty(batch_size, views, joints, *reversed(config.NETWORK.HEATMAP_SIZE)),
        "weight": torch.empty(batch_size, views, joints, 1),
        "is_multiview": torch.empty(batch_size, dtype=torch.bool),
    }
    ledger.label(BATCH, inputs.values())
    return inputs


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor)]
