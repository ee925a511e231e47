"""One epoch of training, one pass of validation."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from lib.core.config import JDR_THRESHOLDS
from lib.core.evaluate import heatmap_accuracy, jdr_table, jdr_threshold, joint_detection_rate, mean_rate
from lib.core.inference import FLIP_SHIFT_PX, peak_mode, predict_locations
from lib.core.loss import route, total_loss
from lib.core.pckh import pckh_scores, pckh_table
from lib.utils.checks import InputError
from lib.utils.joints import UNION_20, union_subset
from lib.utils.meters import AverageMeter
from lib.utils.prediction_io import PredictionWriter

logger = logging.getLogger(__name__)

DebugHook = Callable[[int, dict[str, Tensor], Tensor], None]

_TRAINING_INPUTS = ("images", "target", "weight", "is_multiview")
_PER_IMAGE = ("center", "scale", "joints_img", "visible", "head_size", "image_index")


def train_one_epoch(
    model: nn.Module,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    config: Any,
    epoch: int,
    device: torch.device,
    debug: DebugHook | None = None,
    scalars: Callable[[str, float, int], None] | None = None,
    products: torch.dtype | None = None,
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
        products: type of the products, of autocast_dtype(); None = float32.

    Returns:
        Mean loss and accuracy over the groups, and groups per second.

    Raises:
        InputError: the loss is not finite; names the images of the batch.
    """
    model.train()
    loader.sampler.epoch = epoch
    meters = _TrainingMeters()
    end = time.perf_counter()
    bar = tqdm(loader, desc=f"epoch {epoch}", unit="batch", disable=None, leave=False)
    for step, batch in enumerate(bar):
        meters.waiting.update(time.perf_counter() - end)
        inputs = {key: batch[key].to(device, non_blocking=True) for key in _TRAINING_INPUTS}
        loss, routed = _train_step(model, optimizer, inputs, config, products)
        if not math.isfinite(loss):
            names = ", ".join(_image_names(loader, batch))
            raise InputError(f"epoch {epoch}, step {step}: the loss is {loss}; images of the batch: {names}")
        accuracy = heatmap_accuracy(routed, inputs["target"], inputs["weight"]).item()
        meters.losses.update(loss, len(routed))
        meters.accuracies.update(accuracy, len(routed))
        bar.set_postfix(loss=f"{meters.losses.average:.4f}", accuracy=f"{meters.accuracies.average:.3f}")
        if step % config.PRINT_FREQ == 0:
            logger.info("epoch %d step %d/%d: %s", epoch, step, len(loader), meters)
            if scalars is not None:
                scalars("train_loss", loss, epoch * len(loader) + step)
                scalars("train_acc", accuracy, epoch * len(loader) + step)
            if debug is not None:
                debug(step, batch, routed)
        end = time.perf_counter()
    return meters.summary()


def _train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: dict[str, Tensor],
    config: Any,
    products: torch.dtype | None,
) -> tuple[float, Tensor]:
    """Return the loss and the routed heatmaps; a loss that is not finite leaves the weights as they are."""
    loss, routed = training_loss(model, inputs, config, products)
    value = loss.item()
    if math.isfinite(value):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return value, routed


