"""2D detections of people: OpenPose's JSON per frame, COCO's keypoint JSON per view, and a compact file of ours."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.own_cameras.file_matching import match_names
from lib.dataset.own_cameras.keypoint_sets import point_set_of, to_h36m
from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_path
from lib.utils.files.json_file import read_json
from lib.utils.joints import H36M_17

_MOST_FRAMES = 2_000_000  # 18 hours at 30 per second
_COCO_MAX = 2.0  # COCO's annotation has 0, 1, 2 where detections have a score from 0 to 1
_KEYS = ("points", "view_names")


@dataclass(frozen=True)
class Detections:
    """People found in V views.

    Attributes:
        view_names: of the V views.
        points: (F, V, P, 17, 3) joints of Human3.6M: x, y in image px and a confidence from 0 to 1; NaN = not found.
            F counts from each video's first frame.
    """

    view_names: tuple[str, ...]
    points: np.ndarray

    def save(self, path: str | os.PathLike) -> None:
        """Write the compact form, an .npz file, atomically; positions keep 1/100 px up to some 1,000 px."""
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, points=self.points.astype(np.float32), view_names=np.array(self.view_names))


def load_detections(
    path: str | os.PathLike, view_names: Sequence[str], point_set: str | None = None, first_frame: int = 0
) -> Detections:
    """Read the detections of some views.

    Args:
        path: a folder that holds per view either a folder of OpenPose's files, e.g. cam01_json/cam01_000000.json, or a
            file in COCO's form, e.g. cam01.json; or an .npz file of Detections.save().
        view_names: the views, in the wanted order.
        point_set: the detector's points, a name of POINT_SETS; None = the set that has as many.
        first_frame: the number that the detector gave to a video's first frame.

    Returns:
        The detections; views that end early have nobody in their last frames.

    Raises:
        InputError: missing or damaged, a view without detections, unknown points, nobody found in a view, numbers that
            are no frames of a video.
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
        raise InputError(f"{path}: expected a folder of detections or an .npz file of them")
    empty = ~np.isfinite(found.points).any((0, 2, 3, 4))
    if empty.any():
        raise InputError(f"{path}: nobody was found in view {found.view_names[int(empty.argmax())]}")
    return found


def _load_compact(path: Path, view_names: Sequence[str], first_frame: int) -> Detections:
    try:
        with np.load(path, allow_pickle=False) as file:
            points, names = (file[key] for key in _KEYS)
    except Exception as error:  # a damaged archive raises nearly anything
        raise InputError(f"{path}: not a file of detections, or cut off ({error})") from None
    if points.ndim != 5 or points.shape[3:] != (len(H36M_17), 3) or points.shape[1] != len(names):
        raise InputError(f"{path}: expected points (F, {len(names)}, P, 17, 3), received {points.shape}")
    stored = [str(name) for name in names]
    missing = [name for name in view_names if name not in stored]
    if missing:
        raise InputError(f"{path}: no view {missing[0]}; it has {', '.join(stored)}")
    order = [stored.index(name) for name in view_names]
    seen = np.flatnonzero(np.isfinite(points).any((1, 2, 3, 4)))
    _check_number(int(seen[0]) if len(seen) else first_frame, first_frame, str(path))
    return Detections(tuple(view_names), points[first_frame:, order].astype(np.float64))


def _check_number(frame: int, first_frame: int, where: str) -> None:
    """Raise an InputError for the number of a frame that no video has."""
    if frame < first_frame:
        raise InputError(f"{where}: frame {frame} comes before --first-frame {first_frame}")
    if frame - first_frame >= _MOST_FRAMES:
        raise InputError(
            f"{where}: {frame} is no number of a frame (expected less than {_MOST_FRAMES}; a time?); "
            "number the frames as the video has them, from 0 or from --first-frame"
        )


def _last_number(text: str, where: str) -> int:
    """Return the frame number in a file name: its last group of digits."""
    digits = re.findall(r"\d+", re.sub(r"_keypoints$", "", text))
    if not digits:
        raise InputError(f"{where}: no frame number in the name '{text}'")
    return int(digits[-1])


# frame -> people's flat numbers (K * 3)
_Frames = dict[int, list[list[float]]]


def _read_folder(folder: Path) -> _Frames:
    frames: _Frames = {}
    for file in sorted(folder.glob("*.json")):
        content = read_json(file)
        people = content.get("people") if isinstance(content, dict) else None
        if not isinstance(people, list):
            raise InputError(f"{file}: not OpenPose's form: it has no list 'people'")
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
        raise InputError(f"{file}: not COCO's keypoint form ({type(error).__name__} {error})") from None
    if not frames:
        raise InputError(f"{file}: no people")
    return frames


def _stack(views: Sequence[_Frames], files: Sequence[Path], point_set: str | None, first_frame: int) -> np.ndarray:
    """Put views into one array (F, V, P, 17, 3)."""
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
        raise InputError(f"{where}: expected x, y, confidence for each point") from None
    chosen = point_set_of(len(points), where) if point_set is None else point_set
    if points[:, 2].max(initial=0.0) > 1:
        points[:, 2] /= _COCO_MAX
    try:
        return to_h36m(points, chosen)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
