"""3D errors without alignment, relative to the root and after Procrustes alignment; means, percentiles, PCK and AUC.

Joints without a position (not finite) are left out of means and percentiles. They count as wrong in PCK and AUC. Joints
without a label (NaN in the ground truth) are left out of everything.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lib.dataset.protocol import Parts, action_name
from lib.utils.errors import check_shape

# alignment -> column heading
METRICS = {"absolute": "MPJPE", "root_relative": "root-relative", "pa": "PA"}
PCK_MM = 150.0
AUC_MM = np.arange(0.0, 151.0, 5.0)
PERCENTILES = (50, 90, 95, 99)
MIN_ALIGNED_JOINTS = 3  # a similarity fits two points without error


def joint_errors(pose: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Return the distances (F, J) between poses (F, J, 3), mm."""
    return np.linalg.norm(pose - gt, axis=-1)


def mean_error(errors: np.ndarray) -> float:
    """Return the mean of the finite errors, any shape; NaN if there are none."""
    found = errors[np.isfinite(errors)]
    return float(found.mean()) if found.size else float("nan")


def mpjpe(pose: np.ndarray, gt: np.ndarray) -> float:
    """Return the mean per-joint position error of poses (F, J, 3) without alignment, mm."""
    return mean_error(joint_errors(pose, gt))


def pck(errors: np.ndarray, threshold: float = PCK_MM) -> float:
    """Return the share of errors (any shape, mm) below a threshold, 0 to 1; NaN if there are no errors.

    Source: Mehta et al., 3DV 2017 (MPI-INF-3DHP), with root-relative poses and 150 mm.
    """
    with np.errstate(invalid="ignore"):
        return float((errors < threshold).mean()) if errors.size else float("nan")


def auc(errors: np.ndarray) -> float:
    """Return the mean of pck() over the thresholds 0, 5, ..., 150 mm; at most 30/31, since no error is below 0.

    Source: Mehta et al., 3DV 2017 (MPI-INF-3DHP).
    """
    if not errors.size:
        return float("nan")
    # Thresholds above each error; NaN sorts last.
    passed = len(AUC_MM) - np.searchsorted(AUC_MM, errors.ravel(), side="right")
    return float(passed.mean() / len(AUC_MM))


def percentiles(errors: np.ndarray) -> dict[str, float]:
    """Return "p50", "p90", ... and "max" of the finite errors, mm; NaN if there are none."""
    found = errors[np.isfinite(errors)]
    values = np.percentile(found, [*PERCENTILES, 100]) if found.size else np.full(len(PERCENTILES) + 1, np.nan)
    return dict(zip([*(f"p{percent}" for percent in PERCENTILES), "max"], values.tolist(), strict=True))


def root_relative(pose: np.ndarray, root: int = 0) -> np.ndarray:
    """Return poses (F, J, 3) with their root joint at the origin."""
    return pose - pose[:, root : root + 1]


