"""Uncertainty of refined joints: covariance matrices, and regions that contain a joint with a given probability.

The normal equations of the fit give the covariance of independent Gaussian noise of peaks and lengths. Real errors are
larger: the views share errors, since a network places a joint off the annotated point in all views alike, and some
joints are lost. So the error is modeled as Student's t with few degrees of freedom, whose scale matrix is a multiple of
the covariance of the fit.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtri

REGION_SHARES = (0.5, 0.9, 0.95)


@dataclass(frozen=True)
class UncertaintySettings:
    """Constants of the model, by maximum likelihood on synthetic test sets; docs/pose3d.md has the coverage."""

    fit_factor: float = 1.85  # factor on the standard deviations of the normal equations
    degrees_of_freedom: float = 4.4  # of Student's t; above 2


SETTINGS = UncertaintySettings()


def calibrated_covariance(fit_covariance: np.ndarray, settings: UncertaintySettings = SETTINGS) -> np.ndarray:
    """Return the covariance of the errors of joints, mm^2, from PoseFit.covariance(), (F, J, 3, 3) mm^2."""
    dof = settings.degrees_of_freedom
    return settings.fit_factor**2 * dof / (dof - 2) * fit_covariance


def sd_mm(covariance: np.ndarray) -> np.ndarray:
    """Return the standard deviation per axis, mm: the root mean square over the axes of covariances (..., 3, 3)."""
    return np.sqrt(np.trace(covariance, axis1=-2, axis2=-1) / 3)


def coverage(
    pose_world: np.ndarray, gt_world: np.ndarray, covariance: np.ndarray, settings: UncertaintySettings = SETTINGS
) -> dict[str, float]:
    """Return the share of labeled joints inside their regions, for the probabilities REGION_SHARES.

    A region is an ellipsoid of the covariance. A calibrated covariance gives the probability itself.

    Args:
        pose_world: (F, J, 3) mm.
        gt_world: (F, J, 3) mm; NaN = not labeled.
        covariance: (F, J, 3, 3) mm^2.
        settings: constants of the model.

    Returns:
        "50", "90", "95" -> share, 0 to 1; NaN without labels.
    """
    labeled = np.isfinite(gt_world).all(-1)
    error = (pose_world - gt_world)[labeled]
    distance2 = (error * np.linalg.solve(covariance[labeled], error[..., None])[..., 0]).sum(-1)
    limits = region_limits(settings)
    shares = [float((distance2 <= limit).mean()) if len(distance2) else float("nan") for limit in limits]
    return {f"{100 * share:.0f}": value for share, value in zip(REGION_SHARES, shares, strict=True)}


def region_limits(settings: UncertaintySettings = SETTINGS) -> np.ndarray:
    """Return the largest squared distances, in standard deviations, inside the regions of REGION_SHARES."""
    dof = settings.degrees_of_freedom
    return 3 * fdtri(3, dof, np.array(REGION_SHARES)) * (dof - 2) / dof
