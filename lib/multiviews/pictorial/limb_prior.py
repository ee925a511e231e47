"""The limb-length prior on the first grid: which pairs of bins a limb may join.

The grid is regular, so whether two bins fit depends on their offset alone: per limb a short list of integer offsets
(about 2,300 over all limbs of Human3.6M at 16 bins per axis) stands for a matrix of 4096 x 4096 pairs. Files hold
the published structure, {"pairwise_constrain": {(parent, child): CSR (N^3, N^3) bool}}, plus what it is for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.pictorial.limb_offsets import (
    REMAKE,
    PriorGrid,
    compatible_offsets,
    csr_to_offsets,
    estimate_length,
    offsets_to_csr,
)
from lib.multiviews.pictorial.shift_max import ShiftMax, plan_shift_max
from lib.utils.errors import InputError
from lib.utils.files.portable_pickle import write_pickle
from lib.utils.files.safe_pickle import load_pickle

PAIRS_KEY = "pairwise_constrain"  # the published name


@dataclass(frozen=True)
class LimbPrior:
    """Mean limb lengths and the bin offsets that agree with them.

    Attributes:
        body: the skeleton; limbs are in the order of `body.edges`.
        grid: the first grid and the tolerance.
        mean_lengths: (E,) mm.
        length_errors: (E,) mm, bound on the error of `mean_lengths`: 0 where the file states them, otherwise half
            the interval of lengths that the offsets allow.
        offsets: per limb (K, 3) int, bin of the child minus bin of the parent, ascending.
        std_lengths: (E,) mm standard deviation over the training poses, NaN where unknown.
        num_poses: training poses behind the means, 0 where unknown.
    """

    body: HumanBody
    grid: PriorGrid
    mean_lengths: np.ndarray
    length_errors: np.ndarray
    offsets: tuple[np.ndarray, ...]
    std_lengths: np.ndarray = field(default_factory=lambda: np.array([]))
    num_poses: int = 0

    @cached_property
    def programs(self) -> tuple[ShiftMax, ...]:
        """Per limb the plan of its message on the first grid."""
        return tuple(plan_shift_max(offsets, self.grid.num_bins) for offsets in self.offsets)


def make_limb_prior(
    mean_lengths: np.ndarray,
    body: HumanBody,
    grid: PriorGrid,
    std_lengths: np.ndarray | None = None,
    num_poses: int = 0,
) -> LimbPrior:
    """Build the prior from mean limb lengths.

    Args:
        mean_lengths: (E,) mm, in the order of `body.edges`.
        body: the skeleton.
        grid: the first grid and the tolerance.
        std_lengths: (E,) mm, for the record.
        num_poses: poses behind the means, for the record.

    Returns:
        The prior.

    Raises:
        InputError: a length is not positive, or no two bins are that far apart.

    Source: paper section 4.2, eq. 3.
    """
    mean_lengths = np.asarray(mean_lengths, np.float64)
    if mean_lengths.shape != (len(body.edges),) or not (mean_lengths > 0).all():
        raise InputError(f"limb prior: expected {len(body.edges)} positive mean lengths, received {mean_lengths}")
    offsets = tuple(compatible_offsets(length, grid) for length in mean_lengths)
    _check_some_offset(body, grid, offsets, "limb prior")
    std = np.full(len(body.edges), np.nan) if std_lengths is None else np.asarray(std_lengths, np.float64)
    return LimbPrior(body, grid, mean_lengths, np.zeros(len(body.edges)), offsets, std, num_poses)


def save_limb_prior(prior: LimbPrior, path: str | os.PathLike) -> None:
    """Write the published structure, readable by the released code on old packages too, plus what it is for."""
    limb_pairs = [(int(parent), int(child)) for parent, child in prior.body.edges]
    content = {
        PAIRS_KEY: {
            pair: offsets_to_csr(offsets, prior.grid.num_bins)
            for pair, offsets in zip(limb_pairs, prior.offsets, strict=True)
        },
        "joint_names": list(prior.body.joint_names),
        "grid_size": float(prior.grid.edge),
        "num_bins": int(prior.grid.num_bins),
        "tolerance": float(prior.grid.tolerance),
        "mean_limb_lengths": dict(zip(limb_pairs, prior.mean_lengths.tolist(), strict=True)),
        "std_limb_lengths": dict(zip(limb_pairs, prior.std_lengths.tolist(), strict=True)),
        "num_poses": int(prior.num_poses),
    }
    write_pickle(path, content)


def load_limb_prior(path: str | os.PathLike, body: HumanBody, grid: PriorGrid) -> LimbPrior:
    """Read a prior, ours or published, and check that it is for this skeleton and grid.

    A published file holds no lengths: they are estimated from its offsets, see estimate_length.

    Args:
        path: the pickle.
        body: the skeleton it must be for.
        grid: the first grid and the tolerance it must be for.

    Returns:
        The prior.

    Raises:
        InputError: the file cannot be read, or is for other limbs, another grid or another tolerance.
    """
    content = load_pickle(path)
    pairs = _pairs(content)
    if pairs is None:
        raise InputError(f"{path}: not a limb prior, it has no '{PAIRS_KEY}'; {REMAKE}")
    missing = [name for name, edge in zip(body.limb_names, body.edges, strict=True) if edge not in pairs]
    if missing or len(pairs) != len(body.edges):
        raise InputError(
            f"{path}: prior of another skeleton: expected {len(body.edges)} limbs, received {len(pairs)}"
            f"{'; it lacks ' + ', '.join(missing) if missing else ''}; {REMAKE}"
        )
    _check_stated(content, body, grid, path)
    offsets = tuple(
        csr_to_offsets(pairs[edge], grid.num_bins, f"{path}: limb {name}")
        for name, edge in zip(body.limb_names, body.edges, strict=True)
    )
    _check_some_offset(body, grid, offsets, str(path))
    if "mean_limb_lengths" in content:
        lengths = [_stated_lengths(content, key, body, path) for key in ("mean_limb_lengths", "std_limb_lengths")]
        return LimbPrior(
            body, grid, lengths[0], np.zeros(len(body.edges)), offsets, lengths[1], int(content.get("num_poses", 0))
        )
    estimates = np.array(
        [
            estimate_length(found, grid, f"{path}: limb {name}")
            for found, name in zip(offsets, body.limb_names, strict=True)
        ]
    ).reshape(-1, 2)
    return LimbPrior(body, grid, estimates[:, 0], estimates[:, 1], offsets, np.full(len(body.edges), np.nan))


def check_replaceable(path: str | os.PathLike) -> None:
    """Raise an InputError if something stands at `path` that is no limb prior, ours or published, of any skeleton."""
    if not os.path.exists(path):
        return
    try:
        found = _pairs(load_pickle(path))
    except InputError:
        found = None
    if found is None:
        raise InputError(
            f"{path}: exists and is not a limb prior, which would replace it; name another file as "
            "PICT_STRUCT.PAIRWISE_FILE, or remove this one"
        )


def _pairs(content: Any) -> dict | None:
    """Return the bin pairs of a pickle's content, None if it is no prior."""
    pairs = content.get(PAIRS_KEY) if isinstance(content, dict) else None
    return pairs if isinstance(pairs, dict) else None


