"""2D metrics: joint detection rate (JDR), PCKh, and PCK of heatmap peaks (training accuracy)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.core.config import FEW_IMAGES
from lib.utils.tables import markdown_table

HEAD_SHARE = 0.1  # assumed head size / side of the person's box or heatmap; half a head is the threshold

# PCKh column -> joints; thorax and root are not part of PCKh
PCKH_COLUMNS = {
    "Head": ("head top",),
    "Shoulder": ("lsho", "rsho"),
    "Elbow": ("lelb", "relb"),
    "Wrist": ("lwri", "rwri"),
    "Hip": ("lhip", "rhip"),
    "Knee": ("lkne", "rkne"),
    "Ankle": ("lank", "rank"),
}
PCKH_MEAN = "Mean"
_PCKH_JOINTS = ("upper neck", *(joint for joints in PCKH_COLUMNS.values() for joint in joints))


def jdr_threshold(kind: str, image_wh: Sequence[int], person_side: np.ndarray, head_size: np.ndarray) -> np.ndarray:
    """Return half the head size in px of the original image.

    Args:
        kind: definition of the head size. "crop": a tenth of the person's box of 2 m, i.e. 200 mm at the person;
            "published": IMAGE_SIZE/10 px of the original image, at any distance; "head": the annotated head.
        image_wh: network input (width, height), px.
        person_side: (M,) side of the person's box, image px.
        head_size: (M,) annotated head sizes, image px; NaN if unknown.

    Returns:
        (M,) thresholds, image px; NaN if unknown.
    """
    if kind == "head":
        return head_size / 2
    side = np.full(len(person_side), image_wh[0]) if kind == "published" else person_side
    return side.astype(np.float64) * HEAD_SHARE / 2


def joint_hits(
    predicted_img: np.ndarray, gt_img: np.ndarray, visible: np.ndarray, threshold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints that are predicted within the threshold, and those that count, (M, J) bool.

    Arguments as in joint_detection_rate().
    """
    counts = visible & np.isfinite(threshold)[:, None]
    return counts & (np.linalg.norm(predicted_img - gt_img, axis=-1) <= threshold[:, None]), counts


def joint_detection_rate(
    predicted_img: np.ndarray, gt_img: np.ndarray, visible: np.ndarray, threshold: np.ndarray
) -> np.ndarray:
    """Return the share of images in which a joint is predicted within the threshold.

    Args:
        predicted_img: (M, J, 2) image px.
        gt_img: (M, J, 2) image px.
        visible: (M, J) bool; other joints do not count.
        threshold: (M,) image px; images with NaN do not count.

    Returns:
        (J,) rates from 0 to 1; NaN for joints without annotation.

    Source: paper section 5 (JDR). The threshold "published" gives the result of the original code.
    """
    found, counts = joint_hits(predicted_img, gt_img, visible, threshold)
    return np.where(counts.any(0), found.sum(0) / np.maximum(counts.sum(0), 1), np.nan)


def mean_rate(rates: np.ndarray) -> float:
    """Return the mean over all rates that are not NaN; NaN if there is none."""
    known = rates[~np.isnan(rates)]
    return float(known.mean()) if known.size else float("nan")


def jdr_table(
    rates: Mapping[str, np.ndarray], joint_names: Sequence[str], original: Mapping[str, np.ndarray] | None = None
) -> str:
    """Format rates as a Markdown table in percent.

    Args:
        rates: row name -> (J,) rates.
        joint_names: names of the J joints.
        original: row name -> (J,) rates at the original code's threshold; their means are a column.
    """
    header = ["JDR (%)", *joint_names, "mean"]
    columns = {name: [*rate, mean_rate(rate)] for name, rate in rates.items()}
    if original:
        header.append("original code's threshold")
        for name, values in columns.items():
            values.append(mean_rate(original[name]) if name in original else np.nan)
    return markdown_table(header, [[name, *(100 * float(one) for one in values)] for name, values in columns.items()])


def few_images_note(counts: Mapping[str, np.ndarray]) -> str:
    """Return a line that names the rates over fewer than FEW_IMAGES images; "" if there are none.

    Args:
        counts: kind of joints, e.g. "occluded joints" -> (J,) number of images that count for each joint.
    """
    few = []
    for name, count in counts.items():
        known = count[count > 0]
        if known.size and known.min() < FEW_IMAGES:
            low, high = int(known.min()), int(known.max())
            few.append(f"{name} {low}" + (f" to {high}" if high > low else ""))
    if not few:
        return ""
    return f"Few images per joint: {', '.join(few)}. A rate over fewer than {FEW_IMAGES} images is imprecise."


