"""3D metrics in mm: MPJPE absolute, relative to the root, and after Procrustes alignment (PA); tables of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lib.dataset.actions import action_name
from lib.utils.checks import check_shape

# metric -> heading of its column
METRICS = {"absolute": "MPJPE", "root_relative": "root-relative", "pa": "PA"}


def joint_errors(pose: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the distances (F, J) between poses (F, J, 3), mm."""
    return np.linalg.norm(pose - truth, axis=-1)


def mpjpe(pose: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean distance over joints and frames, mm; no alignment.

    Args:
        pose: (F, J, 3) mm, world frame.
        truth: (F, J, 3) mm, same frame.
    """
    return float(joint_errors(pose, truth).mean())


def root_relative(pose: np.ndarray, root: int = 0) -> np.ndarray:
    """Return poses (F, J, 3) with their root joint at the origin."""
    return pose - pose[:, root : root + 1]


def procrustes_align(pose: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Move each pose onto the truth by the best similarity (rotation, translation, scale; no mirroring).

    Args:
        pose: (F, J, 3) mm.
        truth: (F, J, 3) mm.

    Returns:
        (F, J, 3) mm, in the frame of the truth.

    Source: Umeyama, PAMI 1991.
    """
    pose_center, truth_center = pose.mean(1, keepdims=True), truth.mean(1, keepdims=True)
    from_points, to_points = pose - pose_center, truth - truth_center
    u, singular, vt = np.linalg.svd(to_points.swapaxes(1, 2) @ from_points)
    sign = np.ones((len(pose), 3))
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign[:, None]) @ vt  # (F, 3, 3)
    spread = (from_points**2).sum((1, 2))
    scale = (singular * sign).sum(1) / np.where(spread > 0, spread, 1.0)
    return scale[:, None, None] * (from_points @ rotation.swapaxes(1, 2)) + truth_center


def all_errors(pose: np.ndarray, truth: np.ndarray, root: int = 0) -> dict[str, np.ndarray]:
    """Return the distances (F, J) of every metric, mm.

    Args:
        pose: (F, J, 3) mm, world frame.
        truth: (F, J, 3) mm, world frame.
        root: index of the root joint.
    """
    sizes = check_shape("pose", pose.shape, ("F", "J", 3))
    check_shape("truth", truth.shape, (sizes["F"], sizes["J"], 3))
    return {
        "absolute": joint_errors(pose, truth),
        "root_relative": joint_errors(root_relative(pose, root), root_relative(truth, root)),
        "pa": joint_errors(procrustes_align(pose, truth), truth),
    }


def summarise(
    pose: np.ndarray, truth: np.ndarray, actions: np.ndarray, joint_names: Sequence[str], root: int = 0
) -> dict[str, Any]:
    """Evaluate poses.

    Args:
        pose: (F, J, 3) mm, world frame.
        truth: (F, J, 3) mm, world frame.
        actions: (F,) action ids; tables list them in their order.
        joint_names: the J joints.
        root: index of the root joint.

    Returns:
        num_frames; mpjpe: metric -> {frames, actions}, the means over frames and over actions; per_action: name ->
        {num_frames, metric -> mean}; per_joint: name -> {metric -> mean}. All in mm.
    """
    errors = all_errors(pose, truth, root)
    per_action = {}
    for action in np.unique(actions):
        chosen = actions == action
        means = {metric: float(values[chosen].mean()) for metric, values in errors.items()}
        per_action[action_name(action)] = {"num_frames": int(chosen.sum()), **means}
    return {
        "num_frames": len(pose),
        "mpjpe": {
            metric: {
                "frames": float(values.mean()),
                "actions": float(np.mean([entry[metric] for entry in per_action.values()])),
            }
            for metric, values in errors.items()
        },
        "per_action": per_action,
        "per_joint": {
            name: {metric: float(values[:, joint].mean()) for metric, values in errors.items()}
            for joint, name in enumerate(joint_names)
        },
    }


def action_table(results: dict[str, Any]) -> str:
    """Format the means per action as a Markdown table, mm; the last rows are the means over frames and actions."""
    rows = [[name, entry["num_frames"], *(entry[metric] for metric in METRICS)]
            for name, entry in results["per_action"].items()]  # fmt: skip
    for label, kind in (("**mean over frames**", "frames"), ("**mean over actions**", "actions")):
        rows.append([label, results["num_frames"], *(results["mpjpe"][metric][kind] for metric in METRICS)])
    return _table(["action", "frames", *METRICS.values()], rows)


def joint_table(results: dict[str, Any]) -> str:
    """Format the means per joint as a Markdown table, mm."""
    rows = [[name, *(entry[metric] for metric in METRICS)] for name, entry in results["per_joint"].items()]
    return _table(["joint", *METRICS.values()], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    for row in rows:
        cells = [f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
