"""The memory that a training needs on its device, found by running its steps on tensors without data.

Such tensors (torch's FakeTensorMode) have shapes and types, and every operation on them runs as in training but for the
arithmetic; a ledger books what comes and goes. It sees tensors, no workspaces inside cuDNN and no gaps of an allocator.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lib.core.build_model import build_model
from lib.core.loss import route
from lib.core.runtime.device import autocast_dtype
from lib.core.training.optimizer import build_optimizer
from lib.core.training.step import TrainStep
from lib.dataset.network_input import NetworkInput
from lib.models.registry import fusion_name
from lib.multiviews.cameras import Cameras, CropCameras
from lib.utils.joints import UNION_20
from lib.utils.memory import MemoryLedger
from lib.utils.tables import markdown_table

GIB = 2**30
CARD_GIB = 24
RESERVE_GIB = 2  # of the card: CUDA itself, workspaces of cuDNN, gaps between tensors
H36M_VIEWS = 4
SINGLE_VIEW = ("h36m", "mpii")
PARTS = ("weights", "gradients", "optimizer state", "activations")
WEIGHTS, GRADIENTS, STATE, ACTIVATIONS = PARTS
SWITCHES: dict[str, Any] = {"FUSION_STATE": "bfloat16", "AMP": "bf16", "CHECKPOINT_ACTIVATIONS": True}  # in TRAIN


def memory_table(configs: Iterable[tuple[str, Any]]) -> str:
    """Tell for each experiment what it needs as it is, with each of SWITCHES, and with all of them.

    Args:
        configs: names and configurations.

    Returns:
        A Markdown table, GiB; its last column says whether the sum leaves RESERVE_GIB of a card of CARD_GIB.

    Raises:
        InputError: settings that no network or optimizer can have.
    """
    rows = []
    for name, config in configs:
        for changes in _variants(config):
            account = training_account(_changed(config, changes))
            total = sum(account.values()) / GIB
            keys = ", ".join(f"{key} {str(value).lower()}" for key, value in changes.items())
            rows.append(
                [
                    name,
                    config.TRAIN.BATCH_SIZE,
                    keys or "as configured",
                    *(account.get(part, 0) / GIB for part in PARTS),
                    total,
                    "yes" if total <= CARD_GIB - RESERVE_GIB else "no",
                ]
            )
    header = ["GiB", "groups", "TRAIN keys", *PARTS, "sum", f"fits {CARD_GIB} GiB"]
    return markdown_table(header, rows, 2)


def training_account(config: Any, fake: bool = True) -> dict[str, int]:
    """Return the bytes of each of PARTS in the moment when the sum is largest.

    Two steps, the second one with the optimizer's state in place, and a batch of the validation between epochs, for
    which gradients and state stay. One process; activations are everything that is no other part, batch included.

    Args:
        config: the configuration: MODEL, NETWORK, TRAIN, LOSS, DATASET.
        fake: tensors without data; False computes with real ones on the CPU.

    Raises:
        InputError: settings that no network or optimizer can have.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else contextlib.nullcontext()
    with mode, MemoryLedger(ACTIVATIONS) as ledger:
        model = build_model(config, num_views(config), is_train=True, resumes=True).train()  # without a file of weights
        ledger.label(WEIGHTS, model.state_dict().values())
        optimizer = build_optimizer(config, model)
        # A CPU may have to do without the type that AMP asks for; an account for a GPU goes by the key.
        products = autocast_dtype(config, torch.device("cuda" if fake else "cpu"))
        step = TrainStep(model, optimizer, config, torch.device("cpu"), products)
        step.scaler = None  # reads values, and needs none of the memory
        for _ in range(2):
            step(_batch(config, config.TRAIN.BATCH_SIZE))
            ledger.label(GRADIENTS, (one.grad for one in model.parameters() if one.grad is not None))
            values = (value for state in optimizer.state.values() for value in state.values())
            ledger.label(STATE, (value for value in values if isinstance(value, Tensor)))
        _validate(model.eval(), _batch(config, config.TEST.BATCH_SIZE))
    return ledger.peak()


def num_views(config: Any) -> int:
    """Return the views of a training item: 1 of the single-view data sets, DATASET.CAMERAS, else Human3.6M's 4."""
    if config.DATASET.TRAIN_DATASET in SINGLE_VIEW:
        return 1
    return len(config.DATASET.CAMERAS) or H36M_VIEWS


@torch.no_grad()
def _validate(model: nn.Module, inputs: NetworkInput) -> Tensor:
    single, fused = model(inputs.images, inputs.views)
    return route(single, fused, inputs.is_multiview)


def _batch(config: Any, batch_size: int) -> NetworkInput:
    views, joints = num_views(config), len(UNION_20)
    width, height = config.NETWORK.IMAGE_SIZE
    map_width, map_height = config.NETWORK.HEATMAP_SIZE
    return NetworkInput(
        torch.zeros(batch_size, views, 3, height, width),
        torch.zeros(batch_size, views, joints, map_height, map_width),
        torch.ones(batch_size, views, joints, 1),
        torch.ones(batch_size, dtype=torch.bool),
        _crop_cameras((batch_size, views)),
    )


def _crop_cameras(shape: tuple[int, int]) -> CropCameras:
    """Any cameras: what they hold does not matter to the memory."""
    cameras = Cameras(
        R=torch.eye(3).expand(*shape, 3, 3),
        T=torch.zeros(*shape, 3),
        f=torch.ones(*shape, 2),
        c=torch.zeros(*shape, 2),
        k=torch.zeros(*shape, 3),
        p=torch.zeros(*shape, 2),
    )
    return CropCameras(cameras, torch.eye(2, 3).expand(*shape, 2, 3))


def _variants(config: Any) -> list[dict[str, Any]]:
    """Nothing, each switch that changes something, and all of these."""
    train = config.TRAIN
    without_effect = {
        "FUSION_STATE": fusion_name(config.NETWORK) != "learned" or train.OPTIMIZER != "adam" or train.FREEZE_BACKBONE,
        "CHECKPOINT_ACTIVATIONS": train.FREEZE_BACKBONE,  # keeps none of the backbone anyway
    }
    useful = {key: value for key, value in SWITCHES.items() if train[key] != value and not without_effect.get(key)}
    single = [{key: value} for key, value in useful.items()]
    return [{}, *single, *([useful] if len(useful) > 1 else [])]


def _changed(config: Any, changes: Mapping[str, Any]) -> Any:
    changed = copy.deepcopy(config)
    changed.TRAIN.update(changes)
    return changed
