"""PCKh, the metric of MPII: joints found within a share of the annotated head size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lib.core.evaluation2d.metrics_2d import joint_detection_rate, mean_rate
from lib.utils.tables import markdown_table

# column -> its joints; thorax and root count nowhere
COLUMNS = {
    "Head": ("head top",),
    "Shoulder": ("lsho", "rsho"),
    "Elbow": ("lelb", "relb"),
    "Wrist": ("lwri", "rwri"),
    "Hip": ("lhip", "rhip"),
    "Knee": ("lkne", "rkne"),
    "Ankle": ("lank", "rank"),
}
MEAN = "Mean"
_MEAN_JOINTS = ("upper neck", *(joint for joints in COLUMNS.values() for joint in joints))

Scores = Mapping[str, Mapping[str, float]]  # "PCKh@0.5" and "PCKh@0.1" -> column -> 0 to 1


def pckh(
    predicted_img: np.ndarray,
    true_img: np.ndarray,
    visible: np.ndarray,
    head_size: np.ndarray,
    joint_names: Sequence[str],
    share: float,
) -> dict[str, float]:
    """Share of the annotated joints that are found within a share of the head size.

    Args:
        predicted_img: (M, J, 2) image px.
        true_img: (M, J, 2) image px.
        visible: (M, J) bool; other joints do not count.
        head_size: (M,) image px; images without one (NaN) do not count.
        joint_names: the J joints, MPII's among them.
        share: of the head size, 0.5 or 0.1.

    Returns:
        Columns, each the mean over its left and right joint, and MEAN, in which every annotated joint but thorax
        and root counts once; from 0 to 1, NaN where nothing is annotated.

    Source: the MPII benchmark with the columns of Simple Baselines (Xiao et al., ECCV 2018), where Head is the head
        top alone. Its code takes Mean@0.1 at a share of 0.11; here it is 0.1.
    """
    rates = joint_detection_rate(predicted_img, true_img, visible, share * head_size)
    row = {column: mean_rate(rates[_places(joint_names, joints)]) for column, joints in COLUMNS.items()}
    known = np.isfinite(head_size)
    places = _places(joint_names, _MEAN_JOINTS)
    counts = visible[known][:, places].sum(0)
    row[MEAN] = float(np.nansum(rates[places] * counts) / counts.sum()) if counts.any() else float("nan")
    return row


def _places(joint_names: Sequence[str], joints: Sequence[str]) -> list[int]:
    return [list(joint_names).index(joint) for joint in joints]


def pckh_scores(
    predicted_img: np.ndarray,
    true_img: np.ndarray,
    visible: np.ndarray,
    head_size: np.ndarray,
    joint_names: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Return pckh() at both shares of the benchmark, as "PCKh@0.5" and "PCKh@0.1"."""
    return {
        f"PCKh@{share}": pckh(predicted_img, true_img, visible, head_size, joint_names, share) for share in (0.5, 0.1)
    }


def pckh_table(scores: Mapping[str, Scores]) -> str:
    """Format scores as a Markdown table in per cent: the columns at 0.5, their mean, and the mean at 0.1.

    Args:
        scores: row name -> what pckh_scores() returned.
    """
    rows = [
        [name, *(100 * score["PCKh@0.5"][column] for column in (*COLUMNS, MEAN)), 100 * score["PCKh@0.1"][MEAN]]
        for name, score in scores.items()
    ]
    return markdown_table(["PCKh@0.5 (%)", *COLUMNS, MEAN, f"{MEAN}@0.1"], rows)