def training_loss(
    model: nn.Module, inputs: dict[str, Tensor], config: Any, products: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """Run the network on a batch as training does.

    Args:
        model: images -> (raw heatmaps, fused heatmaps or None).
        inputs: images (B, V, 3, H_in, W_in), target (B, V, J, H, W), weight (B, V, J, 1), is_multiview (B,).
        config: the configuration.
        products: type of the products; None = float32.

    Returns:
        The loss, scalar, and the routed heatmaps (B, V, J, H, W), detached.
    """
    device = inputs["images"].device.type
    with torch.autocast(device, products, enabled=products is not None):
        single, fused = model(inputs["images"])
    single, fused = single.float(), None if fused is None else fused.float()
    weight = inputs["weight"] if config.LOSS.USE_TARGET_WEIGHT else None
    loss = total_loss(single, fused, inputs["target"], weight, inputs["is_multiview"])
    return loss, route(single, fused, inputs["is_multiview"]).detach()


class _TrainingMeters:
    """Loss, accuracy and speed of an epoch so far."""

    def __init__(self) -> None:
        self.losses, self.accuracies, self.waiting = AverageMeter(), AverageMeter(), AverageMeter()
        self._start = time.perf_counter()

    def summary(self) -> dict[str, float]:
        return {
            "loss": self.losses.average,
            "accuracy": self.accuracies.average,
            "groups_per_s": self.losses.count / (time.perf_counter() - self._start),
        }

    def __str__(self) -> str:
        return (
            f"loss {self.losses.value:.5f} ({self.losses.average:.5f}) "
            f"accuracy {self.accuracies.value:.3f} ({self.accuracies.average:.3f}) | "
            f"{self.summary()['groups_per_s']:.1f} groups/s, {self.waiting.average:.3f} s waiting for data"
        )


@dataclass
class ValidationResult:
    """What one pass of validation found.

    Attributes:
        joint_names: the J joints, in union order.
        rates: row name -> (J,) joint detection rates; the first row is the one `perf` is the mean of.
        perf: mean JDR of the routed heatmaps.
        num_images: different images evaluated.
        pckh: row name -> pckh_scores(); empty where no head size is annotated.
    """

    joint_names: list[str]
    rates: dict[str, np.ndarray]
    perf: float
    num_images: int
    pckh: dict[str, dict[str, dict[str, float]]]

    def tables(self) -> str:
        """Format the detection rates and, where known, PCKh as Markdown tables."""
        tables = [jdr_table(self.rates, self.joint_names)]
        if self.pckh:
            tables.append(pckh_table(self.pckh))
        return "\n\n".join(tables)


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
    """Predict all images and count the joints that were found; an image that comes again counts once.

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
        Rates with each threshold that the data set allows and PCKh where it has head sizes, of routed and, where
        there is fusion, raw heatmaps.
    """
    model.eval()
    joints = union_subset(loader.dataset.joint_set)
    columns: dict[str, list[np.ndarray]] = defaultdict(list)
    for step, batch in enumerate(tqdm(loader, desc="validation", unit="batch", disable=None, leave=False)):
        predicted = _predict(model, batch, device, flip_pairs)
        routed = next(iter(predicted.values()))
        if debug is not None and step == 0:
            debug(step, batch, routed)
        flat = {key: batch[key].flatten(0, 1).numpy() for key in _PER_IMAGE}
        for name, maps in predicted.items():
            heatmaps = maps.flatten(0, 1)[:, joints].float().cpu().numpy()  # (B*V, J, H, W)
            locations = predict_locations(
                heatmaps, flat["center"], flat["scale"], config.NETWORK.IMAGE_SIZE, peak_mode(config)
            )
            columns[name].append(locations[..., :2])
            if maps is routed and writer is not None:
                writer.append(heatmaps, locations, _image_names(loader, batch))
        columns["true"].append(flat["joints_img"][:, joints])
        columns["visible"].append(flat["visible"][:, joints])
        for key in ("scale", "head_size", "image_index"):
            columns[key].append(flat[key])
    return _rates(_each_image_once(columns), [UNION_20.names[joint] for joint in joints], config)


def _predict(
    model: nn.Module, batch: dict[str, Tensor], device: torch.device, flip_pairs: list[tuple[int, int]] | None
) -> dict[str, Tensor]:
    """Row name -> heatmaps (B, V, 20, H, W): the routed ones first and, where there is fusion, the raw ones."""
    images = batch["images"].to(device, non_blocking=True)
    single, fused = model(images)
    if flip_pairs is not None:
        single = (single + _mirrored(model, images, flip_pairs)) / 2
    if fused is None:
        return {"single": single}
    return {"fused": route(single, fused, batch["is_multiview"].to(device)), "single": single}


def _image_names(loader: DataLoader, batch: dict[str, Tensor]) -> list[str]:
    return [loader.dataset.image_name(int(index)) for index in batch["image_index"].flatten()]


def _each_image_once(columns: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the batches; the last pseudo-group may repeat images."""
    arrays = {key: np.concatenate(parts) for key, parts in columns.items()}
    _, first = np.unique(arrays["image_index"], return_index=True)
    return {key: array[first] for key, array in arrays.items()}


def _rates(arrays: dict[str, np.ndarray], joint_names: list[str], config: Any) -> ValidationResult:
    head_size, truth = arrays["head_size"], (arrays["true"], arrays["visible"])
    has_heads = bool(np.isfinite(head_size).any())
    kinds = [kind for kind in JDR_THRESHOLDS if kind != "head" or has_heads]
    kinds.sort(key=lambda kind: kind != config.TEST.JDR_THRESHOLD)  # the configured first
    maps = [name for name in ("fused", "single") if name in arrays]
    rates = {}
    for kind in kinds:
        threshold = jdr_threshold(kind, config.NETWORK.IMAGE_SIZE, arrays["scale"], head_size)
        for name in maps:
            rates[f"{name}, {kind} threshold"] = joint_detection_rate(arrays[name], *truth, threshold)
    pckh = {name: pckh_scores(arrays[name], *truth, head_size, joint_names) for name in maps if has_heads}
    return ValidationResult(joint_names, rates, mean_rate(next(iter(rates.values()))), len(head_size), pckh)


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
