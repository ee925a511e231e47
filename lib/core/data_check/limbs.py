"""Checks of the limb lengths: unit, left against right, outliers, and the facing direction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.core.data_check.findings import ERROR, WARNING, Section
from lib.core.data_check.group_sequence import GroupSequence
from lib.dataset.conventions import MM_PER_UNIT
from lib.utils.joints import JointSet
from lib.utils.tables import markdown_table

_FACING = ("nose", "neck", "root", "lsho", "rsho")


@dataclass(frozen=True)
class LimbSettings:
    """Limits of the checks."""

    thigh_mm: tuple[float, float] = (250.0, 650.0)  # hip to knee, from children to tall adults
    warning_ratio: float = 1.15  # between a limb and its mirror image
    error_ratio: float = 1.5
    min_facing: float = 0.5  # share of the poses whose nose is in front of the neck
    outlier_share: float = 0.25  # deviation from the subject's length / that length
    max_outliers: float = 0.01  # share of the poses; more is an error


LIMITS = LimbSettings()


def check_limbs(groups: GroupSequence, tolerance: float) -> Section:
    """Measure the limbs of the first view of each group; `tolerance` is PICT_STRUCT.LIMB_LENGTH_TOLERANCE, mm.

    Joints that are labeled in no view have no position and do not count.
    """
    section = Section("Limbs")
    body = groups.body
    pose_cam = groups.annotations.labels3d.pose_cam[groups.rows[:, 0]].astype(np.float64)
    pose_cam = np.where(groups.annotations.labeled(groups.rows)[..., None], pose_cam, np.nan)
    lengths = body.limb_lengths(pose_cam)  # (G, E)
    subject = groups.recording[:, 0]
    subjects, index = np.unique(subject, return_inverse=True)
    subject_lengths = np.stack([_nan_median(lengths[subject == one]) for one in subjects])  # (subjects, E)
    mean = _nan_mean(lengths)
    within = np.where(np.isfinite(lengths), np.abs(lengths - mean) < tolerance, np.nan)
    spread = _nan_mean((lengths - mean) ** 2) ** 0.5
    columns = [mean, spread, np.fmin.reduce(lengths), np.fmax.reduce(lengths), 100 * _nan_mean(within)]
    table = [[name, *values] for name, values in zip(body.limb_names, np.stack(columns, 1).tolist(), strict=True)]
    header = ["limb", "mean (mm)", "std", "min", "max", f"within {tolerance:g} mm of the mean (%)"]
    section.body = markdown_table(header, table)
    _check_unit(section, groups, lengths)
    _check_sides(section, body.limb_names, subject_lengths)
    _check_facing(section, groups.annotations.joint_set, pose_cam)
    _check_outliers(section, groups, lengths, subject_lengths[index], tolerance)
    return section


def _nan_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the finite entries of each column of (N, E); NaN if there are none."""
    known = np.isfinite(values)
    return np.where(known.any(0), np.where(known, values, 0.0).sum(0) / known.sum(0).clip(1), np.nan)


def _nan_median(values: np.ndarray) -> np.ndarray:
    """Return the median of the finite entries of each column of (N, E); NaN if there are none."""
    known = np.isfinite(values)
    return np.array(
        [
            np.median(values[known[:, column], column]) if known[:, column].any() else np.nan
            for column in range(values.shape[1])
        ]
    )


def _check_outliers(
    section: Section, groups: GroupSequence, lengths: np.ndarray, expected: np.ndarray, tolerance: float
) -> None:
    """Find poses with limbs (G, E) that differ too much from the subject's own lengths (G, E), mm."""
    away = np.nan_to_num(np.abs(lengths - expected))
    outlier = (away > np.fmax(LIMITS.outlier_share * expected, tolerance)).any(1)
    if outlier.any():
        worst = int(np.argmax(away.max(1)))
        limb = groups.body.limb_names[int(np.argmax(away[worst]))]
        section.add(
            ERROR if outlier.mean() > LIMITS.max_outliers else WARNING,
            f"{outlier.sum()} of {len(outlier)} poses have a limb that is more than {tolerance:g} mm and "
            f"{100 * LIMITS.outlier_share:g} % off the subject's own length (the worst: {groups.name(worst)}, {limb}, "
            f"{away[worst].max():.0f} mm off)",
        )


def _check_unit(section: Section, groups: GroupSequence, lengths: np.ndarray) -> None:
    """Recognize meters and centimeters by the length of the thigh."""
    thighs = [groups.body.limb_names.index(name) for name in ("rhip-rkne", "lhip-lkne")]
    thigh = float(_nan_median(lengths[:, thighs].reshape(-1, 1))[0])
    low, high = LIMITS.thigh_mm
    if np.isnan(thigh) or low <= thigh <= high:
        return
    for unit, factor in MM_PER_UNIT.items():
        if low <= thigh * factor <= high:
            settings = f"DATASET.POSE_UNIT {unit}"
            if _camera_has_same_unit(groups, factor):
                settings += f" and DATASET.CAMERA_UNIT {unit}"
            section.add(ERROR, f"the thigh is {thigh:.3g} long: the 3D joints are in {unit}, not in mm: set {settings}")
            return
    section.add(ERROR, f"the thigh is {thigh:.3g} mm long, people's is {low:g} to {high:g} mm")


def _camera_has_same_unit(groups: GroupSequence, factor: float) -> bool:
    """Return whether T is in the unit of the joints: cameras are about as far apart as from the person."""
    depth = float(np.median(groups.pose_cam[..., 2]))
    centers = groups.cameras.T[0]
    apart = float(np.linalg.norm(centers - centers.mean(0), axis=-1).max())
    return apart < depth * np.sqrt(factor)


def _check_sides(section: Section, names: Sequence[str], subject_lengths: np.ndarray) -> None:
    """Compare left and right limbs of (subjects, E) lengths."""
    for limb, name in enumerate(names):
        parent, child = name.split("-")
        mirrored_parent = f"l{parent[1:]}" if parent.startswith("r") and parent != "root" else parent
        other = f"{mirrored_parent}-l{child[1:]}"
        if not child.startswith("r") or other not in names:
            continue
        ratio = subject_lengths[:, limb] / subject_lengths[:, names.index(other)]
        worst = float(np.exp(np.abs(np.log(ratio[np.isfinite(ratio)])).max(initial=0.0)))
        if worst > LIMITS.warning_ratio:
            section.add(
                ERROR if worst > LIMITS.error_ratio else WARNING,
                f"{name} and {other} differ by {100 * (worst - 1):.0f} %: are the joints in the expected order?",
            )


def _check_facing(section: Section, joints: JointSet, pose_cam: np.ndarray) -> None:
    """Find swapped sides or a mirrored world: the nose is then on the back of the (G, J, 3) poses."""
    if not {*_FACING, "head"} <= set(joints.names):  # without a head joint, "nose" is often the middle of the head
        return
    nose, neck, root, left, right = np.moveaxis(pose_cam[:, joints.indices(_FACING)], 1, 0)
    forward = np.cross(left - right, neck - root)
    in_front = ((nose - neck) * forward).sum(-1)
    in_front = in_front[np.isfinite(in_front)]
    share = float((in_front > 0).mean()) if in_front.size else 1.0
    if share < LIMITS.min_facing:
        section.add(
            ERROR,
            f"in {100 * (1 - share):.0f} % of the poses the nose is on the back: left and right of the 3D joints are "
            "swapped, or the world is mirrored",
        )
