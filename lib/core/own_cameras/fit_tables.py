"""What was kept of the detections, and how well the poses fit them, as Markdown."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lib.core.own_cameras.recording import Capture
from lib.dataset.conventions import likely_unit
from lib.dataset.own_cameras.calibration_file import Rig
from lib.multiviews.body import H36M_BODY
from lib.multiviews.recording.calibration_check import LARGE, RigCheck
from lib.multiviews.recording.robust_poses import RobustPoses
from lib.utils.errors import InputError
from lib.utils.tables import markdown_table

logger = logging.getLogger(__name__)

_FEW_KEPT = 0.5  # share of the joints
_SHORT_LEG_MM = 450.0  # hip to ankle, from children to tall adults
_USUAL_LEG_MM = 800.0
_LONG_LEG_MM = 1250.0
_LEG_TO_ARM = 1.5  # hip to ankle / shoulder to wrist


def pose_statistics(poses: RobustPoses, capture: Capture) -> dict[str, Any]:
    """Return the figures of poses.

    Args:
        poses: of the F instants and V views.
        capture: names the views and numbers the instants.

    Returns:
        kept_share of the detections; kept_per_view and kept_per_joint; reprojection_px of the kept ones: median, mean,
        p95, and median per_view; limbs: name -> mean, std (mm) and variation (std / mean) over time; exchanged:
        view -> group -> frames; bridged: joint -> number of frames that stand between others. NaN for what is never
        known.
    """
    names = capture.rig.names
    numbers = capture.frame_numbers
    errors = np.where(poses.agrees, poses.error, np.nan)
    swaps = {
        name: {
            group: numbers[poses.exchanged[:, view, number]].tolist()
            for number, group in enumerate(poses.groups)
            if poses.exchanged[:, view, number].any()
        }
        for view, name in enumerate(names)
    }
    return {
        "num_frames": len(poses.known),
        "kept_share": float(poses.agrees.mean()),
        "kept_per_view": dict(zip(names, poses.agrees.mean((0, 2)).tolist(), strict=True)),
        "kept_per_joint": dict(zip(H36M_BODY.joint_names, poses.agrees.mean((0, 1)).tolist(), strict=True)),
        "kept_per_joint_and_view": {
            name: dict(zip(H36M_BODY.joint_names, poses.agrees[:, view].mean(0).tolist(), strict=True))
            for view, name in enumerate(names)
        },
        "reprojection_px": {
            **error_summary(errors),
            "per_view": {name: error_summary(errors[:, view])["median"] for view, name in enumerate(names)},
        },
        "limbs": _limbs(poses),
        "exchanged": {name: groups for name, groups in swaps.items() if groups},
        "bridged": {
            name: int(count) for name, count in zip(H36M_BODY.joint_names, (~poses.known).sum(0), strict=True) if count
        },
    }


def error_summary(errors: np.ndarray) -> dict[str, float]:
    """Return median, mean and 95th percentile of the finite errors; NaN where there are none."""
    known = errors[np.isfinite(errors)]
    values = (np.median(known), known.mean(), np.percentile(known, 95)) if known.size else [np.nan] * 3
    return dict(zip(("median", "mean", "p95"), map(float, values), strict=True))


def _limbs(poses: RobustPoses) -> dict[str, dict[str, float]]:
    lengths = H36M_BODY.limb_lengths(np.where(poses.known[..., None], poses.pose_world, np.nan))
    return {name: _length_summary(lengths[:, limb]) for limb, name in enumerate(H36M_BODY.limb_names)}


def _length_summary(lengths: np.ndarray) -> dict[str, float]:
    known = lengths[np.isfinite(lengths)]
    mean, std = (float(known.mean()), float(known.std())) if known.size else (np.nan, np.nan)
    return {"mean": mean, "std": std, "variation": std / mean}


def pose_tables(statistics: dict[str, Any]) -> str:
    """Format pose_statistics()."""
    views = list(statistics["kept_per_view"])
    error = statistics["reprojection_px"]
    by_view = statistics["kept_per_joint_and_view"]
    joints = [
        [joint, *(100 * by_view[view][joint] for view in views), 100 * share]
        for joint, share in statistics["kept_per_joint"].items()
    ]
    total = ["all", *(100 * statistics["kept_per_view"][view] for view in views), 100 * statistics["kept_share"]]
    limbs = [[name, limb["mean"], limb["std"], 100 * limb["variation"]] for name, limb in statistics["limbs"].items()]
    parts = [
        f"## Kept\n\n{100 * statistics['kept_share']:.1f} % of the joints in {len(views)} views and "
        f"{statistics['num_frames']} instants, in %:\n\n" + markdown_table(["joint", *views, "all"], [*joints, total]),
        "## Reprojection of the kept joints\n\n"
        + markdown_table(
            ["px", *views, "all"],
            [
                ["median", *error["per_view"].values(), error["median"]],
                ["mean", *[None] * len(views), error["mean"]],
                ["95 %", *[None] * len(views), error["p95"]],
            ],
        ),
        "## Limbs over time\n\n" + markdown_table(["limb", "mean (mm)", "std (mm)", "std / mean (%)"], limbs),
        "## Left and right exchanged by the detector\n\n" + (_swaps(statistics["exchanged"]) or "In no frame."),
    ]
    if statistics["bridged"]:
        listed = ", ".join(f"{joint} {count}" for joint, count in statistics["bridged"].items())
        parts.append(f"Instants in which too few views agree on a joint, bridged over time: {listed}.")
    return "\n\n".join(parts)


def _swaps(exchanged: dict[str, dict[str, list[int]]]) -> str:
    rows = [
        [view, group, len(frames), ranges(frames)]
        for view, groups in exchanged.items()
        for group, frames in groups.items()
    ]
    return markdown_table(["view", "joints", "instants", "frames"], rows) if rows else ""


def ranges(numbers: Sequence[int]) -> str:
    """Write ascending numbers as ranges, e.g. "3, 7-9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def capture_tables(capture: Capture) -> str:
    """Format what there is: videos, offsets in time, notes."""
    rig = capture.rig
    videos = capture.videos
    rows = []
    for view, name in enumerate(rig.names):
        video = [None, None] if videos is None else [int(videos.num_frames[view]), float(videos.rates[view])]
        offset = (
            [None, None]
            if capture.offsets is None
            else [float(capture.offsets.frames[view]), float(capture.offsets.spread[view])]
        )
        used = f"{capture.table[0, view]} to {capture.table[-1, view]}"
        rows.append([name, f"{rig.image_wh[view][0]} x {rig.image_wh[view][1]}", *video, used, *offset])
    header = ["view", "size (px)", "frames", "per second", "used", "late by (frames)", "pairs disagree by"]
    text = (
        f"{len(capture)} instants of {len(rig)} views, {capture.rate:g} per second, numbered as the frames of "
        f"{rig.names[capture.reference]}: {capture.frame_numbers[0]} to {capture.frame_numbers[-1]}, counted from "
        f"0, at {capture.time_s[0]:.2f} to {capture.time_s[-1]:.2f} s.\n\n"
    )
    text += markdown_table(header, rows)
    if capture.offsets is not None and np.abs(np.nan_to_num(capture.offsets.frames)).max() >= 1.5:
        text += "\n\nViews are late or early; --synchronise corrects whole frames."
    return "\n\n".join([text, *(f"- {note}" for note in capture.notes)])


