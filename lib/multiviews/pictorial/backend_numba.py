"""The numpy backend with kernels that numba compiles."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.compiled import cache_folder
from lib.multiviews.keypoints.left_right import FlipPairs
from lib.multiviews.keypoints.left_right_numba import swapped_views_compiled
from lib.multiviews.keypoints.peak_rays import PeakRays
from lib.multiviews.keypoints.peaks_numba import find_peaks_compiled
from lib.multiviews.keypoints.rays_numba import peak_rays_compiled
from lib.multiviews.keypoints.robust_numba import triangulate_robust_compiled
from lib.multiviews.keypoints.support_numba import count_supporting_views_compiled
from lib.multiviews.pictorial.backend_numpy import NumpyBackend
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.multiviews.pictorial.rpsm_numba import Model, rpsm_compiled
from lib.multiviews.refinement.candidates_numba import distinct_candidates_compiled, select_candidates_compiled
from lib.multiviews.refinement.pose_fit import PoseFit
from lib.multiviews.refinement.pose_fit_numba import (
    measured_noise_compiled,
    optimize_compiled,
    without_distances_compiled,
)
from lib.multiviews.refinement.view_sampler_numba import sample_maps_compiled

logger = logging.getLogger(__name__)


class NumbaBackend(NumpyBackend):
    """Backend for numpy arrays whose kernels run in parallel over frames. Poses are the same as on NumpyBackend.

    A kernel runs without the interpreter lock and takes several whole frames, so threads do not wait for each other.

    Args:
        num_threads: None = number of usable processors.
    """

    kernels_run_in_parallel = True

    def __init__(self, num_threads: int | None = None) -> None:
        super().__init__(num_threads)
        self._is_used = False
        self._memory = threading.local()
        self._model: tuple[LimbPrior, PictorialSettings, Model] | None = None

    def memory(self, allocate: Callable[..., Any], *arguments: Any) -> Any:
        """Return allocate(*arguments), reused if the thread's last call had the same arguments."""
        last = getattr(self._memory, "last", None)
        if last is None or last[0] is not allocate or last[1] != arguments:
            self._memory.last = last = (allocate, arguments, allocate(*arguments))
        return last[2]

    def for_each(self, function: Callable[[slice], None], blocks: Iterable[slice]) -> None:
        if not self._is_used:  # not earlier, because the input may turn out to be unusable
            self._is_used = True
            folder = cache_folder()
            if folder is None or not any(folder.rglob("*.nbi")):
                logger.info("numba compiles the 3D step once, in some 10 to 30 s; cache: %s", folder)
        super().for_each(function, blocks)

    def find_peaks(
        self, heatmaps: np.ndarray, num_peaks: int, mode: str, min_share: float
    ) -> tuple[np.ndarray, np.ndarray]:
        return find_peaks_compiled(heatmaps, num_peaks, mode, min_share, self)

    def peak_rays(
        self, peaks_img: np.ndarray, weights: np.ndarray, cameras: Cameras, tolerance_img: np.ndarray
    ) -> PeakRays:
        return peak_rays_compiled(peaks_img, weights, cameras, tolerance_img, self)

    def triangulate_robust(
        self, peaks_img: np.ndarray, values: np.ndarray, cameras: Cameras, tolerance_img: np.ndarray
    ) -> np.ndarray:
        return triangulate_robust_compiled(peaks_img, values, cameras, tolerance_img, self)

    def swapped_views(self, rays: PeakRays, cameras: Cameras, groups: Sequence[FlipPairs]) -> np.ndarray:
        return swapped_views_compiled(rays, cameras, groups, self)

    def select_candidates(
        self,
        rays: PeakRays,
        cameras: Cameras,
        start_world: np.ndarray,
        limb_lengths: np.ndarray,
        limb_std: np.ndarray,
        body: HumanBody,
    ) -> np.ndarray:
        return select_candidates_compiled(rays, cameras, start_world, limb_lengths, limb_std, body, self)

    def optimize_pose(self, fit: PoseFit, points: np.ndarray, num_steps: int) -> np.ndarray:
        return optimize_compiled(fit, points, num_steps, self)

    def measured_noise(self, fit: PoseFit, points: np.ndarray) -> np.ndarray:
        return measured_noise_compiled(fit, points, self)

    def fit_joints(self, fit: PoseFit, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return without_distances_compiled(fit, points, self)

    def count_supporting_views(
        self, heatmaps: np.ndarray, pose_world: np.ndarray, cameras: Cameras, image_to_heatmap: np.ndarray
    ) -> np.ndarray:
        return count_supporting_views_compiled(heatmaps, pose_world, cameras, image_to_heatmap, self)

    def distinct_candidates(
        self, rays: PeakRays, cameras: Cameras, start_world: np.ndarray, root: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return distinct_candidates_compiled(rays, cameras, start_world, root, self)

    def sample_maps(
        self, heatmaps: np.ndarray, maps: np.ndarray, center: np.ndarray, radius: int, step: float
    ) -> np.ndarray:
        return sample_maps_compiled(heatmaps, maps, center, radius, step, self)

    def rpsm(
        self,
        heatmaps: np.ndarray,
        cameras: Cameras,
        image_to_heatmap: np.ndarray,
        root_world: np.ndarray,
        limb_lengths: np.ndarray,
        prior: LimbPrior,
        settings: PictorialSettings,
    ) -> np.ndarray:
        if self._model is None or self._model[0] is not prior or self._model[1] != settings:
            self._model = (prior, settings, Model.of(prior, settings))
        return rpsm_compiled(heatmaps, cameras, image_to_heatmap, root_world, limb_lengths, self._model[2], self)
