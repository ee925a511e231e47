"""Refines the calibration of a recording, and writes calibration, report and figure. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib.core.own_cameras.recording import FLIP_PAIRS, Recording
from lib.core.rig_refinement.rig_report import save_rig_report
from lib.dataset.own_cameras.calibration_file import Rig
from lib.dataset.own_cameras.calibration_writer import write_rig
from lib.multiviews.body import H36M_BODY
from lib.multiviews.rig.rig_parameters import RigState
from lib.multiviews.rig.rig_refinement import RefinementSettings, RigRefinement
from lib.multiviews.rig.rig_verdict import NOT_TRUSTED, RIGHT, RigVerdict, judge_rig
from lib.utils.errors import InputError
from lib.utils.files.atomic import make_directory, write_bytes

_SHARES = {"rhip-rkne": 0.245, "rkne-rank": 0.246, "rsho-relb": 0.186, "relb-rwri": 0.146}  # of the height
_HEIGHT_MM = (900.0, 2300.0)  # from children to tall adults


@dataclass(frozen=True)
class RefinedRecording:
    """Result of refine_recording().

    Attributes:
        given: the given rig.
        rig: the refined rig; the given one if it is right or the refinement is not to be trusted.
        verdict: the verdict.
        height_mm: height of the person with the given scale, from the limb lengths; NaN = unknown.
        scale: factor of the given scale, from the known height.
    """

    given: Rig
    rig: Rig
    verdict: RigVerdict
    height_mm: float
    scale: float = 1.0


def refine_recording(recording: Recording, focal: bool = False, height_mm: float | None = None) -> RefinedRecording:
    """Refine the rig of a recording.

    Args:
        recording: result of associate().
        focal: estimate the focal lengths.
        height_mm: height of the person, which sets the scale; None = the scale of the given rig.

    Raises:
        InputError: there are fewer than 2 views with detections, or the height is implausible.
    """
    if recording.points is None:
        raise InputError("there are no detections; name them with --detections")
    if height_mm is not None and not _HEIGHT_MM[0] <= height_mm <= _HEIGHT_MM[1]:
        raise InputError(
            f"--height: expected {_HEIGHT_MM[0] / 1000:g} to {_HEIGHT_MM[1] / 1000:g} m, received {height_mm / 1000:g}"
        )
    rig = recording.rig
    consecutive = bool((np.diff(recording.frame_numbers) == 1).all())
    settings = RefinementSettings(focal=focal, clocks=consecutive)
    verdict = judge_rig(recording.points, rig.cameras, rig.image_wh, rig.names, H36M_BODY, FLIP_PAIRS, settings)
    if verdict.refinement is None:
        return RefinedRecording(rig, rig, verdict, np.nan)
    found_mm = person_height(verdict.refinement)
    scale = height_mm / found_mm if height_mm and np.isfinite(found_mm) else 1.0
    if not _HEIGHT_MM[0] <= found_mm * scale <= _HEIGHT_MM[1]:
        reason = (
            f"the person would be {found_mm / 1000:.2f} m tall: the scale of the rig is wrong; check --unit {rig.unit}"
            ", or name the height of the person with --height"
        )
        verdict = replace(verdict, kind=NOT_TRUSTED, reasons=(*verdict.reasons, reason))
    if verdict.kind == NOT_TRUSTED or (verdict.kind == RIGHT and scale == 1.0):
        return RefinedRecording(rig, rig, verdict, found_mm)
    cameras = rig.cameras if verdict.kind == RIGHT else verdict.refinement.state.cameras
    middle = cameras.T.mean(0)
    cameras = replace(cameras, T=middle + scale * (cameras.T - middle)) if scale != 1.0 else cameras
    return RefinedRecording(rig, replace(rig, cameras=cameras), verdict, found_mm, scale)


def person_height(found: RigRefinement) -> float:
    """Estimate the height of the person from the median lengths of thighs, shanks and arms, mm; NaN = none is seen.

    Source: segment lengths of Drillis and Contini, 1966, as shares of the height.
    """
    seen = found.adjustment.weight.sum(1) > 1.5  # (N, J)
    lengths = H36M_BODY.limb_lengths(np.where(seen[..., None], found.adjustment.points, np.nan))
    heights = []
    for name, share in _SHARES.items():
        for side in "rl":
            limb = "-".join(side + joint[1:] for joint in name.split("-"))
            known = lengths[:, H36M_BODY.limb_names.index(limb)]
            known = known[np.isfinite(known)]
            if known.size:
                heights.append(np.median(known) / share)
    return float(np.median(heights)) if heights else np.nan


def save_refined_recording(path: Path, given_path: Path, recording: Recording, result: RefinedRecording) -> None:
    """Write the calibration, unless it is not to be trusted, and next to it report (.md), results (.json) and figure.

    A rig that stays is a copy of the given file.

    Args:
        path: calibration file to write.
        given_path: the given file.
        recording: the recording.
        result: result of refine_recording().
    """
    if result.verdict.kind == NOT_TRUSTED:
        path.unlink(missing_ok=True)
    elif result.rig is result.given:
        make_directory(path.parent)
        write_bytes(path, given_path.read_bytes())
    else:
        found = result.verdict.refinement
        metadata = {
            "refined_from": given_path.name,
            "sync_offset_frames": first_offsets(found.state).round(4),
            "sync_drift": (found.state.drift / max(len(recording) - 1, 1)).round(8),
        }
        write_rig(path, result.rig, metadata)
    save_rig_report(path, recording, result)


def first_offsets(state: RigState) -> np.ndarray:
    """Return the sync offsets (V,) at the first frame, as in the reports of recordings."""
    return state.lag(np.array([-0.5]))[0]
