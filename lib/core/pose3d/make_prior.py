"""Limb prior of a configuration: made from the training annotations, or loaded. Imports no torch."""

import logging
from typing import Any

import numpy as np

from lib.core.config_io import dataset_root
from lib.dataset.data_sets import has_views, load_multiview
from lib.dataset.groups import group_views
from lib.multiviews.body import H36M_BODY, HumanBody, body_of
from lib.multiviews.pictorial.limb_prior import LimbPrior, load_limb_prior, make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.utils.errors import InputError
from lib.utils.tables import markdown_table

logger = logging.getLogger(__name__)


def pictorial_settings(pict_struct: Any) -> PictorialSettings:
    """Return the grids and the tolerance of section PICT_STRUCT."""
    return PictorialSettings(
        pict_struct.GRID_SIZE,
        pict_struct.FIRST_NBINS,
        pict_struct.RECUR_NBINS,
        pict_struct.RECUR_DEPTH,
        pict_struct.LIMB_LENGTH_TOLERANCE,
    )


def prior_path(pict_struct: Any) -> str:
    """Return PICT_STRUCT.PAIRWISE_FILE, or raise an InputError if it is empty."""
    if not pict_struct.PAIRWISE_FILE:
        raise InputError(
            "PICT_STRUCT.PAIRWISE_FILE: expected the file of the limb prior, received ''; "
            "set it and run python run/data/make_limb_prior.py --cfg YAML"
        )
    return pict_struct.PAIRWISE_FILE


def load_prior(pict_struct: Any, body: HumanBody = H36M_BODY) -> LimbPrior:
    """Load PICT_STRUCT.PAIRWISE_FILE for a skeleton and the first grid of section PICT_STRUCT."""
    path = prior_path(pict_struct)
    prior = load_limb_prior(path, body, pictorial_settings(pict_struct).first_grid)
    if prior.length_errors.any() and pict_struct.LIMB_LENGTH_SOURCE == "prior":
        logger.warning(
            "%s has no limb lengths (format of the original code); derived from its bins, accurate to %.0f mm",
            path,
            prior.length_errors.max(),
        )
    return prior


def build_prior(config: Any) -> tuple[LimbPrior, np.ndarray]:
    """Measure the limbs in the training annotations, in one view of every group.

    Args:
        config: the configuration; reads DATA_DIR, DATASET (without TRAIN_STEP) and PICT_STRUCT.

    Returns:
        The prior, and the share of training poses within the tolerance of the mean, per limb.

    Raises:
        InputError: the annotation is missing or unreadable, or the grid has no pair of bins for a limb.

    Source: paper section 4.2, mean limb lengths of the training set.
    """
    keys = config.DATASET
    # Single images have no 3D poses; use the data set that is evaluated.
    name = keys.TRAIN_DATASET if has_views(keys.TRAIN_DATASET) else keys.TEST_DATASET
    annotations = load_multiview(name, keys, dataset_root(config), keys.TRAIN_SUBSET)
    groups = group_views(annotations, keys.INCOMPLETE_GROUPS, keys.CAMERAS)
    body = body_of(annotations.joint_set)
    pose_cam = annotations.labels3d.pose_cam[groups[:, 0]].astype(np.float64)
    pose_cam = np.where(annotations.labeled(groups)[..., None], pose_cam, np.nan)
    lengths = body.limb_lengths(pose_cam)  # (poses, E)
    never = ~np.isfinite(lengths).any(0)
    if never.any():
        name = body.limb_names[int(never.argmax())]
        raise InputError(f"{dataset_root(config)}: both ends of {name} are labeled in no training pose")
    mean = np.nanmean(lengths, 0)
    grid = pictorial_settings(config.PICT_STRUCT).first_grid
    prior = make_limb_prior(mean, body, grid, std_lengths=np.nanstd(lengths, 0), num_poses=len(groups))
    within = np.where(np.isfinite(lengths), np.abs(lengths - mean) < grid.tolerance, np.nan)
    return prior, np.nanmean(within, 0)


def prior_table(prior: LimbPrior, share_within: np.ndarray) -> str:
    """Format a prior as a Markdown table.

    Args:
        prior: the prior, with standard deviations.
        share_within: (E,) share of training poses within the tolerance of the mean.
    """
    header = ["limb", "mean (mm)", "std (mm)", f"within {prior.grid.tolerance:g} mm (%)", "bin offsets"]
    columns = [prior.body.limb_names, prior.mean_lengths, prior.std_lengths, 100 * share_within, prior.offsets]
    rows = [
        [name, float(mean), float(std), float(percent), len(offsets)]
        for name, mean, std, percent, offsets in zip(*columns, strict=True)
    ]
    return markdown_table(header, rows)
