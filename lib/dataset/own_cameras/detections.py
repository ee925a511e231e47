"""Files of 2D detections: OpenPose JSON per frame, COCO keypoint JSON per view, and a compact .npz file."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.own_cameras.calibration_file import match_names
from lib.dataset.own_cameras.keypoint_sets import point_set_of, to_h36m
from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_path
from lib.utils.files.json_file import read_json
from lib.utils.joints import H36M_17

_MAX_FRAMES = 2_000_000  # 18 hours at 30 frames per second; larger numbers are times
_COCO_VISIBLE = 2.0  # COCO annotations have visibilities 0, 1, 2 instead of scores from 0 to 1


@dataclass(frozen=True)
class Detections:
    """Detected people in V views.

    Attributes:
        view_names: names of the V views.
        points: (F, V, P, 17, 3) joints of Human3.6M: x, y in image px and confidence from 0 to 1; NaN = not found.
            Frames count from the first frame of each video.
    """

    view_names: tuple[str, ...]
    points: np.ndarray

    def save(self, path: str | os.PathLike) -> None:
        """Write the compact .npz file atomically, in float32."""
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, points=self.points.astype(np.float32), view_names=np.array(self.view_names))


def load_detections(
    path: str | os.PathLike, view_names: Sequence[str], point_set: str | None = None, first_frame: int = 0
) -> Detections:
    """Read the detections of some views.

    Args:
        path: .npz file of Detections.save(), or a folder with, per view, a folder of OpenPose files (e.g.
            cam01_json/cam01_000000.json) or a COCO keypoint file (e.g. cam01.json).
        view_names: names of the views in the wanted order.
        point_set: name in POINT_SETS; None = from the number of points.
        first_frame: the detector's number of a video's first frame.

    Returns:
        The detections. Views that end early are empty in the last frames.

    Raises:
        InputError: files are missing or damaged, a view has no detections, the points are unknown, or a number is not
            a frame number.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".npz":
        found = _load_compact(path, view_names, first_frame)
    elif path.is_dir():
        entries = [entry for entry in sorted(path.iterdir()) if entry.is_dir() or entry.suffix == ".json"]
        chosen = match_names(view_names, entries, f"{path}: detections")
        views = [_read_folder(entry) if entry.is_dir() else _read_coco(entry) for entry in chosen]
        found = Detections(tuple(view_names), _stack(views, chosen, point_set, first_frame))
    else:
        raise InputError(f"{path}: expected a folder of detections or an .npz file")
    empty = ~np.isfinite(found.points).any((0, 2, 3, 4))
    if empty.any():
        raise InputError(f"{path}: no person in view {found.view_names[int(empty.argmax())]}")
    return found


def _load_compact(path: Path, view_names: Sequence[str], first_frame: int) -> Detections:
    try:
        with np.load(path, allow_pickle=False) as file:
            points, stored = file["points"], [str(name) for name in file["view_names"]]
    except Exception as error:  # damaged archives raise many types
        raise InputError(f"{path}: not a file of detections, or truncated ({error})") from None
    if points.ndim != 5 or points.shape[3:] != (len(H36M_17), 3) or points.shape[1] != len(stored):
        raise InputError(f"{path}: expected points (F, {len(stored)}, P, 17, 3), received {points.shape}")
    missing = [name for name in view_names if name not in stored]
    if missing:
        raise InputError(f"{path}: no view {missing[0]}; the views are {', '.join(stored)}")
    order = [stored.index(name) for name in view_names]
    seen = np.flatnonzero(np.isfinite(points).any((1, 2, 3, 4)))
    _check_number(int(seen[0]) if len(seen) else first_frame, first_frame, str(path))
    return Detections(tuple(view_names), points[first_frame:, order].astype(np.float64))


def _check_number(frame: int, first_frame: int, where: str) -> None:
    """Raise an InputError if a number is not a frame number."""
    if frame < first_frame:
        raise InputError(f"{where}: frame {frame} comes before --first-frame {first_frame}")
    if frame - first_frame >= _MAX_FRAMES:
        raise InputError(
            f"{where}: expected a frame number below {_MAX_FRAMES}, received {frame} (a time?); "
            "number the frames from 0 or from --first-frame"
        )


def _last_number(text: str, where: str) -> int:
    """Return the frame number of a file name, its last group of digits."""
    digits = re.findall(r"\d+", re.sub(r"_keypoints$", "", text))
    if not digits:
        raise InputError(f"{where}: no frame number in the name '{text}'")
    return int(digits[-1])


# Frame -> flat numbers (K * 3) of each person.
_Frames = dict[int, list[list[float]]]


def _read_folder(folder: Path) -> _Frames:
    frames: _Frames = {}
    for file in sorted(folder.glob("*.json")):
        content = read_json(file)
        people = content.get("people") if isinstance(content, dict) else None
        if not isinstance(people, list):
            raise InputError(f"{file}: not an OpenPose file: no list 'people'")
        try:
            frames[_last_number(file.stem, str(file))] = [person["pose_keypoints_2d"] for person in people]
        except (KeyError, TypeError):
            raise InputError(f"{file}: a person has no 'pose_keypoints_2d'") from None
    if not frames:
        raise InputError(f"{folder}: no .json files of detections")
    return frames


def _read_coco(file: Path) -> _Frames:
    content = read_json(file)
    images: dict[Any, str] = {}
    people = content
    try:
        if isinstance(content, dict):
            images = {image["id"]: str(image["file_name"]) for image in content.get("images", [])}
            people = content["annotations"]
        frames: _Frames = {}
        for image, name in images.items():
            frames[_last_number(Path(name).stem, f"{file}: image {image}")] = []
        for person in people:
            image = person["image_id"]
            number = (
                image
                if isinstance(image, int) and image not in images
                else _last_number(Path(str(images.get(image, image))).stem, str(file))
            )
            frames.setdefault(number, []).append(person["keypoints"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a COCO keypoint file ({type(error).__name__} {error})") from None
    if not frames:
        raise InputError(f"{file}: no people")
    return frames


def _stack(views: Sequence[_Frames], files: Sequence[Path], point_set: str | None, first_frame: int) -> np.ndarray:
    """Stack views into one array (F, V, P, 17, 3)."""
    for frames, file in zip(views, files, strict=True):
        for frame in (min(frames), max(frames)):
            _check_number(frame, first_frame, str(file))
    num_frames = max(max(frames) for frames in views) + 1 - first_frame
    num_people = max(1, max(len(people) for frames in views for people in frames.values()))
    stacked = np.full((num_frames, len(views), num_people, len(H36M_17), 3), np.nan)
    for view, (frames, file) in enumerate(zip(views, files, strict=True)):
        for frame, people in frames.items():
            for number, flat in enumerate(people):
                stacked[frame - first_frame, view, number] = _person(flat, point_set, f"{file}: frame {frame}")
    return stacked


def _person(flat: list[float], point_set: str | None, where: str) -> np.ndarray:
    try:
        points = np.array(flat, np.float64).reshape(-1, 3)
    except (TypeError, ValueError):
        raise InputError(f"{where}: expected x, y, confidence of each point") from None
    chosen = point_set_of(len(points), where) if point_set is None else point_set
    if points[:, 2].max(initial=0.0) > 1:
        points[:, 2] /= _COCO_VISIBLE
    try:
        return to_h36m(points, chosen)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