def _check_some_offset(body: HumanBody, grid: PriorGrid, offsets: Sequence[np.ndarray], where: str) -> None:
    without = [name for name, found in zip(body.limb_names, offsets, strict=True) if not len(found)]
    if without:
        raise InputError(
            f"{where}: no two bins of the grid ({grid.num_bins} per axis over {grid.edge:g} mm) fit the limbs "
            f"{', '.join(without)} within {grid.tolerance:g} mm; use more bins, a larger grid or tolerance"
        )


def _check_stated(content: dict, body: HumanBody, grid: PriorGrid, path: str | os.PathLike) -> None:
    """Compare what our files state about themselves with what is wanted; published files state nothing."""
    wanted = {
        "joint_names": list(body.joint_names),
        "num_bins": grid.num_bins,
        "grid_size": grid.edge,
        "tolerance": grid.tolerance,
    }
    settings = {"num_bins": "FIRST_NBINS", "grid_size": "GRID_SIZE", "tolerance": "LIMB_LENGTH_TOLERANCE"}
    for key, expected in wanted.items():
        if key in content and content[key] != expected:
            name = f"PICT_STRUCT.{settings[key]}" if key in settings else key
            raise InputError(
                f"{path}: prior of another grid or skeleton: {name} is {expected}, the file is for {content[key]}; "
                f"{REMAKE}"
            )


def _stated_lengths(content: dict, key: str, body: HumanBody, path: str | os.PathLike) -> np.ndarray:
    try:
        return np.array([content[key][edge] for edge in body.edges], np.float64)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: '{key}' must hold one number per limb; {REMAKE}") from None
