"""Estimate of the device memory that a training needs, without data, weights or a GPU.

The training steps run on torch's FakeTensorMode: tensors have shapes and types but no data, and every operation runs
except for its arithmetic. A ledger records allocations. It does not see cuDNN workspaces and gaps of the allocator.
"""

import contextlib
import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from lib.core.build_model import build_model
from lib.core.loss import LossSettings, route
from lib.core.runtime.device import autocast_dtype
from lib.core.training.optimizer import build_optimizer
from lib.core.training.step import TrainStep
from lib.dataset.network_input import NetworkInput
from lib.multiviews.cameras import Cameras, CropCameras
from lib.utils.joints import UNION_20
from lib.utils.memory import MemoryLedger
from lib.utils.tables import markdown_table

GIB = 2**30
CARD_GIB = 24
RESERVE_GIB = 2  # for CUDA, cuDNN workspaces and gaps between tensors
H36M_VIEWS = 4
SINGLE_VIEW_DATA_SETS = ("h36m", "mpii")
PARTS = ("weights", "gradients", "optimizer state", "activations")
WEIGHTS, GRADIENTS, STATE, ACTIVATIONS = PARTS
MEMORY_KEYS: dict[str, Any] = {"AMP": "bf16", "CHECKPOINT_ACTIVATIONS": True}  # TRAIN keys that save memory


def memory_table(configs: Iterable[tuple[str, Any]]) -> str:
    """Estimate experiments as configured, with each of MEMORY_KEYS, and with all of them.

    Args:
        configs: names and configurations.

    Returns:
        Markdown table in GiB. The last column says whether RESERVE_GIB of a card of CARD_GIB stay free.
    """
    rows = []
    for name, config in configs:
        for changes in _variants(config.TRAIN):
            changed = copy.deepcopy(config)
            changed.TRAIN.update(changes)
            peak = peak_memory(changed)
            total = sum(peak.values()) / GIB
            keys = ", ".join(f"{key} {str(value).lower()}" for key, value in changes.items())
            rows.append(
                [
                    name,
                    config.TRAIN.BATCH_SIZE,
                    keys or "as configured",
                    *(peak.get(part, 0) / GIB for part in PARTS),
                    total,
                    "yes" if total <= CARD_GIB - RESERVE_GIB else "no",
                ]
            )
    header = ["GiB", "groups", "TRAIN keys", *PARTS, "sum", f"fits {CARD_GIB} GiB"]
    return markdown_table(header, rows, 2)


def peak_memory(config: Any, fake: bool = True) -> dict[str, int]:
    """Return the bytes of each of PARTS at the moment when their sum is largest.

    Runs two training steps (the second with optimizer state) and one validation batch, during which gradients and
    optimizer state stay allocated. The estimate is for one process. Activations include the batch.

    Args:
        config: the configuration; keys of MODEL, NETWORK, TRAIN, TEST, LOSS and DATASET.
        fake: use tensors without data; False computes on the CPU.

    Raises:
        InputError: the settings do not make a network or optimizer.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else contextlib.nullcontext()
    with mode, MemoryLedger(ACTIVATIONS) as ledger:
        model = build_model(config, num_views(config.DATASET), is_train=True, resumes=True).train()  # no weights file
        ledger.label(WEIGHTS, model.state_dict().values())
        optimizer = build_optimizer(config.TRAIN, model)
        # the estimate is for a GPU; a CPU may not support the type of TRAIN.AMP
        autocast = autocast_dtype(config.TRAIN.AMP, torch.device("cuda" if fake else "cpu"))
        step = TrainStep(
            model,
            optimizer,
            torch.device("cpu"),
            config.TRAIN.ACCUMULATE,
            LossSettings.from_config(config.LOSS),
            autocast,
            config.TRAIN.CLIP_NORM,
        )
        step.scaler = None  # reads values and needs almost no memory
        for _ in range(2):
            step(_batch(config, config.TRAIN.BATCH_SIZE))
            ledger.label(GRADIENTS, (one.grad for one in model.parameters() if one.grad is not None))
            values = (value for state in optimizer.state.values() for value in state.values())
            ledger.label(STATE, (value for value in values if isinstance(value, Tensor)))
        batch = _batch(config, config.TEST.BATCH_SIZE)
        with torch.no_grad():
            route(*model.eval()(batch.images, batch.views), batch.is_multiview)
    return ledger.peak()


def num_views(keys: Any) -> int:
    """Return the views of a training item: 1 for single-view data sets, else DATASET.CAMERAS, else 4 of Human3.6M.

    Args:
        keys: the DATASET section.
    """
    if keys.TRAIN_DATASET in SINGLE_VIEW_DATA_SETS:
        return 1
    return len(keys.CAMERAS) or H36M_VIEWS


def _batch(config: Any, batch_size: int) -> NetworkInput:
    views = num_views(config.DATASET)
    joints = len(UNION_20)
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
    """Arbitrary cameras; their values do not affect memory."""
    cameras = Cameras(
        R=torch.eye(3).expand(*shape, 3, 3),
        T=torch.zeros(*shape, 3),
        f=torch.ones(*shape, 2),
        c=torch.zeros(*shape, 2),
        k=torch.zeros(*shape, 3),
        p=torch.zeros(*shape, 2),
    )
    return CropCameras(cameras, torch.eye(2, 3).expand(*shape, 2, 3))


def _variants(train: Any) -> list[dict[str, Any]]:
    """Return no change, each of MEMORY_KEYS that changes something, and all of these."""
    useful = {key: value for key, value in MEMORY_KEYS.items() if train[key] != value}
    if train.FREEZE_BACKBONE:  # a frozen backbone keeps no activations
        useful.pop("CHECKPOINT_ACTIVATIONS", None)
    return [{}, *({key: value} for key, value in useful.items()), *([useful] if len(useful) > 1 else [])]