def rig_tables(check: RigCheck, names: Sequence[str]) -> str:
    """Format the check of the cameras, with a verdict in its last line."""
    rows = [
        [
            name,
            100 * float(check.error[view]),
            100 * float(check.from_others[view]),
            *(100 * float(value) for value in check.pairs[:, view]),
        ]
        for view, name in enumerate(names)
    ]
    header = ["view", "reprojection", "from the others", *(f"lines of {name}" for name in names)]
    return (
        f"Medians in % of the person's size in the image:\n\n{markdown_table(header, rows, 2)}\n\n"
        f"{rig_verdict(check, names)}"
    )


def rig_verdict(check: RigCheck, names: Sequence[str]) -> str:
    """Say whether the cameras fit together."""
    if check.off == ():
        return f"The cameras fit together (no view is more than {100 * LARGE:g} % off)."
    if check.off is None:
        return (
            "**The cameras do not fit together, and too few agree to say which one is wrong; check calibration, "
            "names, sizes and synchronisation.**"
        )
    listed = ", ".join(names[view] for view in check.off)
    return f"**{listed}: does not fit the other cameras, which fit each other; check its calibration and its timing.**"


def require_poses(poses: RobustPoses, check: RigCheck, rig: Rig) -> None:
    """Raise an InputError that says what may be wrong with the cameras.

    That is if no joint is known in any instant, or if the person would have a human size in another unit of length.
    """
    if not poses.known.any():
        verdict = rig_verdict(check, rig.names).strip("*")
        raise InputError(
            f"the views agree on no joint in any instant. {verdict} A larger --tolerance or a "
            "smaller --min-views would take more for agreement."
        )
    leg_mm = _leg_mm(_limbs(poses))
    fitting = likely_unit(leg_mm, rig.unit, _USUAL_LEG_MM) if leg_mm > 0 else rig.unit  # NaN: never seen
    if fitting != rig.unit:
        raise InputError(
            f"--unit {rig.unit}: the person's legs would be {leg_mm / 1000:.3g} m long; --unit {fitting} fits"
        )


def _leg_mm(limbs: Mapping[str, Mapping[str, float]]) -> float:
    """Return the length from hip to ankle; where the legs are never seen, what the arms say; NaN without them."""
    legs = [sum(limbs[name]["mean"] for name in (f"{side}hip-{side}kne", f"{side}kne-{side}ank")) for side in "rl"]
    arms = [sum(limbs[name]["mean"] for name in (f"{side}sho-{side}elb", f"{side}elb-{side}wri")) for side in "rl"]
    leg_mm = sum(legs) / 2
    return _LEG_TO_ARM * sum(arms) / 2 if np.isnan(leg_mm) else leg_mm


def warn(statistics: dict[str, Any], check: RigCheck, names: Sequence[str]) -> list[str]:
    """Log what is wrong with the calibration or the joints, and return it for a report."""
    verdict = "" if check.off == () else rig_verdict(check, names)
    texts = [text for text in (_size_warning(statistics), _kept_warning(statistics), verdict) if text]
    for text in texts:
        logger.warning("%s", text.strip("*"))
    return texts


def _kept_warning(statistics: dict[str, Any]) -> str:
    """Say so if the views hardly agree, else ""."""
    if statistics["kept_share"] >= _FEW_KEPT:
        return ""
    return (
        f"**The views agree on {100 * statistics['kept_share']:.0f} % of the joints only: the poses are not to be "
        "trusted. A network that looked in the wrong place needs --detections beside --checkpoint.**"
    )


def _size_warning(statistics: dict[str, Any]) -> str:
    """Say so if the person has no human size, else ""."""
    leg = _leg_mm(statistics["limbs"])
    if not (leg < _SHORT_LEG_MM or leg > _LONG_LEG_MM):  # NaN: never seen
        return ""
    return f"**The person's legs are {leg:.0f} mm long: a child, or the scale of the calibration is wrong.**"
