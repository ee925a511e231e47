"""Limb prior: the pairs of first-grid bins that each limb may connect.

On a regular grid the distance of two bins depends on their offset only. So a short list of offsets per limb (2,316 in
total for Human3.6M with 16 bins per axis) replaces a matrix of 4096 x 4096 bin pairs. Files have the structure of the
original code, {"pairwise_constrain": {(parent, child): CSR (N^3, N^3) bool}}, and also state skeleton and grid.
"""

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

PAIRS_KEY = "pairwise_constrain"  # name in the original code


@dataclass(frozen=True)
class LimbPrior:
    """Mean limb lengths and their compatible bin offsets.

    Attributes:
        body: skeleton; limbs are in the order of `body.edges`.
        grid: first grid and tolerance.
        mean_lengths: (E,) mm.
        length_errors: (E,) largest error of `mean_lengths`, mm; 0 if the file states the lengths.
        offsets: per limb (K, 3) int, bin of the child minus bin of the parent, ascending.
        std_lengths: (E,) standard deviation over the training poses, mm; NaN = unknown.
        num_poses: number of training poses; 0 = unknown.
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
        """Per limb the program that computes its message on the first grid."""
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
        body: skeleton.
        grid: first grid and tolerance.
        std_lengths: (E,) mm; stored only.
        num_poses: number of poses; stored only.

    Raises:
        InputError: a length is not positive, or no two bins have a compatible distance.

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
    """Write a prior that the original code can read, also with old versions of numpy and scipy."""
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
    """Read a prior and check that it belongs to this skeleton and grid.

    Files of the original code have no lengths; estimate_length() estimates them from the offsets.

    Args:
        path: pickle.
        body: expected skeleton.
        grid: expected first grid and tolerance.

    Raises:
        InputError: the file cannot be read, or belongs to another skeleton, grid or tolerance.
    """
    if not os.path.exists(path):
        raise InputError(f"{path}: no such limb prior; {REMAKE} --cfg YAML and the same --opts")
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
    """Raise an InputError if `path` exists and is not a limb prior."""
    if not os.path.exists(path):
        return
    try:
        found = _pairs(load_pickle(path))
    except InputError:
        found = None
    if found is None:
        raise InputError(
            f"{path}: exists and is not a limb prior; set PICT_STRUCT.PAIRWISE_FILE to another file, or remove this one"
        )


def _pairs(content: Any) -> dict | None:
    """Return the bin pairs of a pickle's content; None if it is not a prior."""
    pairs = content.get(PAIRS_KEY) if isinstance(content, dict) else None
    return pairs if isinstance(pairs, dict) else None


def _check_some_offset(body: HumanBody, grid: PriorGrid, offsets: Sequence[np.ndarray], where: str) -> None:
    without = [name for name, found in zip(body.limb_names, offsets, strict=True) if not len(found)]
    if without:
        raise InputError(
            f"{where}: no two bins of the grid ({grid.num_bins} per axis over {grid.edge:g} mm) fit the limbs "
            f"{', '.join(without)} within {grid.tolerance:g} mm; increase FIRST_NBINS, GRID_SIZE or "
            "LIMB_LENGTH_TOLERANCE"
        )


def _check_stated(content: dict, body: HumanBody, grid: PriorGrid, path: str | os.PathLike) -> None:
    """Check skeleton and grid as stated in the file; files of the original code do not state them."""
    stated = {
        "joint_names": list(body.joint_names),
        "num_bins": grid.num_bins,
        "grid_size": grid.edge,
        "tolerance": grid.tolerance,
    }
    settings = {"num_bins": "FIRST_NBINS", "grid_size": "GRID_SIZE", "tolerance": "LIMB_LENGTH_TOLERANCE"}
    for key, expected in stated.items():
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
