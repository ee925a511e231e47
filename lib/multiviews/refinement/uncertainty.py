"""Uncertainty of refined joints: covariance matrices, and regions that contain a joint with a given probability.

The normal equations of the fit give the covariance of independent Gaussian noise of peaks and lengths. Real errors are
larger. The views share errors, since a network places a joint off the annotated point in all views alike. Some joints
are lost, mostly where few views support a joint. So the error is modeled as Student's t. Its scale matrix grows where
the views support a joint less, and it has fewer degrees of freedom in frames with little support.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtri

REGION_SHARES = (0.5, 0.9, 0.95)


@dataclass(frozen=True)
class UncertaintySettings:
    """Constants of the model, by maximum likelihood on synthetic test sets; docs/pose3d.md has the coverage."""

    shared_error_mm: float = 4.3  # standard deviation per axis of the error that all views share
    growth: float = 1.65  # log of the factor on the standard deviation of a joint without any support
    least_dof: float = 2.2  # degrees of freedom of a frame without support; above 2
    added_dof: float = 60.0  # degrees of freedom that full support adds
    dof_decay: float = 13.2  # decay of the added ones per unit of missing support
    places_share: float = 0.4  # of predicted places in the covariance of the learned refinement; the rest: peaks
    places_views: float = 5.3  # the variance of the learned refinement is multiplied by (places_views / views)^0.5


SETTINGS = UncertaintySettings()


def error_model(
    fit_covariance: np.ndarray, support: np.ndarray, settings: UncertaintySettings = SETTINGS
) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance of the errors of joints, and the degrees of freedom of their t distribution.

    Args:
        fit_covariance: (F, J, 3, 3) mm^2, of PoseFit.covariance_and_support().
        support: (F, J) from 0 to 1, likewise.
        settings: constants of the model.

    Returns:
        (F, J, 3, 3) mm^2, and (F,).
    """
    missing = 1 - support
    growth = np.exp(2 * settings.growth * missing)[..., None, None]
    scale = growth * (fit_covariance + settings.shared_error_mm**2 * np.eye(3))
    dof = settings.least_dof + settings.added_dof * np.exp(-settings.dof_decay * missing.mean(1))
    return scale * (dof / (dof - 2))[:, None, None, None], dof


def learned_covariance(
    peaks: np.ndarray, places: np.ndarray, num_views: int, settings: UncertaintySettings = SETTINGS
) -> np.ndarray:
    """Return the fit covariance of joints that the learned refinement has moved.

    The size is a geometric mean, since the errors of places that one network predicts are not independent. Fewer views
    correct each other less.

    Args:
        peaks: (F, J, 3, 3) mm^2, covariance of the fit to the peaks.
        places: (F, J, 3, 3) mm^2, covariance of the fit to the predicted places.
        num_views: views of the frames.
        settings: constants of the model.

    Returns:
        (F, J, 3, 3) mm^2, for error_model().
    """
    ratio = np.trace(places, axis1=-2, axis2=-1) / np.trace(peaks, axis1=-2, axis2=-1)
    factor = ratio**settings.places_share * (settings.places_views / num_views) ** 0.5
    return peaks * factor[..., None, None]


def sd_mm(covariance: np.ndarray) -> np.ndarray:
    """Return the standard deviation per axis, mm: the root mean square over the axes of covariances (..., 3, 3)."""
    return np.sqrt(np.trace(covariance, axis1=-2, axis2=-1) / 3)


def coverage(
    pose_world: np.ndarray, gt_world: np.ndarray, covariance: np.ndarray, degrees_of_freedom: np.ndarray
) -> dict[str, float]:
    """Return the share of labeled joints inside their regions, for the probabilities REGION_SHARES.

    A region is an ellipsoid of the covariance. A calibrated covariance gives the probability itself.

    Args:
        pose_world: (F, J, 3) mm.
        gt_world: (F, J, 3) mm; NaN = not labeled.
        covariance: (F, J, 3, 3) mm^2.
        degrees_of_freedom: (F,), see error_model().

    Returns:
        "50", "90", "95" -> share, 0 to 1; NaN without labels.
    """
    labeled = np.isfinite(gt_world).all(-1)
    error = (pose_world - gt_world)[labeled]
    distance2 = (error * np.linalg.solve(covariance[labeled], error[..., None])[..., 0]).sum(-1)
    limits = region_limits(degrees_of_freedom)[np.nonzero(labeled)[0]]
    inside = distance2[:, None] <= limits
    shares = inside.mean(0) if len(inside) else np.full(len(REGION_SHARES), np.nan)
    return {f"{100 * share:.0f}": float(value) for share, value in zip(REGION_SHARES, shares, strict=True)}


def region_limits(degrees_of_freedom: np.ndarray) -> np.ndarray:
    """Return the largest squared distances inside the regions of REGION_SHARES, in standard deviations.

    Args:
        degrees_of_freedom: (...), above 2.

    Returns:
        (..., 3).
    """
    dof = np.asarray(degrees_of_freedom)[..., None]
    return 3 * fdtri(3, dof, np.array(REGION_SHARES)) * (dof - 2) / dof
