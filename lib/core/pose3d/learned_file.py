"""File with the weights of the learned refinement. Imports no torch."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.evaluation2d.provenance import file_digest
from lib.core.run_directory import LEARNED_NAME, run_of, weights_file
from lib.models.registry import fusion_name
from lib.multiviews.refinement.learned_choice import choice_scores, empty_inputs
from lib.multiviews.refinement.learned_refinement import NUM_INPUTS, LearnedRefinement, view_offsets
from lib.utils.errors import InputError, brief
from lib.utils.files.atomic import atomic_path

logger = logging.getLogger(__name__)

_WEIGHTS = (
    *("mean", "scale", "input", "joint", "hidden", "hidden_bias", "narrow", "body", "body_bias"),
    *("own", "from_body", "combined_bias", "output", "output_joint"),
)
_CHOICE = (
    *("view", "view_bias", "pooled", "pooled_joint", "mean", "highest", "lowest", "place", "pose", "pose_bias"),
    *("pose_joint", "from_pose", "joint", "hidden", "hidden_bias", "score"),
)
_CHOICE_KEY = "choice_{}"  # arrays of the learned choice in the file
_WORDS = ("joint_names", "fusion", "checkpoint")


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
        words = {name: np.array(getattr(learned, name)) for name in _WORDS}
        choice = {_CHOICE_KEY.format(name): array for name, array in learned.choice.items()}
        np.savez_compressed(temporary, **words, **learned.weights, **choice)


def load_learned(config: Any, directory: Path | None, joint_names: Sequence[str]) -> LearnedRefinement:
    """Load the weights for rpsm+learned; warn if they were trained on the heatmaps of another network.

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
    choice_keys = {name: _CHOICE_KEY.format(name) for name in _CHOICE}
    has_choice = not arrays.keys().isdisjoint(choice_keys.values())
    lacking = {*_WORDS, *_WEIGHTS, *(choice_keys.values() if has_choice else ())} - arrays.keys()
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
    weights = {name: arrays[name] for name in _WEIGHTS}
    choice = {name: arrays[key] for name, key in choice_keys.items()} if has_choice else {}
    if not has_choice:
        logger.info("%s: from an older version, without the choice between candidates; train it again", path)
    learned = LearnedRefinement(weights, names, fusion, str(arrays["checkpoint"]), choice)
    try:
        view_offsets(weights, np.zeros((1, 2, len(names), NUM_INPUTS), np.float32))
        if has_choice:
            choice_scores(choice, empty_inputs(len(names)))
    except (ValueError, IndexError) as error:
        raise InputError(
            f"PICT_STRUCT.REFINE_LEARNED: {path}: the sizes of its weights do not fit ({brief(error)}); train it again"
        ) from None
    if directory is not None and learned.checkpoint:
        weights = weights_file(config, directory)
        if file_digest(weights) not in (None, learned.checkpoint):
            logger.warning(
                "%s: trained on the heatmaps of other weights than %s; run run/pose3d/train_refinement.py again",
                path,
                weights,
            )
    return learned
