"""2D metrics: the joint detection rate (JDR) in validation, PCK on heatmap peaks in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

HEAD_SHARE = 0.1  # the head is taken as a tenth of the input (or of the crop); half of it is the threshold


def jdr_threshold(kind: str, image_wh: Sequence[int], scale: np.ndarray, head_size: np.ndarray) -> np.ndarray:
    """Half the head size in original image px.

    Args:
        kind: "published": the head is IMAGE_SIZE/10 px in the *original* image, whatever its resolution;
            "crop": a tenth of the side of the crop, so that neither input size nor distance matter;
            "head": the annotated one, the paper's definition.
        image_wh: network input (width, height), px.
        scale: (M, 2) box sides / 200 px.
        head_size: (M,) annotated head sizes, image px, NaN where unknown.

    Returns:
        (M,) thresholds, image px; NaN where unknown.
    """
    if kind == "head":
        return head_size / 2
    side = np.full(len(scale), image_wh[0], np.float64) if kind == "published" else scale[:, 0] * 200.0
    return side * HEAD_SHARE / 2


def joint_detection_rate(
    predicted_img: np.ndarray, true_img: np.ndarray, visible: np.ndarray, threshold: np.ndarray
) -> np.ndarray:
    """Share of the images in which a joint is found within the threshold.

    Args:
        predicted_img: (M, J, 2) image px.
        true_img: (M, J, 2) image px.
        visible: (M, J) bool; other joints do not count.
        threshold: (M,) image px; images without one (NaN) do not count.

    Returns:
        (J,) rates from 0 to 1; NaN for joints that no image shows.

    Source: paper section 5 (JDR); a released-code result equals "published" of jdr_threshold.
    """
    counts = visible & np.isfinite(threshold)[:, None]
    found = counts & (np.linalg.norm(predicted_img - true_img, axis=-1) <= threshold[:, None])
    return np.where(counts.any(0), found.sum(0) / np.maximum(counts.sum(0), 1), np.nan)


def mean_rate(rates: np.ndarray) -> float:
    """Return the mean over the joints that occur; NaN if none does."""
    known = rates[~np.isnan(rates)]
    return float(known.mean()) if known.size else float("nan")


def jdr_table(rates: dict[str, np.ndarray], joint_names: Sequence[str]) -> str:
    """Format rates as a Markdown table in per cent.

    Args:
        rates: row name -> (J,) rates.
        joint_names: the J columns.
    """
    lines = ["| JDR (%) | " + " | ".join([*joint_names, "mean"]) + " |", "|---|" + "---|" * (len(joint_names) + 1)]
    for name, rate in rates.items():
        cells = ["-" if np.isnan(value) else f"{100 * value:.1f}" for value in (*rate, mean_rate(rate))]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def jdr_summary(rates: dict[str, np.ndarray], joint_names: Sequence[str]) -> dict[str, Any]:
    """Rates for a JSON file: row name -> mean and per joint; NaN where no image counts."""
    return {
        name: {"mean": mean_rate(rate), "per_joint": dict(zip(joint_names, rate.tolist(), strict=True))}
        for name, rate in rates.items()
    }


@torch.no_grad()
def heatmap_hits(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Count the heatmap peaks within half of a tenth of the map size.

    Args:
        prediction: (B, V, J, H, W).
        target: (B, V, J, H, W).
        weight: (B, V, J, 1); joints without target do not count.

    Returns:
        (2, J) float64: peaks that are right, and targets.
    """
    height, width = prediction.shape[-2:]

    def peaks(maps: Tensor) -> Tensor:
        best = maps.flatten(-2).argmax(-1)
        return torch.stack([best % width / width, best // width / height], -1)  # (B, V, J, 2)

    found = torch.linalg.vector_norm((peaks(prediction) - peaks(target)) / HEAD_SHARE, dim=-1) < 0.5
    counts = weight[..., 0] > 0
    return torch.stack([(found & counts).sum((0, 1)), counts.sum((0, 1))]).double()


def heatmap_accuracy(hits: Tensor) -> Tensor:
    """Return the mean over the joints that occur of the share found, from (2, J) hits; 0 if none occurs."""
    found, counts = hits
    share = found / counts.clamp(min=1)
    return share.sum() / (counts > 0).sum().clamp(min=1)
