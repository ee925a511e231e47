"""Verdict on a calibration: right as it is, refined, or not to be trusted and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.recording.robust_poses import RobustSettings, sizes_over_time
from lib.multiviews.rig.rig_faults import lens_faults, mirrored_principal_points, wrong_convention
from lib.multiviews.rig.rig_parameters import CENTER, DRIFT, FOCAL, OFFSET, ROTATION
from lib.multiviews.rig.rig_refinement import (
    DEFAULT_SETTINGS,
    FlipPairs,
    RefinementSettings,
    RigRefinement,
    in_step,
    refine_rig,
)

RIGHT, REFINED, NOT_TRUSTED = "right", "refined", "not trusted"


@dataclass(frozen=True)
class VerdictSettings:
    """Limits of the verdict.

    Attributes:
        significant: standard deviations by which `change` must exceed that of a right rig.
        shift: smallest shift of projections that matters, share of the detections' noise.
        min_shift_px: the same in px; systematic errors of a detector are not part of its noise.
        max_noise: largest noise of detections that fit, share of the person's size.
        min_inliers: smallest share of a camera's detections that fit.
        max_turn_sd_deg, max_move_sd: largest standard deviations of a camera, degrees and share of its distance from
            the middle of the rig.
        max_turn_deg, max_move: largest plausible move of a camera, in the same units.
        min_offset: smallest sync offset or drift that is named, frames.
        min_way: smallest root mean square distance of a walking person from the middle of the way, share of the
            cameras' distance from the middle of the rig.
    """

    significant: float = 5.0
    shift: float = 0.1
    min_shift_px: float = 0.0
    max_noise: float = 0.02
    min_inliers: float = 0.5
    max_turn_sd_deg: float = 0.3
    max_move_sd: float = 0.03
    max_turn_deg: float = 20.0
    max_move: float = 0.3
    min_offset: float = 0.3
    min_way: float = 0.075


@dataclass(frozen=True)
class RigVerdict:
    """Verdict.

    Attributes:
        kind: RIGHT, REFINED or NOT_TRUSTED.
        reasons: why the rig is not to be trusted.
        notes: what was found and mended, or left as it is.
        refinement: the refinement; None = the rig does not fit at all.
    """

    kind: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    refinement: RigRefinement | None


def judge_rig(
    points: np.ndarray,
    cameras: Cameras,
    image_wh: np.ndarray,
    names: Sequence[str],
    body: HumanBody,
    flip_pairs: FlipPairs,
    settings: RefinementSettings = DEFAULT_SETTINGS,
    limits: VerdictSettings = VerdictSettings(),
) -> RigVerdict:
    """Refine a rig and decide whether the result is to be used.

    Args:
        points: (F, V, J, 3) x, y in image px and confidence, consecutive frames; NaN = not seen.
        cameras: the given rig, leading axis V.
        image_wh: (V, 2) size of the images, px; 0 = unknown.
        names: names of the views.
        body: skeleton of the J joints.
        flip_pairs: (right, left) joints.
        settings: settings of the refinement.
        limits: see VerdictSettings.
    """
    points_img = np.where(points[..., 2:] >= RobustSettings.min_confidence, points[..., :2], np.nan)
    size = np.median(sizes_over_time(points_img), 0)
    convention = wrong_convention(points_img, cameras, image_wh, size, flip_pairs, names)
    if convention:
        return RigVerdict(NOT_TRUSTED, (f"{convention}; then the rig would fit",), (), None)
    found = refine_rig(points, cameras, body, flip_pairs, settings)
    wrong = matters(found, limits)
    reasons = _misfits(found, names, limits)
    if wrong and not reasons:
        in_sync = in_step(points_img, found.state, np.arange(len(points))).points_img
        mirrored = mirrored_principal_points(in_sync, cameras, found.state.cameras, image_wh, size, flip_pairs, names)
        reasons = [mirrored] if mirrored else []
    reasons = reasons or _unknown(found, names, limits) or _implausible(found, names, limits)
    if wrong and not reasons:
        faults = lens_faults(found.adjustment, found.inflation, image_wh, names)
        reasons = [fault.text for fault in faults]
        if faults and all(fault.kind == "focal" for fault in faults):
            reasons[-1] += "; --focal estimates the focal lengths"
    notes = [*clock_notes(found, names, limits), *_stays(found, body, limits)]
    if reasons:
        return RigVerdict(NOT_TRUSTED, tuple(reasons), tuple(notes), found)
    if not wrong:
        return RigVerdict(RIGHT, (), tuple(notes), found)
    return RigVerdict(REFINED, (), (*_moves(found, names), *notes), found)


def matters(found: RigRefinement, limits: VerdictSettings = VerdictSettings()) -> bool:
    """Return whether the cameras differ from the given ones by more than chance, and enough to matter."""
    chance = found.change_freedom + limits.significant * np.sqrt(2 * found.change_freedom)
    noise = float(np.sqrt((found.noise_px**2).mean()))
    return found.change > chance and found.shift_px > max(limits.shift * noise, limits.min_shift_px)


def _stays(found: RigRefinement, body: HumanBody, limits: VerdictSettings) -> list[str]:
    """Say that the person stays in one place, which leaves distances and focal lengths of the cameras uncertain."""
    root = found.adjustment.points[:, body.root]
    way = float(np.sqrt(((root - np.median(root, 0)) ** 2).sum(-1).mean()))
    if way >= limits.min_way * _distances(found).mean():
        return []
    return [
        f"the person stays in one place (within about {way / 1000:.1f} m), which leaves distances and focal lengths of "
        "the cameras uncertain: the person must walk through the volume"
    ]


def _misfits(found: RigRefinement, names: Sequence[str], limits: VerdictSettings) -> list[str]:
    """Name cameras that still do not fit."""
    reasons = []
    for view, name in enumerate(names):
        noise, share = found.noise_px[view] / found.size_px[view], found.inlier_share[view]
        if noise > limits.max_noise or share < limits.min_inliers:
            reasons.append(
                f"{name}: does not fit the other cameras, wherever it is moved: {100 * share:.0f} % of its detections "
                f"agree, with {found.noise_px[view]:.1f} px noise"
            )
    return reasons


def _distances(found: RigRefinement) -> np.ndarray:
    """Return the distances (V,) of the cameras from the middle of the rig, mm."""
    centers = found.state.cameras.T
    return np.linalg.norm(centers - centers.mean(0), axis=1)


def _unknown(found: RigRefinement, names: Sequence[str], limits: VerdictSettings) -> list[str]:
    """Name cameras that the detections do not determine."""
    turn = np.degrees(np.linalg.norm(found.sd[:, ROTATION], axis=1))
    move = np.linalg.norm(found.sd[:, CENTER], axis=1)
    unknown = (turn > limits.max_turn_sd_deg) | (move > limits.max_move_sd * _distances(found))
    if not unknown.any():
        return []
    listed = ", ".join(
        f"{names[view]} (sd {turn[view]:.2f} degrees, {move[view]:.0f} mm)" for view in np.flatnonzero(unknown)
    )
    contradicted = f"contradict the given rig, which misplaces joints by {found.shift_px:.1f} px, but"
    known = contradicted if matters(found, limits) else "do not contradict the given rig, but"
    return [
        f"the detections {known} do not determine {listed}: let the person walk through the whole volume, for longer"
    ]


def _implausible(found: RigRefinement, names: Sequence[str], limits: VerdictSettings) -> list[str]:
    """Name cameras that would have moved too far."""
    turn = np.degrees(np.linalg.norm(found.step[:, ROTATION], axis=1))
    move = np.linalg.norm(found.step[:, CENTER], axis=1)
    far = (turn > limits.max_turn_deg) | (move > limits.max_move * _distances(found))
    return [
        f"{names[view]}: would have to be moved by {turn[view]:.1f} degrees and {move[view]:.0f} mm; calibrate it again"
        for view in np.flatnonzero(far)
    ]


def _moves(found: RigRefinement, names: Sequence[str], least: float = 5.0) -> list[str]:
    """Name what moved by more than `least` standard deviations of each camera, or else what moved by most."""
    moves = []  # view, standard deviations, text
    for view in range(len(names)):
        step, sd = found.step[view], found.sd[view]
        for columns, factor, unit in ((ROTATION, 180 / np.pi, "degrees"), (CENTER, 1.0, "mm")):
            length, deviation = np.linalg.norm(step[columns]), np.linalg.norm(sd[columns])
            text = f"{factor * length:.3g} {unit} (sd {factor * deviation:.2g})"
            moves.append((view, length / max(deviation, np.finfo(float).tiny), text))
        if sd[FOCAL] > 0:
            text = f"focal length {100 * step[FOCAL]:+.2f} % (sd {100 * sd[FOCAL]:.2g})"
            moves.append((view, abs(step[FOCAL]) / sd[FOCAL], text))
    least = min(least, max(deviations for _, deviations, _ in moves))
    notes = []
    for view, name in enumerate(names):
        parts = [text for other, deviations, text in moves if other == view and deviations >= least]
        if parts:
            notes.append(f"{name} moved: {', '.join(parts)}")
    return notes


def clock_notes(found: RigRefinement, names: Sequence[str], limits: VerdictSettings = VerdictSettings()) -> list[str]:
    """Name sync offsets and drifts."""
    notes = []
    for view, name in enumerate(names):
        for column, text in (
            (OFFSET, "late by {:+.2f} frames"),
            (DRIFT, "drifts by {:+.2f} frames over the recording"),
        ):
            value, sd = found.step[view, column], found.sd[view, column]
            if abs(value) > max(limits.min_offset, limits.significant * sd):
                notes.append(f"{name}: {text.format(value)} (sd {sd:.2f})")
    return notes
