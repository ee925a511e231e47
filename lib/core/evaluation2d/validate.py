"""Validation: predict all test images, write the heatmaps, compute JDR and PCKh. One process or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from lib.core.config import JDR_THRESHOLDS
from lib.core.evaluation2d.metrics_2d import (
    few_images_note,
    jdr_table,
    jdr_threshold,
    joint_detection_rate,
    joint_hits,
    mean_rate,
    pckh_scores,
    pckh_table,
)
from lib.core.evaluation2d.predict_images import DebugHook, predict_images
from lib.core.evaluation2d.validation_settings import ValidationSettings
from lib.utils.errors import InputError
from lib.utils.files.digest import short_digest
from lib.utils.files.prediction_file import PredictionWriter
from lib.utils.joints import UNION_20, JointSet, union_subset
from lib.utils.parallel.distributed import gather_on_main
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks


@dataclass
class ValidationResult:
    """Result of a validation.

    Attributes:
        joint_names: names of the J joints, in union order.
        jdr_threshold: the configured threshold, one of JDR_THRESHOLDS.
        rates: "<heatmaps>, <threshold> threshold" -> (J,) joint detection rates, for all thresholds that can be
            computed, the configured one first. If the annotation marks occluded joints, the configured threshold also
            has "..., occluded joints" and "..., visible joints".
        counts: "all joints", "occluded joints" and "visible joints" -> (J,) number of images that count.
        num_images: number of different images.
        pckh: row name -> pckh_scores(); empty without annotated head sizes.
        loss: mean over groups, as in training; None = not computed.
        hits: key of `rates` at the configured threshold -> (M, J) int8 of the images in the data set's order: 1 joint
            found, 0 not found, -1 does not count.
        truth: digest of the joints that the hits are measured against.
    """

    joint_names: list[str]
    jdr_threshold: str
    rates: dict[str, np.ndarray]
    counts: dict[str, np.ndarray]
    num_images: int
    pckh: dict[str, dict[str, dict[str, float]]]
    loss: float | None = None
    hits: dict[str, np.ndarray] = field(default_factory=dict)
    truth: str = ""

    @property
    def perf(self) -> float:
        """Mean JDR of the routed heatmaps at the configured threshold."""
        return mean_rate(next(iter(self.rates.values())))

    @property
    def original_perf(self) -> float:
        """Mean JDR of the routed heatmaps at the original code's threshold, which its logs call Perf Indicator."""
        return mean_rate(next(iter(self._rates_at("published").values())))

    def means(self) -> str:
        """Return the mean detection rates in one line."""
        rates = self._rates_at(self.jdr_threshold)
        return f"JDR (%): {'; '.join(f'{name} {100 * mean_rate(rate):.1f}' for name, rate in rates.items())}"

    def tables(self) -> str:
        """Format detection rates and PCKh as Markdown tables; name the rates over few images."""
        original = self._rates_at("published") if self.jdr_threshold != "published" else None
        parts = [jdr_table(self._rates_at(self.jdr_threshold), self.joint_names, original)]
        parts += [pckh_table(self.pckh)] if self.pckh else []
        note = few_images_note(self.counts)
        return "\n\n".join([*parts, note] if note else parts)

    def _rates_at(self, kind: str) -> dict[str, np.ndarray]:
        """Return "<heatmaps>" or "<heatmaps>, occluded joints" -> (J,) rates at a threshold."""
        words = f", {kind} threshold"
        return {name.replace(words, ""): rate for name, rate in self.rates.items() if words in name}


