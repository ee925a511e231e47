"""3D poses of a recording from the heatmaps of a followed person, in one pass whose memory does not grow."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.core.own_cameras.network import FramePrediction, PoseNetwork, frame_batch
from lib.core.own_cameras.person_search import SearchTracker
from lib.core.own_cameras.person_tracking import PersonTracker
from lib.core.own_cameras.recording import FrameHeatmaps, Recording, heatmap_frames, synchronize
from lib.core.own_cameras.recording_poses import AGREEMENT, person_prior, smooth, triangulate
from lib.core.pose3d.learned_file import load_learned
from lib.core.pose3d.make_prior import pictorial_settings
from lib.core.pose3d.methods import METHODS, make_context, run_method
from lib.dataset.own_cameras.blazepose_files import DETECTOR, fetch_blazepose
from lib.dataset.own_cameras.detections import Detections
from lib.dataset.own_cameras.person_detector import PersonDetector
from lib.dataset.own_cameras.videos import read_frames
from lib.multiviews.body import H36M_BODY
from lib.multiviews.keypoints.view_consensus import reprojection_error
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.recording.robust_poses import AUTO, RobustPoses, RobustSettings
from lib.multiviews.refinement.learned_refinement import LearnedRefinement
from lib.utils.errors import InputError
from lib.utils.part_times import PartTimes

_FRAMES_AHEAD = 4  # decoded while the network runs
_BATCH = 16  # frames per batch of the 3D method
_PRIOR_FRAMES = 100  # first frames, whose triangulated poses give the limb lengths


def find_person(
    recording: Recording, config: Any, checkpoint: str | os.PathLike | None = None
) -> tuple[Recording, PersonTracker]:
    """Find the person in the first frame that shows one.

    Args:
        recording: recording with videos.
        config: configuration with BACKBONE_MODEL blazepose. Missing files of the network are fetched.
        checkpoint: weights of the fusion; None = it needs none.

    Returns:
        The recording from that frame on, and the tracker.

    Raises:
        InputError: there are no videos, no person, or the network cannot be fetched or used.
    """
    if recording.videos is None:
        raise InputError("BlazePose needs the videos: --videos")
    folder = Path(config.BLAZEPOSE.FILE).parent
    if not (folder / DETECTOR).is_file():
        fetch_blazepose(folder)
    network = PoseNetwork(config, checkpoint or config.BLAZEPOSE.FILE, recording.rig.cameras)
    tracker = PersonTracker(network, PersonDetector(folder / DETECTOR), recording.rig.cameras)
    for frame, images in enumerate(read_frames(recording.videos, recording.table)):
        if not tracker.search(images):
            continue
        if frame:
            recording = replace(recording, table=recording.table[frame:])
            recording = recording.with_note(f"no person in the first {frame} frames, which are left out")
        return recording, tracker
    raise InputError(
        "no person found on whom two views agree; check that the calibration fits the videos, or name detections "
        "with --detections"
    )


def follow_person(
    recording: Recording,
    tracker: Callable[[Sequence[np.ndarray]], FramePrediction],
    triangulate: Any,
    times: PartTimes | None = None,
    shown: list[FrameHeatmaps] | None = None,
) -> Iterator[FramePrediction]:
    """Predict the frames of a recording, one after the other.

    Args:
        recording: recording with videos.
        tracker: predicts the next frame; PersonTracker of find_person(), or SearchTracker.
        triangulate: section TRIANGULATE, which says how peaks are found.
        times: gets the waiting for images and the network.
        shown: gets the heatmaps of heatmap_frames().

    Yields:
        The predictions, with peaks instead of single-view heatmaps.
    """
    times = times or PartTimes()
    kept = set() if shown is None else set(heatmap_frames(len(recording)))
    images_of_frames = _read_ahead(read_frames(recording.videos, recording.table))
    bar = tqdm(total=len(recording), desc="poses", unit="frame", disable=None, leave=False)
    with bar, closing(images_of_frames):
        for frame in count():
            with times.measure("waiting for video"):
                images = next(images_of_frames, None)
            if images is None:
                return
            with times.measure("heatmaps and tracking"):
                prediction = tracker(images)
            bar.update()
            if frame in kept:
                shown.append(
                    FrameHeatmaps.of(frame, prediction.heatmaps, prediction.single_view, prediction.image_to_heatmap)
                )
            yield prediction.with_peaks(triangulate)


def _read_ahead(frames: Iterator[list[np.ndarray]]) -> Iterator[list[np.ndarray]]:
    """Decode the next frames in another thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, frames, None) for _ in range(_FRAMES_AHEAD))
        while (images := waiting.popleft().result()) is not None:
            yield images
            waiting.append(pool.submit(next, frames, None))


