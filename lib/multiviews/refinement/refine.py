"""Refinement of 3D poses to subpixel accuracy, on any backend.

1. Find the peaks of all heatmaps, with subpixel positions. Behind a fusion, use the peaks of the single-view heatmaps:
   a fused heatmap repeats the other views, so its peaks are blurred and not independent. Each peak is weighted by the
   fused heatmap at its place, which is low where the other views contradict.
2. Correct left/right swaps per view (left_right.py). Select the best combination of joint candidates (candidates.py).
3. Fit all joints to the peaks and to the limb lengths (pose_fit.py). The noise of the peaks is measured from the
   residuals; it sets the weight of the limb lengths.
4. If networks were trained for it, let them choose between the candidates of each joint (learned_choice.py) and predict
   the places of the joints in the views (learned_refinement.py); fit the pose to these places.
5. If the frames of a person are known, replace the limb lengths by those measured in the person's other frames
   (limb_lengths.py), and continue the fit.

fit_frames() runs steps 1 to 4 for each frame. fit_persons() runs step 5, which needs all frames but no heatmaps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.heatmap_values import highest_values, on_host, take_values
from lib.multiviews.keypoints.left_right import FlipPairs, limb_pairs, swap, swap_rays, swapped_limbs, swapped_views
from lib.multiviews.keypoints.peak_rays import PeakRays, peak_rays, tolerance_mm
from lib.multiviews.keypoints.peaks import find_peaks
from lib.multiviews.pictorial.backend_numpy import Array, Backend
from lib.multiviews.refinement.candidates import select_candidates
from lib.multiviews.refinement.learned_refinement import LearnedRefinement
from lib.multiviews.refinement.limb_lengths import Distances, person_distances
from lib.multiviews.refinement.pose_fit import PoseFit
from lib.multiviews.refinement.uncertainty import error_model, learned_covariance
from lib.multiviews.refinement.view_sampler import ViewSampler, partners
from lib.utils.errors import InputError, check_finite, check_shape
from lib.utils.transforms import invert_affine, similarity_scale, transform_points


@dataclass(frozen=True)
class RefineSettings:
    """Peaks, tolerances and steps of the refinement."""

    num_peaks: int = 3  # peaks per map, K
    peak_mode: str = "log_quadratic"  # see find_peaks()
    tolerance: float = 0.04  # inlier distance of a peak, relative to the crop side length
    length_std: float = 0.05  # standard deviation of the given limb lengths, relative to the length
    min_tolerance_hm: float = 3.0  # lower limit of `tolerance`, heatmap px
    agreement_power: float = 2.0  # exponent of the fused heatmap at a single-view peak, in the weight of the peak
    min_peak_share: float = 0.2  # peaks below this share of the frame's usual height are noise
    first_noise: float = 0.4  # noise of the first fit, tolerances; 1.2 px in the original heatmaps
    learned_weights: tuple[float, float] = (0.1, 2.0)  # range of the weight of a predicted place; 1 = usual error
    steps: tuple[int, ...] = (4, 4, 8)  # steps of the fit; the noise is measured between these rounds
    person_steps: int = 8  # steps with the person's distances
    block_frames: int = 16  # frames per block; blocks run in parallel, unless the backend's kernels do


@dataclass(frozen=True)
class FittedFrames:
    """Fitted poses of a block of frames, with the data for fit_persons().

    The size is about 6 kB per frame with 4 views, 17 joints and 3 peaks per map; heatmaps are 1.1 MB per frame.

    Attributes:
        fit: peaks, cameras, limb lengths and measured noise.
        points: (F, J, 3) mm, an array of the backend.
        peaks: the fit to the peaks, if `fit` uses predicted places; see learned_covariance().
    """

    fit: PoseFit
    points: Array
    peaks: PoseFit | None = None


def fit_frames(
    heatmaps: Array,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    start_world: np.ndarray,
    limb_lengths: np.ndarray,
    body: HumanBody,
    backend: Backend,
    settings: RefineSettings = RefineSettings(),
    flip_pairs: FlipPairs = (),
    check_heatmaps: bool = True,
    single_view_peaks: np.ndarray | None = None,
    learned: LearnedRefinement | None = None,
) -> list[FittedFrames]:
    """Refine the 3D poses of F frames, each frame independently (steps 1 to 4).

    Args:
        heatmaps: (F, V, J, H, W) in the joint order of `body`, numpy or torch.
        cameras: numpy cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.
        start_world: (F, J, 3) initial poses, mm.
        limb_lengths: (F, E) or (E,) expected limb lengths in the order of `body.edges`, mm.
        body: skeleton.
        backend: NumpyBackend or TorchBackend.
        settings: peaks, tolerances and steps.
        flip_pairs: (right, left) joints that a detector may swap.
        check_heatmaps: False if the caller has checked that the heatmaps are finite; the check reads all of them.
        single_view_peaks: (F, V, J, K, 3) x, y, heatmap px, and value of the peaks before fusion, see stacked_peaks();
            None = the heatmaps are not fused, or only the fused ones are known: then their own peaks are used.
        learned: networks of step 4; None = skip it.

    Returns:
        Blocks of frames in order. fitted_poses() returns their poses.

    Raises:
        InputError: shapes disagree, a value is not finite, or fewer than two views.
    """
    start_world, limb_lengths = np.asarray(start_world, np.float64), np.asarray(limb_lengths, np.float64)
    if limb_lengths.ndim == 1:
        limb_lengths = np.broadcast_to(limb_lengths, (len(heatmaps), len(limb_lengths)))
    _check_inputs(heatmaps, cameras, image_to_heatmap, start_world, limb_lengths, body)
    if single_view_peaks is not None:
        check_shape("single_view_peaks", single_view_peaks.shape, (*heatmaps.shape[:3], "K", 3))
    if check_heatmaps:
        check_finite("heatmaps", heatmaps)
    given = Distances(body.edges, limb_lengths, settings.length_std * limb_lengths)
    size = max(len(heatmaps), 1) if backend.kernels_run_in_parallel else settings.block_frames
    blocks = [slice(start, start + size) for start in range(0, len(heatmaps), size)]
    fitted: list[Any] = [None] * len(blocks)

    def fit_block(frames: slice) -> None:
        views, limbs = cameras[frames], given[frames]
        own = None if single_view_peaks is None else single_view_peaks[frames]
        peaks = trusted_rays(heatmaps[frames], own, views, image_to_heatmap[frames], settings, backend)
        pose, rays = _start(peaks, views, start_world[frames], limbs, body, flip_pairs, backend)
        block = _fit(pose, rays, views, limbs, body, backend, settings)
        if learned is not None:
            partner = partners(body.num_joints, flip_pairs)
            sampler = ViewSampler(heatmaps[frames], views, image_to_heatmap[frames], partner, backend)
            # The networks read the heatmaps as they are, so the choice is between the peaks before left/right swaps.
            pose = learned.choose(sampler, peaks, backend.numpy(block.points), body)
            rays = _predicted_rays(learned, sampler, pose, settings)
            block = replace(_fit(pose, rays, views, limbs, body, backend, settings), peaks=block.fit)
        fitted[frames.start // size] = block

    _for_each(fit_block, blocks, backend)
    return fitted


def fit_persons(
    fitted: Sequence[FittedFrames],
    person: np.ndarray,
    body: HumanBody,
    backend: Backend,
    settings: RefineSettings = RefineSettings(),
) -> list[FittedFrames]:
    """Continue the fit with the limb lengths measured in each person's other frames (step 5).

    Args:
        fitted: all frames of the persons.
        person: (F,) person id of each frame.
        body: skeleton.
        backend: backend of the fitted frames.
        settings: `person_steps` is used.

    Returns:
        Blocks of frames in order, fitted again.

    Raises:
        InputError: `person` has a wrong length.
    """
    if not fitted:
        return []
    measured = [
        (
            *block.fit.without_distances(block.points),
            backend.numpy(block.fit.lengths),
            backend.numpy(block.fit.length_std),
        )
        for block in fitted
    ]
    points_world, covariance, lengths, std = map(np.concatenate, zip(*measured, strict=True))
    check_shape("person", np.shape(person), (len(points_world),))
    given = Distances(body.edges, lengths, std)
    distances = person_distances(points_world, covariance, np.asarray(person), given, body)

    again: dict[int, FittedFrames] = {}  # first frame -> block
    stops = np.cumsum([len(block.points) for block in fitted]).tolist()
    by_start = dict(zip([0, *stops], fitted, strict=False))

    def fit_again(frames: slice) -> None:
        block = by_start[frames.start]
        fit = block.fit.with_distances(distances[frames])
        peaks = None if block.peaks is None else block.peaks.with_distances(distances[frames])
        again[frames.start] = FittedFrames(fit, fit.optimize(block.points, settings.person_steps), peaks)

    _for_each(fit_again, [slice(start, stop) for start, stop in zip(by_start, stops, strict=True)], backend)
    return [again[start] for start in sorted(again)]


def _for_each(function: Callable[[slice], None], blocks: Sequence[slice], backend: Backend) -> None:
    """Process blocks in parallel, or one after the other if the backend's kernels themselves run in parallel."""
    if backend.kernels_run_in_parallel:
        for block in blocks:
            function(block)
    else:
        backend.for_each(function, blocks)