def procrustes_align(pose: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Align each pose with the ground truth by the best similarity: rotation, translation and scale, no reflection.

    Args:
        pose: (F, J, 3) mm; joints that are not finite are ignored and stay NaN.
        gt: (F, J, 3) mm; the same.

    Returns:
        (F, J, 3) mm, in the frame of the ground truth; NaN for frames with fewer than 3 joints.

    Source: Umeyama, PAMI 1991.
    """
    found = (np.isfinite(pose) & np.isfinite(gt)).all(-1, keepdims=True)  # (F, J, 1)
    count = np.maximum(found.sum(1, keepdims=True), 1)
    pose_center = np.where(found, pose, 0).sum(1, keepdims=True) / count
    gt_center = np.where(found, gt, 0).sum(1, keepdims=True) / count
    from_points = np.where(found, pose - pose_center, 0)
    to_points = np.where(found, gt - gt_center, 0)
    u, singular, vt = np.linalg.svd(to_points.swapaxes(1, 2) @ from_points)
    sign = np.ones((len(pose), 3))
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign[:, None]) @ vt  # (F, 3, 3)
    spread = (from_points**2).sum((1, 2))
    scale = (singular * sign).sum(1) / np.where(spread > 0, spread, 1.0)
    aligned = scale[:, None, None] * (from_points @ rotation.swapaxes(1, 2)) + gt_center
    return np.where(found & (count >= MIN_ALIGNED_JOINTS), aligned, np.nan)


def all_errors(pose: np.ndarray, gt: np.ndarray, root: int = 0) -> dict[str, np.ndarray]:
    """Return the errors (F, J) of poses (F, J, 3) for every alignment, mm; NaN for missing joints and labels."""
    sizes = check_shape("pose", pose.shape, ("F", "J", 3))
    check_shape("gt", gt.shape, (sizes["F"], sizes["J"], 3))
    return {
        "absolute": joint_errors(pose, gt),
        "root_relative": joint_errors(root_relative(pose, root), root_relative(gt, root)),
        "pa": joint_errors(procrustes_align(pose, gt), gt),
    }


def summarize(
    pose: np.ndarray,
    gt: np.ndarray,
    actions: np.ndarray,
    joint_names: Sequence[str],
    root: int = 0,
    parts: Parts | None = None,
) -> dict[str, Any]:
    """Evaluate poses.

    The root-relative error of the root is always 0. It counts in the root-relative mean, as is usual, and is left out
    of the root-relative percentiles, PCK and AUC.

    Args:
        pose: (F, J, 3) mm, world frame; missing joints are NaN.
        gt: (F, J, 3) mm, world frame; joints without a label are NaN.
        actions: (F,) names, or action ids of Human3.6M; tables list them in sorted order.
        joint_names: the J joints.
        root: index of the root joint.
        parts: row -> column -> (F,) bool, parts that are evaluated separately; they may overlap.

    Returns:
        A dictionary; errors in mm, shares from 0 to 1:
            num_frames, num_missing: number of frames and of labeled joints without a position.
            num_unlabeled: number of joints without a label; only if there are any.
            mpjpe: alignment -> {frames, actions}, means over frames and over actions.
            distribution: alignment -> {p50, p90, p95, p99, max, pck150, auc} over all joints of all frames.
            per_action: name -> {num_frames, alignment -> mean, pck150 and auc -> {alignment -> share}}.
            per_joint: name -> the same without num_frames.
            per_part: row -> column -> as per_action, NaN for parts without a frame; only if there are parts.
    """
    errors = all_errors(pose, gt, root)
    labeled = _labeled(gt, root)
    num_unlabeled = int(np.count_nonzero(~labeled["absolute"]))
    everything = np.ones(len(pose), bool)
    per_action = {}
    for action in np.unique(actions):
        name = str(action) if isinstance(action, str) else action_name(action)
        per_action[name] = _frame_statistics(errors, labeled, actions == action, root)
    per_part = {
        row: {column: _frame_statistics(errors, labeled, chosen, root) for column, chosen in columns.items()}
        for row, columns in (parts or {}).items()
    }
    return {
        "num_frames": len(pose),
        "num_missing": int(np.count_nonzero(~np.isfinite(errors["absolute"]) & labeled["absolute"])),
        **({"num_unlabeled": num_unlabeled} if num_unlabeled else {}),
        "mpjpe": {
            metric: {
                "frames": mean_error(values),
                "actions": mean_error(np.array([entry[metric] for entry in per_action.values()])),
            }
            for metric, values in errors.items()
        },
        "distribution": {
            metric: {**percentiles(values), "pck150": pck(values), "auc": auc(values)}
            for metric, values in _without_root(errors, labeled, everything, None, root).items()
        },
        "per_action": per_action,
        "per_joint": {
            name: _statistics(errors, labeled, everything, joint, root) for joint, name in enumerate(joint_names)
        },
        **({"per_part": per_part} if per_part else {}),
    }


# alignment -> (F, J)
_ByAlignment = dict[str, np.ndarray]


def _labeled(gt: np.ndarray, root: int) -> _ByAlignment:
    """Return which joints of (F, J, 3) have a ground truth; relative to the root only if the root has one."""
    known = np.isfinite(gt).all(-1)
    return {metric: known & known[:, root : root + 1] if metric == "root_relative" else known for metric in METRICS}


def _frame_statistics(errors: _ByAlignment, labeled: _ByAlignment, frames: np.ndarray, root: int) -> dict[str, Any]:
    return {"num_frames": int(np.count_nonzero(frames)), **_statistics(errors, labeled, frames, None, root)}


def _statistics(
    errors: _ByAlignment, labeled: _ByAlignment, frames: np.ndarray, joint: int | None, root: int
) -> dict[str, Any]:
    """Return mean, PCK and AUC of some frames (F,) bool and of one joint, or all joints if it is None."""
    joints = slice(None) if joint is None else slice(joint, joint + 1)
    counted = _without_root(errors, labeled, frames, joint, root)
    return {
        **{metric: mean_error(values[frames, joints]) for metric, values in errors.items()},
        "pck150": {metric: pck(values) for metric, values in counted.items()},
        "auc": {metric: auc(values) for metric, values in counted.items()},
    }


def _without_root(
    errors: _ByAlignment, labeled: _ByAlignment, frames: np.ndarray, joint: int | None, root: int
) -> _ByAlignment:
    """Select errors of labeled joints of frames, without the root-relative error of the root; (n,) each."""
    joints = np.arange(errors["absolute"].shape[1]) if joint is None else np.array([joint])
    kept = {metric: joints[joints != root] if metric == "root_relative" else joints for metric in errors}
    return {
        metric: values[frames][:, kept[metric]][labeled[metric][frames][:, kept[metric]]]
        for metric, values in errors.items()
    }