def validate(
    model: nn.Module,
    loader: DataLoader,
    settings: ValidationSettings,
    device: torch.device,
    writer: PredictionWriter | None = None,
    debug: DebugHook | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    after_batch: Callable[[], None] | None = None,
) -> ValidationResult | None:
    """Predict all images and compute detection rates. Repeated images count once.

    Memory does not grow with the heatmaps: each batch goes to the writer, only positions are kept.

    Args:
        model: (images, views) -> (single-view heatmaps, fused heatmaps or None), not in DistributedDataParallel.
        loader: unshuffled batches, the share of this rank.
        settings: see ValidationSettings.
        device: device of the model.
        writer: receives routed heatmaps and locations of the data set's joints, on rank 0.
        debug: called with the first batch.
        ranks: the processes that share the work.
        after_batch: called after each batch; it may raise to end the validation.

    Returns:
        Rates of routed and, with fusion, single-view heatmaps; on rank 0 only, else None.

    Raises:
        InputError: `settings.joints` names a joint that the data set does not have.
    """
    columns: list[dict[str, np.ndarray]] = []
    for predicted in predict_images(model, loader, settings, device, debug, ranks, settings.output == "heatmaps"):
        if settings.output != "nothing":
            heatmaps = predicted.heatmaps.numpy() if settings.output == "heatmaps" else None
            written = heatmaps, predicted.locations, predicted.columns["image_index"], predicted.single_view_peaks
            for maps, places, images, peaks in gather_on_main(written, ranks) or ():  # ranks in the data set's order
                if len(places):
                    names = [loader.dataset.image_name(int(index)) for index in images]
                    writer.append(maps, places, names, peaks)
        columns.append(predicted.columns)
        if after_batch is not None:
            after_batch()
    gathered = gather_on_main(concatenated(columns), ranks)
    return None if gathered is None else detection_rates(concatenated(gathered), loader.dataset.joint_set, settings)


def concatenated(columns: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenate the rows of batches or ranks, by column."""
    return {key: np.concatenate([part[key] for part in columns]) for key in columns[0]}


def detection_rates(
    columns: dict[str, np.ndarray], joint_set: JointSet, settings: ValidationSettings
) -> ValidationResult:
    """Compute detection rates from the columns of all images; repeated images count once."""
    _, first = np.unique(columns["image_index"], return_index=True)  # the last pseudo-group repeats images
    columns = {key: array[first] for key, array in columns.items()}
    return _rates(columns, [UNION_20.names[joint] for joint in union_subset(joint_set)], settings)


def _rates(arrays: dict[str, np.ndarray], joint_names: list[str], settings: ValidationSettings) -> ValidationResult:
    if not arrays["visible"].any():
        raise InputError("the test set has no visible joint (joints_vis is 0 everywhere): nothing can be evaluated")
    head_size = arrays["head_size"]
    occluded = arrays["occluded"]
    has_heads = bool(np.isfinite(head_size).any())
    kinds = [kind for kind in JDR_THRESHOLDS if kind != "head" or has_heads]
    kinds.sort(key=lambda kind: kind != settings.jdr_threshold)  # the configured one first
    thresholds = {kind: jdr_threshold(kind, settings.image_wh, arrays["person_side"], head_size) for kind in kinds}
    maps = [name for name in ("fused", "single_view") if name in arrays]
    rates: dict[str, np.ndarray] = {}
    hits: dict[str, np.ndarray] = {}

    def add_rates(row: str, kind: str, visible: np.ndarray) -> None:
        for name in maps:
            inputs = arrays[name], arrays["joints_img"], visible, thresholds[kind]
            rates[f"{name}, {row}"] = joint_detection_rate(*inputs)
            if kind == kinds[0]:
                found, counted = joint_hits(*inputs)
                hits[f"{name}, {row}"] = np.where(counted, found, -1).astype(np.int8)

    for kind in kinds:
        add_rates(f"{kind} threshold", kind, arrays["visible"])
    joints = {"all joints": arrays["visible"]}
    if occluded.any():
        joints["occluded joints"] = arrays["visible"] & occluded
        joints["visible joints"] = arrays["visible"] & ~occluded
        for name in ("occluded joints", "visible joints"):
            add_rates(f"{kinds[0]} threshold, {name}", kinds[0], joints[name])
    known = np.isfinite(thresholds[kinds[0]])
    counts = {name: which[known].sum(0) for name, which in joints.items()}
    gt = (arrays["joints_img"], arrays["visible"])
    pckh = {name: pckh_scores(arrays[name], *gt, head_size, joint_names) for name in maps if has_heads}
    loss = float(arrays["loss"].mean()) if "loss" in arrays else None
    truth = short_digest(arrays["joints_img"].tobytes() + arrays["visible"].tobytes())
    return ValidationResult(joint_names, kinds[0], rates, counts, len(head_size), pckh, loss, hits, truth)
