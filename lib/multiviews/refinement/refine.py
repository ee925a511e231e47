"""Refinement of 3D poses between the pixels: all joints together, for any array library.

1. Peaks of all heatmaps, placed between the pixels: the result knows no grid.
2. Left and right of legs and arms settled per view (left_right.py), then the best combination of places where
   rays meet (lib/multiviews/refinement/candidates.py); the given pose is one of them.
3. A robust fit of all joints to the peaks and to the limb lengths (pose_fit.py), started there. The
   peaks' noise is measured on the residuals: it decides how much the limb lengths count.
4. If frames of a person are known to belong together, the measures that the person's other frames show
   (lib/multiviews/refinement/limb_lengths.py) take the place of the given lengths, and the fit goes on.

Steps 1 to 3 look at each frame by itself (fit_frames); step 4 needs all frames, but not their heatmaps (fit_persons).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.left_right import FlipPairs, limb_pairs, swap, swap_rays, swapped_limbs, swapped_views
from lib.multiviews.keypoints.peak_rays import PeakRays, peak_rays, tolerance_mm
from lib.multiviews.keypoints.peaks import find_peaks
from lib.multiviews.pictorial.backend_numpy import Array, Backend
from lib.multiviews.refinement.candidates import select_candidates
from lib.multiviews.refinement.limb_lengths import Distances, person_distances
from lib.multiviews.refinement.pose_fit import PoseFit
from lib.utils.errors import InputError, check_finite, check_shape
from lib.utils.transforms import invert_affine, transform_points

_MIN_TOLERANCE_HM = 3.0  # px
_NOISE_SHARE = 0.2  # of the usual height of a frame's peaks; lower ones are noise
_FIRST_NOISE = 0.4  # tolerances: some 1.2 px of the published heatmaps
_STEPS = (4, 4, 8)  # the noise is measured between these rounds
_BLOCK_FRAMES = 16  # frames worked on together; several blocks at a time
_PERSON_STEPS = 8  # with the person's own distances


@dataclass(frozen=True)
class RefineSettings:
    """What the refinement looks at.

    Attributes:
        num_peaks: best peaks per map, K.
        peak_mode: their place between the pixels, as in find_peaks.
        tolerance: distance up to which a peak agrees with a place in the search, share of the box side; at least 3
            heatmap px count.
        length_std: standard deviation of the limb lengths around those given, share of a length.
    """

    num_peaks: int = 3
    peak_mode: str = "log_quadratic"
    tolerance: float = 0.04
    length_std: float = 0.05


@dataclass(frozen=True)
class FittedFrames:
    """Poses of a block of frames, each fitted by itself, and all that a further fit needs.

    Some 6 kB per frame with 4 views, 17 joints and 3 peaks per map, whose heatmaps take 1.1 MB.

    Attributes:
        fit: what the poses were fitted to: the frames' peaks, cameras and limb lengths, with the measured noise.
        points: (F, J, 3) mm; an array of the backend's library.
    """

    fit: PoseFit
    points: Array


def fit_frames(
    heatmaps: np.ndarray,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    start_world: np.ndarray,
    limb_lengths: np.ndarray,
    body: HumanBody,
    backend: Backend,
    settings: RefineSettings = RefineSettings(),
    flip_pairs: FlipPairs = (),
) -> list[FittedFrames]:
    """Refine the 3D poses of F frames from the heatmaps of V views, each frame by itself.

    Args:
        heatmaps: (F, V, J, H, W) in the joint order of `body`.
        cameras: numpy cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.
        start_world: (F, J, 3) poses to start from, mm.
        limb_lengths: (F, E) or (E,) expected limb lengths in the order of `body.edges`, mm.
        body: the skeleton.
        backend: NumpyBackend or TorchBackend.
        settings: what to look at.
        flip_pairs: (right, left) joints that a detector may take for each other.

    Returns:
        The frames in their order, in blocks; fitted_poses() are their poses.

    Raises:
        InputError: shapes disagree, a value is not finite or there are fewer than two views.
    """
    start_world, limb_lengths = np.asarray(start_world, np.float64), np.asarray(limb_lengths, np.float64)
    if limb_lengths.ndim == 1:
        limb_lengths = np.broadcast_to(limb_lengths, (len(heatmaps), len(limb_lengths)))
    _check_inputs(heatmaps, cameras, image_to_heatmap, start_world, limb_lengths, body)
    given = Distances(body.edges, limb_lengths, settings.length_std * limb_lengths)
    blocks = [slice(start, start + _BLOCK_FRAMES) for start in range(0, len(heatmaps), _BLOCK_FRAMES)]
    fitted: list[Any] = [None] * len(blocks)

    def fit_block(frames: slice) -> None:
        views, limbs = cameras[frames], given[frames]
        rays = _trusted_rays(heatmaps[frames], views, image_to_heatmap[frames], settings)
        pose, rays = _start(rays, views, start_world[frames], limbs, body, flip_pairs, backend)
        fitted[frames.start // _BLOCK_FRAMES] = _fit(pose, rays, views, limbs, body, backend)

    backend.for_each(fit_block, blocks)
    return fitted


def fit_persons(fitted: Sequence[FittedFrames], person: np.ndarray, body: HumanBody, backend: Backend) -> np.ndarray:
    """Fit poses further, to the measures that each person's other frames show.

    Args:
        fitted: all frames of the persons, in any number of blocks.
        person: (F,) frames with equal numbers show one person, whose own limb lengths are estimated over them.
        body: the skeleton.
        backend: that of the fitted frames.

    Returns:
        (F, J, 3) joints, world frame, mm.

    Raises:
        InputError: another number of frames.
    """
    if not fitted:
        return fitted_poses(fitted, body, backend)
    shown = [
        (*block.fit.by_peaks_alone(block.points), backend.numpy(block.fit.lengths), backend.numpy(block.fit.length_std))
        for block in fitted
    ]
    alone_world, covariance, lengths, std = map(np.concatenate, zip(*shown, strict=True))
    check_shape("person", np.shape(person), (len(alone_world),))
    given = Distances(body.edges, lengths, std)
    own = person_distances(alone_world, covariance, np.asarray(person), given, body)

    pose = np.empty(alone_world.shape)
    stops = np.cumsum([len(block.points) for block in fitted]).tolist()
    by_start = dict(zip([0, *stops], fitted, strict=False))

    def fit_again(frames: slice) -> None:
        block = by_start[frames.start]
        fit = block.fit.with_distances(own[frames])
        pose[frames] = backend.numpy(fit.optimise(block.points, _PERSON_STEPS))

    backend.for_each(fit_again, [slice(start, stop) for start, stop in zip(by_start, stops, strict=True)])
    return pose


def fitted_poses(fitted: Sequence[FittedFrames], body: HumanBody, backend: Backend) -> np.ndarray:
    """Return the poses (F, J, 3) of blocks of frames, mm."""
    nothing = np.empty((0, body.num_joints, 3))
    return np.concatenate([nothing, *(backend.numpy(block.points) for block in fitted)])


def _start(
    rays: PeakRays,
    cameras: Cameras,
    start_world: np.ndarray,
    limbs: Distances,
    body: HumanBody,
    flip_pairs: FlipPairs,
    backend: Backend,
) -> tuple[np.ndarray, PeakRays]:
    """Return the best combination of places where rays meet, (F, J, 3) mm, and the peaks, left and right settled."""
    groups = limb_pairs(body, flip_pairs)
    swapped = swapped_views(rays, cameras, groups)  # (F, V, groups)
    rays = swap_rays(rays, swapped, groups)
    pose = select_candidates(rays, cameras, start_world, limbs.mean, limbs.std, body, backend)
    turned = swapped_limbs(pose, swapped, groups)  # (F, groups)
    everywhere = np.broadcast_to(turned[:, None], swapped.shape)
    return swap(pose, turned, groups), swap_rays(rays, everywhere, groups)


def _fit(
    pose: np.ndarray, rays: PeakRays, cameras: Cameras, limbs: Distances, body: HumanBody, backend: Backend
) -> FittedFrames:
    """Fit poses (F, J, 3) to their peaks and limbs, mm."""
    floats = backend.floats
    points = backend.floats(pose)
    fit = PoseFit(
        rays.map(floats),
        cameras.map(floats),
        pairs=limbs.pairs,
        lengths=floats(limbs.mean),
        length_std=floats(limbs.std),
        noise=floats(np.full(len(pose), _FIRST_NOISE)),
        tolerance_mm=floats(tolerance_mm(pose[:, body.root], rays, cameras)),
        backend=backend,
    )
    for round_, num_steps in enumerate(_STEPS):
        fit = fit.with_measured_noise(points) if round_ else fit
        points = fit.optimise(points, num_steps)
    return FittedFrames(fit, points)


def _check_inputs(
    heatmaps: np.ndarray,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    start_world: np.ndarray,
    limb_lengths: np.ndarray,
    body: HumanBody,
) -> None:
    sizes = check_shape("heatmaps", heatmaps.shape, ("F", "V", body.num_joints, "H", "W"))
    num_frames, num_views = sizes["F"], sizes["V"]
    if num_views < 2:
        raise InputError(f"refinement needs at least 2 views, received {num_views}")
    check_shape("image_to_heatmap", np.shape(image_to_heatmap), (num_frames, num_views, 2, 3))
    check_shape("cameras.T", cameras.T.shape, (num_frames, num_views, 3))
    check_shape("start_world", start_world.shape, (num_frames, body.num_joints, 3))
    check_shape("limb_lengths", limb_lengths.shape, (num_frames, len(body.edges)))
    for name, values in (("heatmaps", heatmaps), ("start_world", start_world), ("limb_lengths", limb_lengths)):
        check_finite(name, values)
    if not (limb_lengths > 0).all():
        raise InputError(f"limb_lengths: expected lengths above 0 mm, received {limb_lengths.min():g}")


def _trusted_rays(
    heatmaps: np.ndarray, cameras: Cameras, image_to_heatmap: np.ndarray, settings: RefineSettings
) -> PeakRays:
    """Return the peaks (F, V, J, K) with weights: 1 for one as high as the frame's joints usually have, or higher.

    So a wrong peak does not outweigh a right one by its height, and what is as low as noise is left out.
    """
    peaks_hm, values = find_peaks(heatmaps, settings.num_peaks, settings.peak_mode)  # (F, V, J, K, 2), (F, V, J, K)
    usual = np.median(values.max((1, 3)), -1)[:, None, None, None]  # of the joints' highest peaks
    weights = np.minimum(values / np.where(usual > 0, usual, 1.0), 1.0)
    weights = np.where(weights >= _NOISE_SHARE, weights, 0.0)
    flat = peaks_hm.reshape(*peaks_hm.shape[:2], -1, 2)
    peaks_img = transform_points(flat, invert_affine(image_to_heatmap)).reshape(peaks_hm.shape)
    tolerance_hm = max(settings.tolerance * heatmaps.shape[-1], _MIN_TOLERANCE_HM)
    return peak_rays(peaks_img, weights, cameras, tolerance_hm / image_to_heatmap[..., 0, 0])
