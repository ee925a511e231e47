"""Statistics of a recording's poses, warnings, and the tables of the report."""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lib.core.own_cameras.recording import Recording
from lib.dataset.conventions import likely_unit
from lib.dataset.own_cameras.calibration_file import Rig
from lib.multiviews.body import H36M_BODY
from lib.multiviews.recording.calibration_check import MAX_ERROR, CalibrationCheck
from lib.multiviews.recording.robust_poses import SOURCES, RobustPoses
from lib.utils.errors import InputError
from lib.utils.tables import markdown_table

logger = logging.getLogger(__name__)

_FEW_KEPT = 0.5  # share of inliers below which the poses are unreliable
_LEG_MM = (450.0, 1250.0)  # hip to ankle, from children to tall adults
_USUAL_LEG_MM = 800.0
_LEG_TO_ARM = 1.5  # hip to ankle / shoulder to wrist
_SOURCE_COLUMNS = ("not given", *SOURCES[1:])
_LATE_FRAMES = 1.5  # sync offset that is reported


def pose_statistics(poses: RobustPoses, recording: Recording) -> dict[str, Any]:
    """Return the statistics of poses, as stored in results.json.

    Returns:
        num_frames, num_with_person: frames, and frames in which a view detects the person; shares count the latter.
        kept_share: share of inliers, also kept_per_view, kept_per_joint and kept_per_joint_and_view.
        reprojection_px: median, mean and p95 of the inliers, and the median per_view.
        limbs: name -> mean and std over time (mm), and variation = std / mean.
        swapped: view -> limb pair -> frames.
        noise_px: view -> standard deviation of the detections per axis.
        left_out: views that do not fit the others and are not used.
        sources: joint -> source (SOURCES) -> share of the frames.
        sd_mm: joint -> median standard deviation per axis; NaN without.
        settings: in words.
    """
    names, joints = recording.rig.names, H36M_BODY.joint_names
    seen = poses.person_seen
    agrees, origin = poses.agrees[seen], poses.source[seen]
    errors = np.where(poses.agrees, poses.error, np.nan)
    swaps = {
        name: {
            pair: recording.frame_numbers[poses.swapped[:, view, number]].tolist()
            for number, pair in enumerate(poses.limb_pairs)
            if poses.swapped[:, view, number].any()
        }
        for view, name in enumerate(names)
    }
    return {
        "num_frames": len(poses.known),
        "num_with_person": int(seen.sum()),
        "kept_share": float(agrees.mean()),
        "kept_per_view": _by_name(names, agrees.mean((0, 2))),
        "kept_per_joint": _by_name(joints, agrees.mean((0, 1))),
        "kept_per_joint_and_view": {name: _by_name(joints, agrees[:, view].mean(0)) for view, name in enumerate(names)},
        "reprojection_px": {
            **error_summary(errors),
            "per_view": {name: error_summary(errors[:, view])["median"] for view, name in enumerate(names)},
        },
        "limbs": _limb_statistics(poses),
        "swapped": {name: pairs for name, pairs in swaps.items() if pairs},
        "noise_px": _by_name(names, poses.noise.px),
        "left_out": [names[view] for view in poses.noise.off],
        "sources": {
            name: {source: float((origin[:, joint] == number).mean()) for number, source in enumerate(SOURCES)}
            for joint, name in enumerate(joints)
        },
        "sd_mm": {name: error_summary(poses.sd_mm[:, joint])["median"] for joint, name in enumerate(joints)},
        "settings": poses.settings.describe(),
    }


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, Any]:
    return dict(zip(names, values.tolist(), strict=True))


def error_summary(errors: np.ndarray) -> dict[str, float]:
    """Return median, mean and 95th percentile of the finite errors; NaN without any."""
    known = errors[np.isfinite(errors)]
    values = (np.median(known), known.mean(), np.percentile(known, 95)) if known.size else [np.nan] * 3
    return dict(zip(("median", "mean", "p95"), map(float, values), strict=True))


def _limb_statistics(poses: RobustPoses) -> dict[str, dict[str, float]]:
    lengths = H36M_BODY.limb_lengths(np.where(poses.known[..., None], poses.pose_world, np.nan))
    statistics = {}
    for limb, name in enumerate(H36M_BODY.limb_names):
        known = lengths[np.isfinite(lengths[:, limb]), limb]
        mean, std = (float(known.mean()), float(known.std())) if known.size else (np.nan, np.nan)
        statistics[name] = {"mean": mean, "std": std, "variation": std / mean if mean else np.nan}
    return statistics


