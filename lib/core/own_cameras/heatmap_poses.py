"""3D poses of a recording from the heatmaps of a followed person, in one pass whose memory does not grow."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.core.own_cameras.blazepose_files import DETECTOR, fetch_blazepose
from lib.core.own_cameras.network import PoseNetwork
from lib.core.own_cameras.person_tracking import FramePrediction, PersonTracker
from lib.core.own_cameras.recording import FrameHeatmaps, Recording, heatmap_frames, synchronize
from lib.core.own_cameras.recording_poses import AGREEMENT, person_prior, smooth, triangulate
from lib.core.pose3d.frames import FrameBatch
from lib.core.pose3d.make_prior import pictorial_settings
from lib.core.pose3d.methods import METHODS, make_context, run_method
from lib.dataset.own_cameras.detections import Detections
from lib.dataset.own_cameras.person_detector import PersonDetector
from lib.dataset.own_cameras.videos import read_frames
from lib.multiviews.body import H36M_BODY
from lib.multiviews.keypoints.view_consensus import reprojection_error
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.recording.robust_poses import RobustPoses, RobustSettings
from lib.utils.errors import InputError
from lib.utils.part_times import PartTimes

_FRAMES_AHEAD = 4  # decoded while the network runs
_BATCH = 16  # frames per batch of the 3D method
_PRIOR_FRAMES = 100  # first frames, whose triangulated poses give the limb lengths


def find_person(recording: Recording, config: Any) -> tuple[Recording, PersonTracker]:
    """Find the person in the first frame that shows one.

    Args:
        recording: recording with videos.
        config: configuration with BACKBONE_MODEL blazepose. Missing files of the network are fetched.

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
    network = PoseNetwork(config, config.BLAZEPOSE.FILE, recording.rig.cameras)
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
    tracker: PersonTracker,
    times: PartTimes | None = None,
    shown: list[FrameHeatmaps] | None = None,
) -> Iterator[FramePrediction]:
    """Predict the frames of find_person(), one after the other.

    Args:
        recording, tracker: results of find_person().
        times: gets the waiting for images and the network.
        shown: gets the heatmaps of heatmap_frames().

    Yields:
        The predictions, without single-view heatmaps.
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
                maps = (prediction.heatmaps, prediction.single_view, prediction.image_to_heatmap)
                shown.append(FrameHeatmaps.of(frame, *maps))
            yield replace(prediction, single_view=None)


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


def detect_people(recording: Recording, config: Any) -> Detections:
    """Return the joints of the followed person as detections in all video frames; see find_person()."""
    recording, tracker = find_person(recording, config)
    joints = _with_points(recording, list(map(_joints_of, follow_person(recording, tracker)))).points
    points = np.full((int(recording.num_frames.max()), len(recording.rig), 1, *joints.shape[2:]), np.nan)
    points[recording.table, np.arange(len(recording.rig)), 0] = joints
    return Detections(recording.rig.names, points)


def poses_from_heatmaps(
    recording: Recording, config: Any, method: str, settings: RobustSettings, prior: LimbPrior | None = None
) -> tuple[Recording, RobustPoses]:
    """Follow the person and estimate the poses with a 3D method.

    Args:
        recording: recording with videos.
        config: configuration with BACKBONE_MODEL blazepose; the sections NETWORK, PICT_STRUCT and TRIANGULATE are read.
        method: AGREEMENT or a name in METHODS.
        settings: consensus between the peaks, and smoothing.
        prior: limb prior; None = limb lengths of the first frames.

    Returns:
        The recording with the person's joints as points and with heatmaps of some frames, and the poses. With
        settings.cutoff "auto", the fit of all frames to the points begins at the poses of the method.

    Raises:
        InputError: as find_person(), the method cannot use the frames, or a limb length is unknown.
    """
    settings = replace(settings, weigh_confidence=True)  # peaks of hidden joints are lower
    times = PartTimes()
    with times.measure("search"):
        recording, tracker = find_person(recording, config)
    shown: list[FrameHeatmaps] = []
    predictions = follow_person(recording, tracker, times, shown)
    if method == AGREEMENT:
        recording = _with_points(recording, list(map(_joints_of, predictions)))
        recording = synchronize(replace(recording, heatmaps=tuple(shown)))
        return recording, smooth(triangulate(recording, settings), recording, settings)
    first = list(islice(predictions, _PRIOR_FRAMES))
    if prior is None and METHODS[method].needs_prior:
        poses = triangulate(_with_points(recording, list(map(_joints_of, first))), settings)
        prior = person_prior(poses, pictorial_settings(config.PICT_STRUCT).first_grid)
    joints: list[np.ndarray] = []
    batches = _batches(recording, chain(first, predictions), joints)
    del first
    context = make_context(config, H36M_BODY, prior, make_cpu_backend())
    pose_world = run_method(METHODS[method], batches, context).pose_world
    notes = (*recording.notes, times.describe(len(recording), method))
    recording = replace(recording, notes=notes, heatmaps=tuple(shown))
    recording = synchronize(_with_points(recording, joints))
    located = np.isfinite(recording.points).any((1, 2, 3))
    pose_world = np.where(located[:, None, None], pose_world, np.nan)
    poses = triangulate(recording, settings).with_pose(pose_world, recording.cameras)
    return recording, smooth(poses, recording, settings)


def leave_one_out_of_heatmaps(
    recording: Recording,
    poses: RobustPoses,
    config: Any,
    method: str,
    settings: RobustSettings,
    prior: LimbPrior | None = None,
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
        rest, found = poses_from_heatmaps(recording.without_view(view), config, method, settings, prior)
        frames = slice(len(recording) - len(rest), None)  # the person may be found later
        pose = np.where(found.known[..., None], found.pose_world, np.nan)
        one = slice(view, view + 1)
        target = poses.points_img[frames, one]
        cameras = recording.cameras[frames, one]
        errors[frames, view] = reprojection_error(pose, target, cameras, np.ones(target.shape[:2]))[:, 0]
    return errors


def _batches(
    recording: Recording, predictions: Iterator[FramePrediction], joints: list[np.ndarray]
) -> Iterator[FrameBatch]:
    """Yield batches of frames, and append the joints (V, 17, 3) of each frame, NaN where the person is lost."""
    while batch := list(islice(predictions, _BATCH)):
        joints += map(_joints_of, batch)
        yield FrameBatch(
            heatmaps=np.stack([one.heatmaps for one in batch]),
            locations=np.stack([one.locations for one in batch]),
            cameras=recording.rig.over_frames(len(batch)),
            image_to_heatmap=np.stack([one.image_to_heatmap for one in batch]),
            center=np.stack([one.center for one in batch]),
            subject=np.zeros(len(batch), int),
        )
