"""Configuration -> limb-length prior: made from the training annotations, or loaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from lib.core.config_io import dataset_root
from lib.dataset.data_sets import has_views, load_multiview
from lib.dataset.groups import group_views
from lib.multiviews.body import H36M_BODY, HumanBody, body_of
from lib.multiviews.pictorial.limb_prior import LimbPrior, load_limb_prior, make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.utils.errors import InputError


def pictorial_settings(config: Any) -> PictorialSettings:
    """Return the grids and the tolerance of PICT_STRUCT."""
    keys = config.PICT_STRUCT
    return PictorialSettings(
        keys.GRID_SIZE, keys.FIRST_NBINS, keys.RECUR_NBINS, keys.RECUR_DEPTH, keys.LIMB_LENGTH_TOLERANCE
    )


def prior_path(config: Any) -> str:
    """Return PICT_STRUCT.PAIRWISE_FILE; an InputError says so if it is empty."""
    if not config.PICT_STRUCT.PAIRWISE_FILE:
        raise InputError(
            "PICT_STRUCT.PAIRWISE_FILE: expected the file of the limb-length prior, received ''; "
            "name one and make it with run/data/make_limb_prior.py"
        )
    return config.PICT_STRUCT.PAIRWISE_FILE


def load_prior(config: Any, body: HumanBody = H36M_BODY) -> LimbPrior:
    """Load PICT_STRUCT.PAIRWISE_FILE for a skeleton and the grid of the configuration."""
    return load_limb_prior(prior_path(config), body, pictorial_settings(config).first_grid)


def build_prior(config: Any) -> tuple[LimbPrior, np.ndarray]:
    """Measure the limbs of the training annotations, all frames, one view each.

    Args:
        config: the configuration; TRAIN_STEP does not matter here.

    Returns:
        The prior, and per limb the share of training poses within the tolerance of the mean.

    Raises:
        InputError: annotation missing or unreadable, or the grid has no two bins for a limb.

    Source: paper section 4.2: mean limb lengths over the training set.
    """
    keys = config.DATASET
    # what was trained on single images alone has its limbs from the data set it is evaluated on
    name = keys.TRAIN_DATASET if has_views(keys.TRAIN_DATASET) else keys.TEST_DATASET
    annotations = load_multiview(name, keys, dataset_root(config), keys.TRAIN_SUBSET)
    rows = group_views(annotations, keys.INCOMPLETE_GROUPS, keys.CAMERAS)[:, 0]
    body = body_of(annotations.joint_set)
    lengths = body.limb_lengths(annotations.labels3d.pose_cam[rows].astype(np.float64))  # (poses, E)
    mean = lengths.mean(0)
    grid = pictorial_settings(config).first_grid
    prior = make_limb_prior(mean, body, grid, std_lengths=lengths.std(0), num_poses=len(rows))
    return prior, (np.abs(lengths - mean) < grid.tolerance).mean(0)


def prior_table(prior: LimbPrior, share_within: np.ndarray) -> str:
    """Format a prior as a Markdown table.

    Args:
        prior: with standard deviations.
        share_within: (E,) share of the training poses within the tolerance of the mean.
    """
    lines = [
        f"| limb | mean (mm) | std (mm) | within {prior.grid.tolerance:g} mm | bin offsets |",
        "|---|---:|---:|---:|---:|",
    ]
    for limb, name in enumerate(prior.body.limb_names):
        lines.append(
            f"| {name} | {prior.mean_lengths[limb]:.1f} | {prior.std_lengths[limb]:.1f} "
            f"| {100 * share_within[limb]:.1f} % | {len(prior.offsets[limb])} |"
        )
    return "\n".join(lines)
