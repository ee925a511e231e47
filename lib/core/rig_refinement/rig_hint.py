"""Hint in the reports of recordings that a refined calibration would lower the error."""

from __future__ import annotations

import logging

import numpy as np

from lib.core.own_cameras.recording import Recording
from lib.multiviews.recording.robust_poses import RobustPoses
from lib.multiviews.rig.rig_refinement import quick_refinement
from lib.multiviews.rig.rig_verdict import VerdictSettings, matters

logger = logging.getLogger(__name__)

LIMITS = VerdictSettings(shift=0.3)  # more than for the refinement itself, since only some frames are used
_MIN_FRAMES = 100


def rig_hint(recording: Recording, poses: RobustPoses) -> str | None:
    """Return in one sentence what a refined rig would change and by what command; None = nothing that matters.

    Args:
        recording: the recording.
        poses: its poses.
    """
    consecutive = bool((np.diff(recording.frame_numbers) == 1).all())
    num_known = int((poses.agrees.sum(1) >= 2).any(1).sum())
    if not consecutive or min(len(recording), num_known) < _MIN_FRAMES:
        return None
    found = quick_refinement(poses.points_img, poses.pose_world, recording.rig.cameras)
    if not np.isfinite(found.change) or not matters(found, LIMITS):
        return None
    worst = recording.rig.names[int(np.linalg.norm(found.step[:, :3], axis=1).argmax())]
    return (
        f"The calibration misplaces joints by {found.shift_px:.1f} px ({worst} most), more than chance and the noise "
        f"of {np.sqrt((found.noise_px**2).mean()):.1f} px explain. "
        "With the same --cameras, and --detections (run/data/detect_people.py makes them from videos), "
        "run/data/refine_rig.py --out Calib_refined.toml repairs it, or says why not."
    )


def hint_parts(hint: str | None) -> list[str]:
    """Log a hint, and return it as paragraphs of a report."""
    if not hint:
        return []
    logger.warning("%s", hint)
    return [f"**{hint}**"]
