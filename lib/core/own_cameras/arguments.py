"""Flags that the scripts for own cameras share; imports no torch."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from lib.core.own_cameras.recording import DEFAULT_RATE, Capture, detect, load_capture
from lib.dataset.conventions import MM_PER_UNIT
from lib.dataset.own_cameras.keypoint_sets import POINT_SETS
from lib.multiviews.recording.robust_poses import RobustSettings
from lib.utils.errors import InputError


def add_recording(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name a recording and say how its detections are judged."""
    defaults = RobustSettings()
    add = parser.add_argument
    add(
        "--cameras",
        type=Path,
        required=True,
        metavar="TOML",
        help="calibration, as Pose2Sim, Anipose and FreeMoCap write it",
    )
    add("--videos", type=Path, metavar="DIR", help="a video per camera, e.g. cam01.mp4")
    add(
        "--detections",
        type=Path,
        metavar="DIR",
        help="per camera a folder of OpenPose's JSON files, cam01_json/, "
        "or a file in COCO's form, e.g. cam01.json; or one .npz file of run/data/detect_people.py",
    )
    add("--unit", choices=tuple(MM_PER_UNIT), default="m", help="of the calibration's translations")
    add("--views", nargs="+", default=[], metavar="NAME", help="cameras to use (default: all of the calibration)")
    add("--points", choices=tuple(POINT_SETS), help="the detector's points (default: by their number)")
    add(
        "--first-frame",
        type=int,
        default=0,
        metavar="N",
        help="the detector's number of a video's first frame (default 0)",
    )
    add(
        "--frames",
        type=int,
        nargs=2,
        metavar=("START", "STOP"),
        help="frames START to STOP - 1 alone, "
        "numbered from 0 as in the video of the first camera (if they differ in speed, of the slowest)",
    )
    add("--synchronise", action="store_true", help="correct the estimated offsets between the views, in whole frames")
    add("--fps", type=float, default=DEFAULT_RATE, help="frames per second where there are no videos")
    add(
        "--tolerance",
        type=float,
        default=defaults.tolerance,
        help="largest reprojection error of a detection that is kept, share of the person's size",
    )
    add("--min-views", type=int, help="views that must agree (default: 3, or 2 of 2)")
    add("--min-confidence", type=float, default=defaults.min_confidence, help="detections below it are not used")
    add("--smooth", type=float, metavar="HZ", help="smooth over time: the frequency that keeps half of its amplitude")


def read_recording(args: argparse.Namespace, look: bool = False) -> tuple[Capture, RobustSettings]:
    """Read what the flags of add_recording() say.

    Args:
        args: parsed.
        look: where no detections are named, detect the person in the videos.

    Returns:
        The recording, and what counts as agreement.

    Raises:
        InputError: a flag out of range, or as load_capture() and detect().
    """
    if not 0 < args.fps < math.inf:
        raise InputError(f"--fps: expected a positive number, received {args.fps:g}")
    if args.first_frame < 0:
        raise InputError(f"--first-frame: expected 0 or more, received {args.first_frame}")
    look = look and args.detections is None
    capture = load_capture(
        args.cameras,
        args.videos,
        args.detections,
        unit=args.unit,
        views=args.views,
        point_set=args.points,
        first_frame=args.first_frame,
        synchronise=args.synchronise and not look,
        rate=args.fps,
    )
    robust = _robust_settings(args, capture)
    if look:
        _chosen(capture, args)  # what cannot be is told before the minutes of the detector
        capture = detect(capture, args.synchronise)
    return _chosen(capture, args), robust


def _chosen(capture: Capture, args: argparse.Namespace) -> Capture:
    return capture.frames(*args.frames) if args.frames else capture


def _robust_settings(args: argparse.Namespace, capture: Capture) -> RobustSettings:
    cutoff = None if args.smooth is None else args.smooth / capture.rate
    if cutoff is not None and not 0 < cutoff < 0.5:
        raise InputError(
            f"--smooth: expected more than 0 and less than half of {capture.rate:g} Hz, received {args.smooth:g}"
        )
    if args.min_views is not None and not 2 <= args.min_views <= len(capture.rig):
        raise InputError(f"--min-views: expected 2 to {len(capture.rig)}, received {args.min_views}")
    return RobustSettings(args.tolerance, args.min_views, args.min_confidence, cutoff)