def _joints_of(prediction: FramePrediction) -> np.ndarray:
    """Return the joints (V, 17, 3) of a frame; NaN where the person is lost."""
    return np.where(prediction.is_located, prediction.locations, np.nan).astype(np.float64)


def _with_points(recording: Recording, joints: Sequence[np.ndarray]) -> Recording:
    """Return the first frames of a recording with the joints (V, 17, 3) of each frame as points."""
    points = np.stack(joints)
    return replace(
        recording, table=recording.table[: len(points)], points=np.where(points[..., 2:] > 0, points, np.nan)
    )


def detect_people(recording: Recording, config: Any, checkpoint: str | os.PathLike | None = None) -> Detections:
    """Return the joints of the followed person as detections in all video frames; see find_person()."""
    recording, tracker = find_person(recording, config, checkpoint)
    predictions = follow_person(recording, tracker, config.TRIANGULATE)
    joints = _with_points(recording, list(map(_joints_of, predictions))).points
    points = np.full((int(recording.num_frames.max()), len(recording.rig), 1, *joints.shape[2:]), np.nan)
    points[recording.table, np.arange(len(recording.rig)), 0] = joints
    return Detections(recording.rig.names, points)


def poses_from_heatmaps(
    recording: Recording,
    config: Any,
    method: str,
    settings: RobustSettings,
    prior: LimbPrior | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> tuple[Recording, RobustPoses]:
    """Follow the person and estimate the poses with a 3D method.

    Args:
        recording: recording with videos.
        config: configuration with BACKBONE_MODEL blazepose; the sections NETWORK, PICT_STRUCT and TRIANGULATE are read.
        method: AGREEMENT or a name in METHODS.
        settings: consensus between the peaks, and smoothing.
        prior: limb prior; None = limb lengths of the first frames.
        checkpoint: weights of the fusion; None = it needs none.

    Returns:
        The recording with the person's joints as points and with heatmaps of some frames, and the poses. With
        settings.cutoff "auto", the fit of all frames to the points begins at the poses of the method.

    Raises:
        InputError: as find_person(), the method cannot use the frames, or a limb length is unknown.
    """
    settings = replace(settings, weigh_confidence=True)  # peaks of hidden joints are lower
    times = PartTimes()
    with times.measure("search"):
        recording, tracker = find_person(recording, config, checkpoint)
    recording, pose_world = _follow_and_estimate(recording, tracker, config, method, settings, prior, times)
    recording = synchronize(recording)
    poses = triangulate(recording, settings)
    if pose_world is not None:
        poses = poses.with_pose(pose_world, recording.cameras)
    return recording, smooth(poses, recording, settings)


def poses_from_network(
    recording: Recording,
    config: Any,
    checkpoint: str | os.PathLike,
    method: str,
    settings: RobustSettings,
    prior: LimbPrior | None = None,
    keep: Callable[[Recording, RobustPoses], None] | None = None,
) -> tuple[Recording, RobustPoses]:
    """Run a trained network on a recording, and estimate the poses with a 3D method.

    Args:
        recording: recording with videos. Its points, if there are any, locate the person.
        config: configuration that the network was trained with.
        checkpoint: file of the weights.
        method: AGREEMENT or a name in METHODS.
        settings: consensus between the peaks, and smoothing; cutoff "auto" fits only with AGREEMENT.
        prior: limb prior; None = limb lengths of the first frames.
        keep: gets the triangulated poses if the 3D method fails; None = they are lost.

    Returns:
        The recording with the network's joints as points and with heatmaps of some frames, and the poses.

    Raises:
        InputError: there are no videos, the weights are for another network or rig, the method cannot use the frames,
            or a limb length is unknown.
    """
    if recording.videos is None:
        raise InputError("the network needs the videos: --videos")
    roots = None
    if recording.points is not None:
        roots = smooth(triangulate(recording, settings), recording, settings).positions
    network = PoseNetwork(config, checkpoint, recording.rig.cameras)
    tracker = SearchTracker(network, recording.rig, roots)

    def keep_triangulated(found: Recording) -> None:
        keep(found, smooth(triangulate(found, settings), found, settings))

    recording, pose_world = _follow_and_estimate(
        recording, tracker, config, method, settings, prior, PartTimes(), None if keep is None else keep_triangulated
    )
    poses = triangulate(recording, settings)
    if pose_world is None:
        return recording, smooth(poses, recording, settings)
    if settings.cutoff == AUTO:  # the method replaces the fit, which only rejects outliers
        return recording, smooth(poses, recording, settings).with_pose(pose_world, recording.cameras)
    return recording, smooth(poses.with_pose(pose_world, recording.cameras), recording, settings)


def _follow_and_estimate(
    recording: Recording,
    tracker: Callable[[Sequence[np.ndarray]], FramePrediction],
    config: Any,
    method: str,
    settings: RobustSettings,
    prior: LimbPrior | None,
    times: PartTimes,
    keep: Callable[[Recording], None] | None = None,
) -> tuple[Recording, np.ndarray | None]:
    """Return the recording with the person's joints, and the poses (F, 17, 3) of the method, NaN where it is lost.

    AGREEMENT has no poses of its own: None. Arguments as in poses_from_network(). If the method fails, or a frame is
    damaged, `keep` gets the recording with the joints found so far.
    """
    learned = None
    if method != AGREEMENT and METHODS[method].needs_learned:
        learned = load_learned(config, None, H36M_BODY.joint_names)  # before all frames are predicted
    shown: list[FrameHeatmaps] = []
    joints: list[np.ndarray] = []
    predictions = _collected(follow_person(recording, tracker, config.TRIANGULATE, times, shown), joints)
    pose_world = None
    try:
        if method != AGREEMENT:
            pose_world = _estimated(recording, predictions, config, method, settings, prior, learned)
        deque(predictions, maxlen=0)  # the rest, if nothing else has read it
    except InputError:
        if keep is not None:
            with suppress(InputError):
                deque(predictions, maxlen=0)
            if joints:
                with suppress(InputError):
                    keep(_with_points(recording, joints))
        raise
    notes = (*recording.notes, times.describe(len(recording), method))
    recording = _with_points(replace(recording, notes=notes, heatmaps=tuple(shown)), joints)
    if pose_world is not None:
        is_located = np.isfinite(recording.points).any((1, 2, 3))
        pose_world = np.where(is_located[:, None, None], pose_world, np.nan)
    return recording, pose_world


def _collected(predictions: Iterator[FramePrediction], joints: list[np.ndarray]) -> Iterator[FramePrediction]:
    """Yield the predictions, and append the joints (V, 17, 3) of each frame, NaN where the person is lost."""
    for prediction in predictions:
        joints.append(_joints_of(prediction))
        yield prediction


def _estimated(
    recording: Recording,
    predictions: Iterator[FramePrediction],
    config: Any,
    method: str,
    settings: RobustSettings,
    prior: LimbPrior | None,
    learned: LearnedRefinement | None,
) -> np.ndarray:
    """Return the poses (F, 17, 3) of a 3D method."""
    first = deque(islice(predictions, _PRIOR_FRAMES))
    if prior is None and METHODS[method].needs_prior:
        poses = triangulate(_with_points(recording, list(map(_joints_of, first))), settings)
        prior = person_prior(poses, pictorial_settings(config.PICT_STRUCT).first_grid)
    frames = chain(_emptied(first), predictions)
    context = make_context(config, H36M_BODY, prior, make_cpu_backend(), learned)
    batches = (frame_batch(batch, recording.rig.over_frames(len(batch))) for batch in _batches(frames))
    return run_method(METHODS[method], batches, context).pose_world


def _emptied(frames: deque[FramePrediction]) -> Iterator[FramePrediction]:
    while frames:
        yield frames.popleft()


def _batches(predictions: Iterator[FramePrediction]) -> Iterator[list[FramePrediction]]:
    while batch := list(islice(predictions, _BATCH)):
        yield batch


def leave_one_out_of_heatmaps(
    recording: Recording,
    poses: RobustPoses,
    config: Any,
    method: str,
    settings: RobustSettings,
    prior: LimbPrior | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> np.ndarray:
    """Predict the joints of each view from the other views: follow the person again without it, with the same method.

    Args:
        recording, poses: result of poses_from_heatmaps() with at least 3 views; the others are its arguments.

    Returns:
        (F, V, J) distance of a view's joints from the prediction, px; NaN without a joint or a prediction.
    """
    num_views = len(recording.rig)
    if settings.min_views is not None:
        settings = replace(settings, min_views=min(settings.min_views, num_views - 1))
    errors = np.full(poses.agrees.shape, np.nan)
    for view in range(num_views):
        rest, found = poses_from_heatmaps(recording.without_view(view), config, method, settings, prior, checkpoint)
        frames = slice(len(recording) - len(rest), None)  # the person may be found later
        pose = np.where(found.known[..., None], found.pose_world, np.nan)
        one = slice(view, view + 1)
        target = poses.points_img[frames, one]
        cameras = recording.cameras[frames, one]
        errors[frames, view] = reprojection_error(pose, target, cameras, np.ones(target.shape[:2]))[:, 0]
    return errors