def fitted_poses(fitted: Sequence[FittedFrames], body: HumanBody, backend: Backend) -> np.ndarray:
    """Return the poses (F, J, 3) of blocks of frames, mm."""
    nothing = np.empty((0, body.num_joints, 3))
    return np.concatenate([nothing, *(backend.numpy(block.points) for block in fitted)])


def fitted_errors(fitted: Sequence[FittedFrames], body: HumanBody) -> tuple[np.ndarray, np.ndarray]:
    """Return covariance (F, J, 3, 3), mm^2, and degrees of freedom (F,) of blocks of frames; see error_model()."""
    nothing = np.empty((0, body.num_joints, 3, 3)), np.empty((0, body.num_joints))
    blocks = [nothing, *(_covariance_and_support(block) for block in fitted)]
    return error_model(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


def _covariance_and_support(block: FittedFrames) -> tuple[np.ndarray, np.ndarray]:
    """Return covariance (F, J, 3, 3), mm^2, and support (F, J) of the joints, for error_model()."""
    covariance, support = block.fit.covariance_and_support(block.points)
    if block.peaks is None:
        return covariance, support
    of_peaks, support = block.peaks.covariance_and_support(block.points)
    return learned_covariance(of_peaks, covariance, block.fit.rays.weight.shape[1]), support


def _start(
    rays: PeakRays,
    cameras: Cameras,
    start_world: np.ndarray,
    limbs: Distances,
    body: HumanBody,
    flip_pairs: FlipPairs,
    backend: Backend,
) -> tuple[np.ndarray, PeakRays]:
    """Return the selected candidates (F, J, 3), mm, and the peaks, with left/right swaps corrected."""
    groups = limb_pairs(body, flip_pairs)
    swapped = swapped_views(rays, cameras, groups, backend)  # (F, V, groups)
    rays = swap_rays(rays, swapped, groups)
    pose = select_candidates(rays, cameras, start_world, limbs.mean, limbs.std, body, backend)
    in_all_views = swapped_limbs(pose, swapped, groups)  # (F, groups)
    per_view = np.broadcast_to(in_all_views[:, None], swapped.shape)
    return swap(pose, in_all_views, groups), swap_rays(rays, per_view, groups)


def _fit(
    pose: np.ndarray,
    rays: PeakRays,
    cameras: Cameras,
    limbs: Distances,
    body: HumanBody,
    backend: Backend,
    settings: RefineSettings,
) -> FittedFrames:
    """Fit poses (F, J, 3), mm, to peaks and limb lengths."""
    floats = backend.floats
    points = backend.floats(pose)
    fit = PoseFit(
        rays.map(floats),
        cameras.map(floats),
        pairs=limbs.pairs,
        lengths=floats(limbs.mean),
        length_std=floats(limbs.std),
        noise=floats(np.full(len(pose), settings.first_noise)),
        tolerance_mm=floats(tolerance_mm(pose[:, body.root], rays, cameras)),
        backend=backend,
    )
    for round_, num_steps in enumerate(settings.steps):
        fit = fit.with_measured_noise(points) if round_ else fit
        points = fit.optimize(points, num_steps)
    return FittedFrames(fit, points)


def _check_inputs(
    heatmaps: Array,
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
    for name, values in (("start_world", start_world), ("limb_lengths", limb_lengths)):
        check_finite(name, values)
    if not (limb_lengths > 0).all():
        raise InputError(f"limb_lengths: expected lengths above 0 mm, received {limb_lengths.min():g}")


def trusted_rays(
    heatmaps: Array,
    single_view_peaks: np.ndarray | None,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    settings: RefineSettings = RefineSettings(),
    backend: Backend | None = None,
) -> PeakRays:
    """Return the peaks (F, V, J, K), with weights relative to the frame's usual height, at most 1.

    So an outlier does not outweigh an inlier by its height. Peaks as low as noise get weight 0.

    Args:
        heatmaps, single_view_peaks, cameras, image_to_heatmap: see fit_frames().
        settings: `num_peaks`, `peak_mode`, `min_peak_share`, `agreement_power` and the tolerances are used.
        backend: its kernels are used if it has them; None = numpy.
    """
    if single_view_peaks is None:  # (F, V, J, K, 2), (F, V, J, K)
        peaks_hm, values = find_peaks(heatmaps, settings.num_peaks, settings.peak_mode, backend=backend)
    else:
        peaks_hm = single_view_peaks[..., :2].astype(np.float64)
        values = single_view_peaks[..., 2].astype(np.float64)
    usual = np.median(values.max((1, 3)), -1)[:, None, None, None]  # of the joints' highest peaks
    weights = np.minimum(values / np.where(usual > 0, usual, 1.0), 1.0)
    weights = np.where(weights >= settings.min_peak_share, weights, 0.0)
    if single_view_peaks is not None:
        weights = weights * _agreement(heatmaps, peaks_hm) ** settings.agreement_power
    return _rays(peaks_hm, weights, cameras, image_to_heatmap, heatmaps.shape[-1], settings, backend)


def _predicted_rays(
    learned: LearnedRefinement, views: ViewSampler, pose: np.ndarray, settings: RefineSettings
) -> PeakRays:
    """Return the predicted places of the joints as one peak per map, weighted by the predicted errors."""
    places, error = learned.predict(views, pose)
    weights = place_weights(error, settings)[..., None]
    width = views.heatmaps.shape[-1]
    where = (views.cameras, views.image_to_heatmap, width)
    return _rays(places[..., None, :], weights, *where, settings, views.backend)


def place_weights(error: np.ndarray, settings: RefineSettings = RefineSettings()) -> np.ndarray:
    """Return the weights of predicted places from their predicted errors (F, V, J); 1 = usual error of the frame."""
    usual = np.median(error, (1, 2), keepdims=True)
    return (usual / error).clip(*settings.learned_weights)


def _rays(
    peaks_hm: np.ndarray,
    weights: np.ndarray,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    heatmap_width: int,
    settings: RefineSettings,
    backend: Backend | None = None,
) -> PeakRays:
    """Return places (F, V, J, K, 2), heatmap px, as rays with weights (F, V, J, K)."""
    flat = peaks_hm.reshape(*peaks_hm.shape[:2], -1, 2)
    peaks_img = transform_points(flat, invert_affine(image_to_heatmap)).reshape(peaks_hm.shape)
    tolerance_hm = max(settings.tolerance * heatmap_width, settings.min_tolerance_hm)
    return peak_rays(peaks_img, weights, cameras, tolerance_hm / similarity_scale(image_to_heatmap), backend)


def _agreement(fused: Array, peaks_hm: np.ndarray) -> np.ndarray:
    """Return fused heatmaps (F, V, J, H, W) at peaks (F, V, J, K, 2) relative to their maximum: (F, V, J, K), 0 to 1.

    It tells the views that contradict: for epipolar_max on the synthetic quick start, 99 % of the peaks below 0.8 are
    more than 2 px from the joint, and 2 % of those above 0.95.
    """
    fused = on_host(fused)
    height, width = fused.shape[-2:]
    pixels = np.rint(np.nan_to_num(peaks_hm)).astype(np.int64).clip(0, [width - 1, height - 1])
    maps = np.arange(np.prod(fused.shape[:3], dtype=int)).reshape(*fused.shape[:3], 1)
    values = take_values(fused, (maps * height + pixels[..., 1]) * width + pixels[..., 0])
    highest = highest_values(fused)[..., None]
    return (values / np.where(highest > 0, highest, 1.0)).clip(0.0, 1.0)