def pose_tables(statistics: Mapping[str, Any]) -> str:
    """Format pose_statistics() as Markdown."""
    views = list(statistics["kept_per_view"])
    error = statistics["reprojection_px"]
    by_view = statistics["kept_per_joint_and_view"]
    joints = [
        [joint, *(100 * by_view[view][joint] for view in views), 100 * share]
        for joint, share in statistics["kept_per_joint"].items()
    ]
    total = ["all", *(100 * statistics["kept_per_view"][view] for view in views), 100 * statistics["kept_share"]]
    errors = [
        ["median", *error["per_view"].values(), error["median"]],
        ["mean", *[None] * len(views), error["mean"]],
        ["95 %", *[None] * len(views), error["p95"]],
        ["noise of the detections", *statistics["noise_px"].values(), None],
    ]
    sources = [
        [joint, *(100 * share for share in shares.values()), statistics["sd_mm"][joint]]
        for joint, shares in statistics["sources"].items()
    ]
    limbs = [[name, limb["mean"], limb["std"], 100 * limb["variation"]] for name, limb in statistics["limbs"].items()]
    swaps = [
        [view, pair, len(frames), ranges(frames)]
        for view, pairs in statistics["swapped"].items()
        for pair, frames in pairs.items()
    ]
    parts = [
        "## Kept joints\n\nA joint is kept in a view if its detection agrees with the other views. "
        f"{100 * statistics['kept_share']:.1f} % of the joints in {len(views)} views and "
        f"{statistics['num_with_person']} frames are kept; in %:",
        markdown_table(["joint", *views, "all"], [*joints, total]),
        "## Reprojection error of the kept joints",
        markdown_table(["px", *views, "all"], errors),
        f"## Sources of the joints\n\n{statistics['settings']} Share of the frames in %, by the source of the joint: "
        "three or more views, two views, bridged from the frames around, or not given. The standard deviation is per "
        "axis.",
        markdown_table(["joint", *_SOURCE_COLUMNS, "median sd (mm)"], sources),
        "## Limb lengths over time",
        markdown_table(["limb", "mean (mm)", "std (mm)", "std / mean (%)"], limbs),
        "## Left/right swaps of the detector",
        markdown_table(["view", "joints", "count", "frames"], swaps) if swaps else "None.",
    ]
    absent = statistics["num_frames"] - statistics["num_with_person"]
    if absent:
        parts.append(
            f"No view detects the person in {absent} of {statistics['num_frames']} frames. Shares do not count them."
        )
    return "\n\n".join(parts)