def jdr_summary(rates: Mapping[str, np.ndarray], joint_names: Sequence[str]) -> dict[str, Any]:
    """Return row name -> mean and per-joint rates for results_2d.json; NaN if no image counts."""
    return {
        name: {"mean": mean_rate(rate), "per_joint": dict(zip(joint_names, rate.tolist(), strict=True))}
        for name, rate in rates.items()
    }


def pckh(
    predicted_img: np.ndarray,
    gt_img: np.ndarray,
    visible: np.ndarray,
    head_size: np.ndarray,
    joint_names: Sequence[str],
    share: float,
) -> dict[str, float]:
    """Return the share of annotated joints that are predicted within a share of the head size.

    Args:
        predicted_img: (M, J, 2) image px.
        gt_img: (M, J, 2) image px.
        visible: (M, J) bool; other joints do not count.
        head_size: (M,) image px; images with NaN do not count.
        joint_names: names of the J joints; MPII's must be among them.
        share: share of the head size, 0.5 or 0.1.

    Returns:
        PCKH_COLUMNS, each the mean over its left and right joint, and PCKH_MEAN over all annotated joints but thorax
        and root; 0 to 1, NaN without annotation.

    Source: MPII benchmark with the columns of Simple Baselines (Xiao et al., ECCV 2018), whose Head is the head top
    only. Its code computes Mean@0.1 with a share of 0.11; here the share is 0.1.
    """
    rates = joint_detection_rate(predicted_img, gt_img, visible, share * head_size)
    names = list(joint_names)
    scores = {
        column: mean_rate(rates[[names.index(joint) for joint in joints]]) for column, joints in PCKH_COLUMNS.items()
    }
    joints = [names.index(joint) for joint in _PCKH_JOINTS]
    counts = visible[np.isfinite(head_size)][:, joints].sum(0)
    scores[PCKH_MEAN] = float(np.nansum(rates[joints] * counts) / counts.sum()) if counts.any() else float("nan")
    return scores


def pckh_scores(
    predicted_img: np.ndarray,
    gt_img: np.ndarray,
    visible: np.ndarray,
    head_size: np.ndarray,
    joint_names: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Return {"PCKh@0.5": pckh(...), "PCKh@0.1": pckh(...)}."""
    return {
        f"PCKh@{share}": pckh(predicted_img, gt_img, visible, head_size, joint_names, share) for share in (0.5, 0.1)
    }


def pckh_table(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Format scores as a Markdown table in percent: columns and mean at 0.5, mean at 0.1.

    Args:
        scores: row name -> pckh_scores().
    """
    rows = [
        [
            name,
            *(100 * score["PCKh@0.5"][column] for column in (*PCKH_COLUMNS, PCKH_MEAN)),
            100 * score["PCKh@0.1"][PCKH_MEAN],
        ]
        for name, score in scores.items()
    ]
    return markdown_table(["PCKh@0.5 (%)", *PCKH_COLUMNS, PCKH_MEAN, f"{PCKH_MEAN}@0.1"], rows)


@torch.no_grad()
def heatmap_hits(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Count heatmap peaks within half of HEAD_SHARE of the map size.

    Args:
        prediction: (B, V, J, H, W).
        target: (B, V, J, H, W).
        weight: (B, V, J, 1); joints with weight 0 do not count.

    Returns:
        (2, J) float64: correct peaks, and targets.
    """
    height, width = prediction.shape[-2:]

    def peaks(maps: Tensor) -> Tensor:
        best = maps.flatten(-2).argmax(-1)
        return torch.stack([best % width / width, best // width / height], -1)  # (B, V, J, 2)

    found = torch.linalg.vector_norm((peaks(prediction) - peaks(target)) / HEAD_SHARE, dim=-1) < 0.5
    counts = weight[..., 0] > 0
    return torch.stack([(found & counts).sum((0, 1)), counts.sum((0, 1))]).double()


def heatmap_accuracy(hits: Tensor) -> Tensor:
    """Return the share of correct peaks from (2, J) hits, averaged over joints that have targets; 0 if none has."""
    found, counts = hits
    share = found / counts.clamp(min=1)
    return share.sum() / (counts > 0).sum().clamp(min=1)
