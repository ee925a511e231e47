"""Limb lengths of the recorded person."""

from __future__ import annotations

import numpy as np

from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.limb_prior import LimbPrior, PriorGrid, make_limb_prior
from lib.multiviews.recording.robust_poses import RobustPoses
from lib.utils.errors import InputError


def person_prior(poses: RobustPoses, grid: PriorGrid) -> LimbPrior:
    """Return the limb prior of a person: medians over the instants in which both ends of a limb are known.

    Args:
        poses: of the person.
        grid: the first grid of the pictorial structure, and its tolerance.

    Raises:
        InputError: a limb is in no instant known at both ends.
    """
    lengths = H36M_BODY.limb_lengths(np.where(poses.known[..., None], poses.pose_world, np.nan))
    never = ~np.isfinite(lengths).any(0)
    if never.any():
        name = H36M_BODY.limb_names[int(never.argmax())]
        raise InputError(
            f"the views never agree on both ends of {name}, so its length is unknown; allow a larger "
            "--tolerance, or name a prior in PICT_STRUCT.PAIRWISE_FILE"
        )
    return make_limb_prior(np.nanmedian(lengths, 0), H36M_BODY, grid, np.nanstd(lengths, 0), len(lengths))
