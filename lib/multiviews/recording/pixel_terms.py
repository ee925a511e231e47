"""Detections of several frames, linearized at given 3D points: residuals, robust weights and normal equations."""

from __future__ import annotations

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.peak_rays import PeakRays, peak_rays, plane_slopes, project_to_planes


def detection_rays(points_img: np.ndarray, cameras: Cameras, trust: np.ndarray | float = 1.0) -> PeakRays:
    """Return undistorted detections in px: rays with one peak.

    Args:
        points_img: (F, V, J, 2) image px; NaN = not seen.
        cameras: leading axes (F, V).
        trust: (F, V, J) weights of the detections.
    """
    weight = (np.isfinite(points_img).all(-1) * trust)[..., None]
    return peak_rays(points_img[:, :, :, None], weight, cameras, np.ones(points_img.shape[:2]))


class PixelTerms:
    """Detections, linearized.

    Attributes:
        exists: (F, V, J) bool.
        residual: (F, V, J, 2) detection - projection, px.
    """

    def __init__(self, rays: PeakRays, cameras: Cameras, points: np.ndarray) -> None:
        """Project the points.

        Args:
            rays: result of detection_rays().
            cameras: leading axes (F, V).
            points: (J, F, 3) mm, finite.
        """
        place, depth = project_to_planes(points.swapaxes(0, 1), rays.zoom, cameras)
        self._trust = rays.weight[..., 0]
        self.exists = self._trust > 0
        self.residual = rays.place[:, :, :, 0] - place
        self._slope = plane_slopes(place, depth, rays.zoom, cameras)
        self._points = points

    def weights(self, std_px: np.ndarray, outlier_std: float) -> np.ndarray:
        """Return the weights (F, V, J) against outliers; `std_px` (V,) is the noise of the views."""
        squared = (self.residual**2).sum(-1) / std_px[:, None] ** 2
        return self.exists * robust_weight(squared, outlier_std, 2)

    def normal_equations(self, weight: np.ndarray, noise_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the information matrices (J, F, 3, 3), 1/mm^2, and the right sides (J, F, 3) of the joints.

        The weights (F, V, J) are multiplied by the weights of the rays.
        """
        num_frames, num_views, num_joints = weight.shape
        root = np.sqrt(weight * self._trust) / noise_px[:, None]
        slope = (self._slope * root[..., None, None]).transpose(2, 0, 1, 3, 4)
        slope = slope.reshape(num_joints, num_frames, 2 * num_views, 3)
        residual = (self.residual * root[..., None]).transpose(2, 0, 1, 3).reshape(num_joints, num_frames, -1, 1)
        turned = slope.swapaxes(-1, -2)
        information = turned @ slope
        return information, (turned @ residual + information @ self._points[..., None])[..., 0]


def robust_weight(squared: np.ndarray, outlier_std: float, axes: int) -> np.ndarray:
    """Return the probability that a residual is normal noise and not an outlier of an even density.

    Args:
        squared: squared residuals, in variances of one axis.
        outlier_std: residual per two axes with probability 0.5, standard deviations.
        axes: axes of the residual.
    """
    limit = outlier_std**2 * axes / 2
    return 1 / (1 + np.exp(np.clip((squared - limit) / 2, -50, 50)))


def covariance_of(information: np.ndarray) -> np.ndarray:
    """Invert information matrices (..., 3, 3), 1/mm^2; infinite for points that less than two views see."""
    trace = np.trace(information, axis1=-2, axis2=-1)
    ridge = 1e-6 * trace + np.finfo(float).tiny ** 0.5
    inverse = np.linalg.inv(information + ridge[..., None, None] * np.eye(3))
    return np.where((trace > 0)[..., None, None], inverse, np.inf)
