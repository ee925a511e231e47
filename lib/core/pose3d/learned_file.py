"""File with the weights of the learned refinement. Imports no torch."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.run_directory import LEARNED_NAME, run_of
from lib.models.registry import fusion_name
from lib.multiviews.refinement.learned_refinement import NUM_INPUTS, LearnedRefinement
from lib.utils.errors import InputError, brief
from lib.utils.files.atomic import atomic_path

_WEIGHTS = (
    *("mean", "scale", "input", "joint", "hidden", "hidden_bias", "narrow", "body", "body_bias"),
    *("own", "others", "from_body", "combined_bias", "output", "output_joint"),
)


def learned_path(config: Any, directory: Path | None) -> Path:
    """Return PICT_STRUCT.REFINE_LEARNED if set, else the file in the run directory for the fusion.

    Raises:
        InputError: the key has another suffix than .npz, or it is empty and there is no run directory.
    """
    path = config.PICT_STRUCT.REFINE_LEARNED
    if path:
        if not path.endswith(".npz"):
            raise InputError(f"PICT_STRUCT.REFINE_LEARNED: expected a .npz file, received {path}")
        return Path(path)
    if directory is None:
        raise InputError(
            "PICT_STRUCT.REFINE_LEARNED: expected the file of run/pose3d/train_refinement.py, received ''; set it"
        )
    return run_of(directory) / LEARNED_NAME.format(fusion=fusion_name(config.NETWORK))


def save_learned(path: str | os.PathLike, learned: LearnedRefinement) -> None:
    """Write the weights, complete or not at all."""
    with atomic_path(path) as temporary:
        names = {"joint_names": np.array(learned.joint_names), "fusion": np.array(learned.fusion)}
        np.savez_compressed(temporary, **names, **learned.weights)


def load_learned(config: Any, directory: Path | None, joint_names: Sequence[str]) -> LearnedRefinement:
    """Load the weights for rpsm+learned.

    Args:
        config: reads PICT_STRUCT.REFINE_LEARNED and NETWORK.
        directory: the run directory, or that of an evaluation; None = unknown.
        joint_names: the J joints of the data set.

    Raises:
        InputError: no file is named, it is missing or damaged, or it has weights for other joints or another fusion.
    """
    path = learned_path(config, directory)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except FileNotFoundError:
        raise InputError(
            f"PICT_STRUCT.REFINE_LEARNED: {path}: no such file; run run/pose3d/train_refinement.py"
        ) from None
    except Exception as error:  # a damaged archive raises many kinds
        raise InputError(f"PICT_STRUCT.REFINE_LEARNED: {path}: not readable ({brief(error)})") from None
    lacking = {"joint_names", "fusion", *_WEIGHTS} - arrays.keys()
    if lacking:
        raise InputError(f"PICT_STRUCT.REFINE_LEARNED: {path}: it has no '{min(lacking)}'; train it again")
    names, fusion = tuple(arrays["joint_names"].tolist()), str(arrays["fusion"])
    if names != tuple(joint_names):
        raise InputError(
            f"PICT_STRUCT.REFINE_LEARNED: {path}: expected joints {', '.join(joint_names)}, received {', '.join(names)}"
        )
    wanted = fusion_name(config.NETWORK)
    if fusion != wanted:
        raise InputError(
            f"PICT_STRUCT.REFINE_LEARNED: {path}: expected weights for NETWORK.FUSION {wanted}, received {fusion}; "
            "run run/pose3d/train_refinement.py with this fusion"
        )
    if arrays["input"].shape[:1] != (NUM_INPUTS,):
        raise InputError(
            f"PICT_STRUCT.REFINE_LEARNED: {path}: expected {NUM_INPUTS} inputs, received {arrays['input'].shape[0]}; "
            "train it again"
        )
    return LearnedRefinement({name: arrays[name] for name in _WEIGHTS}, names, fusion)
