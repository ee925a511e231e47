"""One epoch of training, one pass of validation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from lib.core.evaluate import heatmap_accuracy, jdr_threshold, joint_detection_rate
from lib.core.inference import FLIP_SHIFT_PX, predict_locations
from lib.core.loss import route, total_loss
from lib.utils.checks import InputError
from lib.utils.joints import UNION_20, union_subset
from lib.utils.meters import AverageMeter
from lib.utils.prediction_io import PredictionWriter

logger = logging.getLogger(__name__)

DebugHook = Callable[[int, dict[str, Tensor], Tensor], None]


def train_one_epoch(
    model: nn.Module,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    config: Any,
    epoch: int,
    device: torch.device,
    debug: DebugHook | None = None,
    scalars: Callable[[str, float, int], None] | None = None,
) -> dict[str, float]:
    """Train on every batch once.

    Args:
        model: images -> (raw heatmaps, fused heatmaps or None).
        loader: batches of lib.dataset.build.
        optimizer: its learning rate is already that of the epoch.
        config: the configuration.
        epoch: its index, from 0.
        device: where the model lives.
        debug: called every PRINT_FREQ steps with (step, batch, routed heatmaps).
        scalars: called with (name, value, global step) every PRINT_FREQ steps.

    Returns:
        Mean loss and accuracy over the groups, and groups per second.

    Raises:
        InputError: the loss is not finite; names the images of the batch.
    """
    model.train()
    loader.sampler.epoch = epoch
    losses, accuracies, data_time = AverageMeter(), AverageMeter(), AverageMeter()
    start = end = time.perf_counter()
    bar = tqdm(loader, desc=f"epoch {epoch}", unit="batch", disable=None, leave=False)
    for step, batch in enumerate(bar):
        data_time.update(time.perf_counter() - end)
        images = batch["images"].to(device, non_blocking=True)
        target = batch["target"].to(device, non_blocking=True)
        weight = batch["weight"].to(device, non_blocking=True)
        is_multiview = batch["is_multiview"].to(device)
        single, fused = model(images)
        loss = total_loss(single, fused, target, weight if config.LOSS.USE_TARGET_WEIGHT else None, is_multiview)
        if not torch.isfinite(loss):
            names = ", ".join(_image_names(loader, batch))
            raise InputError(f"epoch {epoch}, step {step}: the loss is {loss.item()}; images of the batch: {names}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

        routed = route(single, fused, is_multiview).detach()
        losses.update(loss.item(), len(images))
        accuracies.update(heatmap_accuracy(routed, target, weight).item(), len(images))
        bar.set_postfix(loss=f"{losses.average:.4f}", accuracy=f"{accuracies.average:.3f}")
        if step % config.PRINT_FREQ == 0:
            groups_per_s = losses.count / (time.perf_counter() - start)
            logger.info(
                "epoch %d step %d/%d: loss %.5f (%.5f) accuracy %.3f (%.3f) | %.1f groups/s, %.3f s waiting for data",
                epoch, step, len(loader), losses.value, losses.average, accuracies.value, accuracies.average,
                groups_per_s, data_time.average,
            )  # fmt: skip
            if scalars is not None:
                scalars("train_loss", losses.value, epoch * len(loader) + step)
                scalars("train_acc", accuracies.value, epoch * len(loader) + step)
            if debug is not None:
                debug(step, batch, routed)
        end = time.perf_counter()
    return {
        "loss": losses.average,
        "accuracy": accuracies.average,
        "groups_per_s": losses.count / (time.perf_counter() - start),
    }


@dataclass
class ValidationResult:
    """What one pass of validation found.

    Attributes:
        joint_names: the J joints, in union order.
        rates: row name -> (J,) joint detection rates; the first row is the one `perf` is the mean of.
        perf: mean JDR of the routed heatmaps.
        num_images: images evaluated.
    """

    joint_names: list[str]
    rates: dict[str, np.ndarray]
    perf: float
    num_images: int


@torch.no_grad()
def validate(
    model: nn.Module,
    loader: DataLoader,
    config: Any,
    device: torch.device,
    writer: PredictionWriter | None = None,
    flip_pairs: list[tuple[int, int]] | None = None,
    debug: DebugHook | None = None,
) -> ValidationResult:
    """Predict every image once and count the joints that were found.

    Memory does not grow with the heatmaps: each batch goes to the writer, only positions are kept.

    Args:
        model: as in train_one_epoch.
        loader: unshuffled batches.
        config: the configuration.
        device: where the model lives.
        writer: receives the routed heatmaps and positions of the data set's own joints.
        flip_pairs: indices of left/right joints: average with the mirrored image (only without fusion).
        debug: called with the first batch: (0, batch, routed heatmaps).

    Returns:
        Rates with the published and the crop threshold, of routed and, where there is fusion, raw heatmaps.
    """
    model.eval()
    joints = union_subset(loader.dataset.joint_set)
    image_wh = config.NETWORK.IMAGE_SIZE
    columns: dict[str, list[np.ndarray]] = {key: [] for key in ("fused", "single", "true", "visible", "scale")}
    for step, batch in enumerate(tqdm(loader, desc="validation", unit="batch", disable=None, leave=False)):
        images = batch["images"].to(device, non_blocking=True)
        single, fused = model(images)
        if flip_pairs is not None:
            single = (single + _mirrored(model, images, flip_pairs)) / 2
        routed = route(single, fused, batch["is_multiview"].to(device))
        if debug is not None and step == 0:
            debug(step, batch, routed)
        center, scale = batch["center"].flatten(0, 1).numpy(), batch["scale"].flatten(0, 1).numpy()
        for name, maps in {"fused": routed, "single": single}.items():
            if name == "single" and fused is None:
                continue
            heatmaps = maps.flatten(0, 1)[:, joints].float().cpu().numpy()  # (B*V, J, H, W)
            locations = predict_locations(heatmaps, center, scale, image_wh, config.TEST.POST_PROCESS)
            columns[name].append(locations)
            if name == "fused" and writer is not None:
                writer.append(heatmaps, locations, _image_names(loader, batch))
        columns["true"].append(batch["joints_img"].flatten(0, 1)[:, joints].numpy())
        columns["visible"].append(batch["visible"].flatten(0, 1)[:, joints].numpy())
        columns["scale"].append(scale)
    arrays = {key: np.concatenate(parts) for key, parts in columns.items() if parts}
    return _rates(arrays, [UNION_20.names[joint] for joint in joints], config)


def _image_names(loader: DataLoader, batch: dict[str, Tensor]) -> list[str]:
    return [loader.dataset.image_name(int(index)) for index in batch["image_index"].flatten()]


def _rates(arrays: dict[str, np.ndarray], joint_names: list[str], config: Any) -> ValidationResult:
    kinds = [config.TEST.JDR_THRESHOLD] + [k for k in ("published", "crop") if k != config.TEST.JDR_THRESHOLD]
    label = "fused" if "single" in arrays else "single"
    rates = {}
    for kind in kinds:
        threshold = jdr_threshold(kind, config.NETWORK.IMAGE_SIZE, arrays["scale"])
        for name, row in (("fused", label), ("single", "single")):
            if name in arrays:
                rates[f"{row}, {kind} threshold"] = joint_detection_rate(
                    arrays[name][..., :2], arrays["true"], arrays["visible"], threshold
                )
    perf = float(np.nanmean(next(iter(rates.values()))))
    return ValidationResult(joint_names, rates, perf, len(arrays["scale"]))


def _mirrored(model: nn.Module, images: Tensor, flip_pairs: list[tuple[int, int]]) -> Tensor:
    """Heatmaps of the mirrored images, mirrored back: (B, V, J, H, W)."""
    maps = model(images.flip(-1))[0].flip(-1)
    order = list(range(maps.shape[2]))
    for right, left in flip_pairs:
        order[right], order[left] = left, right
    maps = maps[:, :, order]
    shifted = maps.clone()
    shifted[..., FLIP_SHIFT_PX:] = maps[..., :-FLIP_SHIFT_PX]
    return shifted
