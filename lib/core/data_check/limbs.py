"""Are the limbs as long as people's, the same on both sides and in all frames?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.core.data_check.findings import ERROR, WARNING, Section
from lib.core.data_check.group_sequence import GroupSequence
from lib.dataset.conventions import MM_PER_UNIT
from lib.utils.joints import JointSet
from lib.utils.tables import markdown_table

THIGH_MM = (250.0, 650.0)  # hip to knee, from children to tall adults
MAX_SIDES_RATIO = 1.15  # of a limb and that of the other side: a warning, an error
WRONG_SIDES_RATIO = 1.5
SOME_AHEAD = 0.5  # share of the poses whose nose is in front of the neck; most are
_FACING = ("nose", "neck", "root", "lsho", "rsho")
OUTLIER_SHARE = 0.25  # of a limb's length
MAX_OUTLIERS = 0.01  # share of the poses


def check_limbs(views: GroupSequence, tolerance: float) -> Section:
    """Measure the limbs of the 3D joints, one view of each group.

    Args:
        views: the groups.
        tolerance: PICT_STRUCT.LIMB_LENGTH_TOLERANCE, mm.
    """
    section = Section("Limbs")
    body = views.body
    pose_cam = views.annotations.labels3d.pose_cam[views.groups[:, 0]].astype(np.float64)  # all views would be too much
    lengths = body.limb_lengths(pose_cam)  # (G, E)
    subject = views.recording[:, 0]
    subjects, index = np.unique(subject, return_inverse=True)
    own_length = np.stack([np.median(lengths[subject == one], axis=0) for one in subjects])  # (subjects, E)
    mean = lengths.mean(0)
    columns = [mean, lengths.std(0), lengths.min(0), lengths.max(0), 100 * (np.abs(lengths - mean) < tolerance).mean(0)]
    rows = [[name, *(float(column[limb]) for column in columns)] for limb, name in enumerate(body.limb_names)]
    header = ["limb", "mean (mm)", "std", "min", "max", f"within {tolerance:g} mm of the mean (%)"]
    section.body = markdown_table(header, rows)
    _check_unit(section, views, lengths)
    _check_sides(section, body.limb_names, own_length)
    _check_facing(section, views.annotations.joint_set, pose_cam)
    _check_outliers(section, views, np.abs(lengths - own_length[index]), own_length[index], tolerance)
    return section


def _check_outliers(
    section: Section, views: GroupSequence, away: np.ndarray, own_length: np.ndarray, tolerance: float
) -> None:
    """Find poses (G, E) whose limbs are too far from the subject's own lengths (G, E), mm."""
    outlier = (away > np.maximum(OUTLIER_SHARE * own_length, tolerance)).any(1)
    if outlier.any():
        worst = int(np.argmax(away.max(1)))
        limb = views.body.limb_names[int(np.argmax(away[worst]))]
        level = ERROR if outlier.mean() > MAX_OUTLIERS else WARNING
        which = f"the worst: {views.name(worst)}, {limb}, {away[worst].max():.0f} mm off"
        section.add(
            level,
            f"{outlier.sum()} of {len(outlier)} poses have a limb that is more than {tolerance:g} mm "
            f"and {100 * OUTLIER_SHARE:g} % off the subject's own length ({which})",
        )


def _check_unit(section: Section, views: GroupSequence, lengths: np.ndarray) -> None:
    """Recognise metres and centimetres by the length of the thigh."""
    names = views.body.limb_names
    thighs = [names.index(name) for name in ("rhip-rkne", "lhip-lkne")]
    thigh = float(np.median(lengths[:, thighs]))
    if THIGH_MM[0] <= thigh <= THIGH_MM[1]:
        return
    for unit, factor in MM_PER_UNIT.items():
        if THIGH_MM[0] <= thigh * factor <= THIGH_MM[1]:
            both = _camera_unit_too(views, factor)
            settings = f"DATASET.POSE_UNIT {unit}" + (f" and DATASET.CAMERA_UNIT {unit}" if both else "")
            section.add(ERROR, f"the thigh is {thigh:.3g} long: the 3D joints are in {unit}, not in mm: set {settings}")
            return
    section.add(ERROR, f"the thigh is {thigh:.3g} mm long, people's is {THIGH_MM[0]:g} to {THIGH_MM[1]:g} mm")


def _camera_unit_too(views: GroupSequence, factor: float) -> bool:
    """Tell whether T is in the unit of the joints: the cameras then stand about as far apart as they see the person."""
    depth = float(np.median(views.pose_cam[..., 2]))
    centres = views.cameras.T[0]
    apart = float(np.linalg.norm(centres - centres.mean(0), axis=-1).max())
    return apart < depth * np.sqrt(factor)


def _check_sides(section: Section, names: Sequence[str], own_length: np.ndarray) -> None:
    """Compare left and right limbs of (subjects, E) lengths."""
    for limb, name in enumerate(names):
        parent, child = name.split("-")
        if not child.startswith("r"):
            continue
        other = f"{'l' + parent[1:] if parent.startswith('r') and parent != 'root' else parent}-l{child[1:]}"
        if other in names:
            ratio = own_length[:, limb] / own_length[:, names.index(other)]
            worst = float(np.exp(np.abs(np.log(ratio)).max()))
            if worst > MAX_SIDES_RATIO:
                section.add(
                    ERROR if worst > WRONG_SIDES_RATIO else WARNING,
                    f"{name} and {other} differ by {100 * (worst - 1):.0f} %: are the joints in the expected order?",
                )


def _check_facing(section: Section, joints: JointSet, pose_cam: np.ndarray) -> None:
    """Find left and right exchanged everywhere, or a mirrored world: the face is then on the back of the body.

    Args:
        section: receives the finding.
        joints: names of the joints.
        pose_cam: (G, J, 3) mm.
    """
    if not {*_FACING, "head"} <= set(joints.names):  # without a head joint, "nose" is often the middle of the head
        return
    nose, neck, root, left, right = np.moveaxis(pose_cam[:, joints.indices(_FACING)], 1, 0)
    forward = np.cross(left - right, neck - root)
    ahead = ((nose - neck) * forward).sum(-1) > 0
    share = float(ahead.mean())
    if share < SOME_AHEAD:
        section.add(
            ERROR,
            f"in {100 * (1 - share):.0f} % of the poses the nose is on the back: left and right of the "
            "3D joints are exchanged, or the world is mirrored",
        )