def ranges(numbers: Sequence[int]) -> str:
    """Format ascending numbers as ranges, e.g. "3, 7-9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def recording_tables(recording: Recording) -> str:
    """Format videos, sync offsets and notes as Markdown."""
    rig, videos, offsets, numbers = recording.rig, recording.videos, recording.sync_offsets, recording.frame_numbers
    drifts = offsets is not None and bool(offsets.drift.any())
    rows = []
    for view, name in enumerate(rig.names):
        width, height = rig.image_wh[view]
        video = [None, None] if videos is None else [int(videos.num_frames[view]), f"{videos.rates[view]:.7g}"]
        used = f"{recording.table[0, view]} to {recording.table[-1, view]}"
        offset = [None, None] if offsets is None else [float(offsets.frames[view]), float(offsets.spread[view])]
        drift = [f"{100 * offsets.drift[view]:+.3f}"] if drifts else []
        rows.append([name, f"{width} x {height}", *video, used, *offset, *drift])
    header = ["view", "size (px)", "frames", "per second", "used", "sync offset (frames)", "pairs disagree by"]
    header += ["drift (%)"] if drifts else []
    parts = [
        f"{len(recording)} frames of {len(rig)} views, {recording.rate:g} per second, numbered as in the video of "
        f"{rig.names[recording.reference]}: {numbers[0]} to {numbers[-1]}, counted from 0, at "
        f"{recording.time_s[0]:.2f} to {recording.time_s[-1]:.2f} s.",
        markdown_table(header, rows),
    ]
    if offsets is not None and np.abs(np.nan_to_num(offsets.largest(len(recording)))).max() >= _LATE_FRAMES:
        parts.append("The views are not in sync; --synchronize corrects whole frames and drift.")
    return "\n\n".join([*parts, *(f"- {note}" for note in recording.notes)])


def report_parts(recording: Recording, statistics: Mapping[str, Any], check: CalibrationCheck) -> list[str]:
    """Return warnings and tables of a recording and its poses as Markdown paragraphs; warnings are also logged."""
    return [
        *warnings_of(statistics, check, recording.rig.names),
        recording_tables(recording),
        "## Cameras",
        calibration_tables(check, recording.rig.names),
        pose_tables(statistics),
    ]


def calibration_tables(check: CalibrationCheck, names: Sequence[str]) -> str:
    """Format the camera check as Markdown, with the verdict in its last line."""
    rows = [
        [name, *(100 * float(value) for value in (check.error[view], check.from_others[view], *check.pairs[:, view]))]
        for view, name in enumerate(names)
    ]
    header = ["view", "reprojection", "from the others", *(f"lines of {name}" for name in names)]
    return "\n\n".join(
        [
            "Median errors in % of the person's size in the image. Reprojection: points triangulated from all views; "
            "from the others: points triangulated without this view; lines of a view: distance to its epipolar lines.",
            markdown_table(header, rows, 2),
            calibration_verdict(check, names),
        ]
    )


def calibration_verdict(check: CalibrationCheck, names: Sequence[str]) -> str:
    """Return whether the cameras fit together, in words."""
    if check.off == ():
        return f"The cameras fit together (no view is off by more than {100 * MAX_ERROR:g} %)."
    if check.off is None:
        return (
            "**The cameras do not fit together, and too few agree to decide which one is wrong; check calibration, "
            "names, sizes and synchronization.**"
        )
    listed = ", ".join(names[view] for view in check.off)
    return f"**{listed}: does not fit the other cameras, which fit each other; check its calibration and its sync.**"


def require_consensus(poses: RobustPoses, check: Callable[[], CalibrationCheck], rig: Rig) -> None:
    """Raise an InputError if no joint is known, or if the person has a human size in another unit of length.

    Args:
        poses: triangulated poses.
        check: returns the camera check, which takes long and is called only for the message.
        rig: the cameras.
    """
    if not poses.known.any():
        verdict = calibration_verdict(check(), rig.names).strip("*")
        raise InputError(
            f"the views agree on no joint in any frame. {verdict} A larger --tolerance or a smaller --min-views "
            "accepts more joints."
        )
    leg_mm = _leg_mm(_limb_statistics(poses))
    fitting = likely_unit(leg_mm, rig.unit, _USUAL_LEG_MM) if leg_mm > 0 else rig.unit  # NaN: unknown
    if fitting != rig.unit:
        raise InputError(
            f"--unit {rig.unit}: the person's legs would be {leg_mm / 1000:.3g} m long; --unit {fitting} fits"
        )


def _leg_mm(limbs: Mapping[str, Mapping[str, float]]) -> float:
    """Return the length from hip to ankle, estimated from the arms if no leg is known; NaN without both."""

    def mean_length(*joints: str) -> float:
        pairs = [f"{side}{a}-{side}{b}" for side in "rl" for a, b in itertools.pairwise(joints)]
        return sum(limbs[name]["mean"] for name in pairs) / 2

    leg_mm = mean_length("hip", "kne", "ank")
    return _LEG_TO_ARM * mean_length("sho", "elb", "wri") if np.isnan(leg_mm) else leg_mm


def warnings_of(statistics: Mapping[str, Any], check: CalibrationCheck, names: Sequence[str]) -> list[str]:
    """Log warnings on the calibration and the joints, and return them in bold for a report."""
    leg_mm = _leg_mm(statistics["limbs"])
    texts = []
    if leg_mm < _LEG_MM[0] or leg_mm > _LEG_MM[1]:  # false for NaN
        texts.append(
            f"**The person's legs are {leg_mm:.0f} mm long: a child, or the scale of the calibration is wrong.**"
        )
    if statistics["kept_share"] < _FEW_KEPT:
        texts.append(
            f"**The views agree on {100 * statistics['kept_share']:.0f} % of the joints only: the poses are "
            "unreliable. Check the cameras, the frame numbers of the views, and the joints in the images.**"
        )
    if statistics["left_out"]:
        listed = ", ".join(statistics["left_out"])
        texts.append(f"**{listed}: left out, since it does not fit the other views, which fit each other.**")
    if check.off != ():
        texts.append(calibration_verdict(check, names))
    for text in texts:
        logger.warning("%s", text.strip("*"))
    return texts
