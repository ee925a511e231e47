"""Optional 2D detector: BlazePose of the package mediapipe, one person per view."""

import importlib
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.dataset.own_cameras.detections import Detections
from lib.dataset.own_cameras.keypoint_sets import to_h36m
from lib.dataset.own_cameras.videos import Videos
from lib.utils.errors import InputError
from lib.utils.files.video import VideoReader

PACKAGE = "mediapipe==0.10.14"  # later versions download their models


def detect_people(videos: Videos, names: tuple[str, ...], alternatives: str = "") -> Detections:
    """Detect the person in every frame of every video.

    Args:
        videos: V videos.
        names: names of the views.
        alternatives: text for the error message if the package is missing.

    Returns:
        Detections with as many frames as the longest video.

    Raises:
        InputError: the package is missing or has no models, or a video is damaged.
    """
    detector_class = _detector_class(alternatives)
    points = np.full((int(videos.num_frames.max()), len(names), 1, 17, 3), np.nan)
    for view, path in enumerate(videos.paths):
        with VideoReader(path) as video, detector_class(static_image_mode=False, model_complexity=1) as detector:
            frames = video.frames(0, len(points))
            for number, image in tqdm(frames, total=video.num_frames, desc=names[view], disable=None, leave=False):
                found = detector.process(np.ascontiguousarray(image[..., ::-1])).pose_landmarks
                if found is not None:
                    marks = np.array([(mark.x, mark.y, mark.visibility) for mark in found.landmark])
                    # Landmarks are shares of the image size, measured from the corner of the first pixel.
                    marks[:, :2] = marks[:, :2] * image.shape[1::-1] - 0.5
                    points[number, view, 0] = to_h36m(marks, "blazepose33")
    return Detections(names, points)


def _detector_class(alternatives: str) -> Any:
    try:
        return importlib.import_module("mediapipe").solutions.pose.Pose
    except ImportError:
        raise InputError(f"the optional detector is not installed: pip install {PACKAGE}{alternatives}") from None
    except AttributeError:
        raise InputError(f"this version of mediapipe has no BlazePose with its models; pip install {PACKAGE}") from None
