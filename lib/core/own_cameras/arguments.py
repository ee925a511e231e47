"""Flags shared by the scripts for own cameras. Imports no torch."""

import argparse
import math
from pathlib import Path

from lib.core.own_cameras.recording import DEFAULT_RATE, Recording, load_recording
from lib.dataset.conventions import MM_PER_UNIT
from lib.dataset.own_cameras.keypoint_sets import POINT_SETS
from lib.dataset.own_cameras.name_matching import MATCH_HELP
from lib.multiviews.recording.robust_poses import AUTO, RobustSettings
from lib.utils.errors import InputError

DEFAULT_GAP_S = 0.2


def add_recording(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the files of a recording and for the consensus between its views."""
    add_files(parser)
    _add_consensus(parser)


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the files and frames of a recording."""
    add = parser.add_argument
    add("--cameras", type=Path, required=True, metavar="TOML", help="calibration in the format of Pose2Sim and Anipose")
    add(
        "--videos",
        type=Path,
        metavar="DIR",
        help="folder with one video per camera, e.g. cam01.mp4, or one folder of numbered images per camera",
    )
    add(
        "--detections",
        type=Path,
        metavar="DIR",
        help="per camera a folder of OpenPose JSON files, cam01_json/, or a COCO keypoint file, cam01.json; or one "
        ".npz file of run/data/detect_people.py",
    )
    add("--unit", choices=tuple(MM_PER_UNIT), default="m", help="unit of the calibration's translations")
    add("--views", nargs="+", default=[], metavar="NAME", help="cameras to use (default: all)")
    add("--match", nargs="+", default=[], metavar="CAMERA=FILE", help=MATCH_HELP)
    add("--points", choices=tuple(POINT_SETS), help="keypoint set of the detector (default: by the number of points)")
    add("--first-frame", type=int, default=0, metavar="N", help="the detector's number of a video's first frame")
    add(
        "--frames",
        type=int,
        nargs=2,
        metavar=("START", "STOP"),
        help="use frames START to STOP - 1, numbered from 0 in the video of the first camera, or of the slowest one",
    )
    add("--fps", type=float, default=DEFAULT_RATE, help="frames per second of image folders, or without videos")


def _add_consensus(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--synchronize", action="store_true", help="correct the sync offsets between the views, in whole frames")
    add("--synchronise", action="store_true", dest="synchronize", help=argparse.SUPPRESS)  # former spelling
    tolerance_help = (
        "largest reprojection error of a kept detection, share of the person's size (default: from the noise of the "
        "detections, at most 0.03; with --smooth HZ or 0: 0.03)"
    )
    add("--tolerance", type=float, help=tolerance_help)
    add(
        "--min-views",
        type=int,
        help="views that must agree (default: 2; with --smooth HZ or 0: 3 of 3 or more cameras)",
    )
    add("--min-confidence", type=float, default=RobustSettings.min_confidence, help="ignore detections below it")
    add(
        "--smooth",
        type=_smooth,
        default=AUTO,
        metavar="auto|HZ",
        help="auto: fit all frames to pixels, limb lengths and smooth motion (default); HZ: triangulate each frame and "
        "damp this frequency by half; 0: no smoothing",
    )
    add(
        "--max-gap",
        type=float,
        default=DEFAULT_GAP_S,
        metavar="S",
        help=f"longest gap of a joint that is bridged, seconds (default: {DEFAULT_GAP_S:g})",
    )


def _smooth(text: str) -> str | float:
    """Convert the value of --smooth."""
    return text if text == AUTO else float(text)


def load(args: argparse.Namespace) -> Recording:
    """Read calibration, videos and detections as the flags of add_files() or add_recording() say.

    Args:
        args: parsed arguments.

    Raises:
        InputError: a flag is out of range, or as load_recording().
    """
    if not 0 < args.fps < math.inf:
        raise InputError(f"--fps: expected a positive number, received {args.fps:g}")
    if args.first_frame < 0:
        raise InputError(f"--first-frame: expected 0 or more, received {args.first_frame}")
    recording = load_recording(
        args.cameras,
        args.videos,
        args.detections,
        unit=args.unit,
        views=args.views,
        point_set=args.points,
        first_frame=args.first_frame,
        rate=args.fps,
        match=args.match,
    )
    if "smooth" in args:  # a flag of the consensus
        robust_settings(args, recording)
    if args.detections is None:
        select_frames(recording, args)  # errors before a network runs, which takes minutes
    return recording


def robust_settings(args: argparse.Namespace, recording: Recording) -> RobustSettings:
    """Return the settings of the flags on tolerance, views, confidence, smoothing and gaps, checked for a recording."""
    cutoff = args.smooth
    if cutoff != AUTO:
        if not 0 <= cutoff < recording.rate / 2:
            raise InputError(
                f"--smooth: expected auto, 0, or less than half of {recording.rate:g} Hz, received {cutoff:g}"
            )
        cutoff = cutoff / recording.rate if cutoff else None
    if not 0 <= args.max_gap < math.inf:
        raise InputError(f"--max-gap: expected 0 or more seconds, received {args.max_gap:g}")
    if args.min_views is not None and not 2 <= args.min_views <= len(recording.rig):
        raise InputError(f"--min-views: expected 2 to {len(recording.rig)}, received {args.min_views}")
    max_gap = round(args.max_gap * recording.rate)
    return RobustSettings(args.tolerance, args.min_views, args.min_confidence, cutoff, max_gap)


def select_frames(recording: Recording, args: argparse.Namespace) -> Recording:
    """Return the frames of --frames, or all."""
    return recording.select_frames(*args.frames) if args.frames else recording
