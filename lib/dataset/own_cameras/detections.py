"""Files of 2D detections: OpenPose JSON per frame, COCO keypoint JSON per view, and a compact .npz file."""

import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.own_cameras.keypoint_sets import point_set_of, to_h36m
from lib.dataset.own_cameras.name_matching import Aliases, key_of, match_names
from lib.utils.errors import InputError, shortened, some_names
from lib.utils.files.atomic import atomic_path, list_folder
from lib.utils.files.json_file import read_json
from lib.utils.joints import H36M_17

logger = logging.getLogger(__name__)

_MAX_NUMBER = 2_000_000  # 18 hours at 30 frames per second; larger numbers must be consecutive, or they are times
_LARGEST_NUMBER = 2**53
_LARGEST_PX = 1e6
_VISIBILITIES = {0.0, 1.0, 2.0}  # COCO annotations have them instead of scores from 0 to 1
_FORMATS = (
    "per camera a folder of OpenPose JSON files (cam01_json/) or a COCO keypoint file (cam01.json), or one .npz file "
    "of run/data/detect_people.py"
)


@dataclass(frozen=True)
class Detections:
    """Detected people in V views.

    Attributes:
        view_names: names of the V views.
        points: (F, V, P, 17, 3) joints of Human3.6M: x, y in image px and confidence from 0 to 1; NaN = not found.
        numbers: (F,) ascending frame numbers of the videos, from 0; None = 0 to F - 1. Other frames have no detection.
    """

    view_names: tuple[str, ...]
    points: np.ndarray
    numbers: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.numbers is None:
            object.__setattr__(self, "numbers", np.arange(len(self.points)))

    def save(self, path: str | os.PathLike) -> None:
        """Write the compact .npz file atomically, in float32."""
        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary,
                points=self.points.astype(np.float32),
                view_names=np.array(self.view_names),
                numbers=self.numbers,
            )

    def of_frames(self, table: np.ndarray) -> np.ndarray:
        """Return the people (F, V, P, 17, 3) of video frames (F, V); NaN for frames without detections."""
        rows = np.searchsorted(self.numbers, table).clip(0, len(self.numbers) - 1)
        people = self.points[rows, np.arange(table.shape[1])]
        return np.where((self.numbers[rows] == table)[..., None, None, None], people, np.nan)


def load_detections(
    path: str | os.PathLike,
    view_names: Sequence[str],
    point_set: str | None = None,
    first_frame: int = 0,
    aliases: Aliases | None = None,
) -> Detections:
    """Read the detections of some views.

    Args:
        path: .npz file of Detections.save(), or a folder with, per view, a folder of OpenPose files (e.g.
            cam01_json/cam01_000000.json) or a COCO keypoint file (e.g. cam01.json).
        view_names: names of the views in the wanted order.
        point_set: name in POINT_SETS; None = from the number of points.
        first_frame: the detector's number of a video's first frame.
        aliases: names of files by view, see match_names().

    Returns:
        The detections, in the frames that occur in the files.

    Raises:
        InputError: files are missing or damaged, a view has no detections, the points are unknown, two files or images
            have one frame number, or a number is not a frame number.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".npz":
        found = _load_compact(path, view_names, first_frame, aliases)
    elif path.is_dir():
        present = list_folder(path)
        entries = [path / name for name in present if _holds_detections(path / name)]
        if not entries:
            raise InputError(f"{path}: expected {_FORMATS}; received {some_names(present)}")
        keys, shown = [key_of(entry) for entry in entries], [entry.name for entry in entries]
        index = match_names(view_names, keys, f"{path}: OpenPose folders or COCO files", aliases, shown)
        chosen = [entries[one] for one in index]
        views = [_read_folder(entry) if entry.is_dir() else _read_coco(entry) for entry in chosen]
        found = Detections(tuple(view_names), *_stack(views, chosen, point_set, first_frame))
    else:
        raise InputError(f"{path}: expected a folder of detections or an .npz file, {_FORMATS}")
    empty = ~np.isfinite(found.points).any((0, 2, 3, 4))
    if empty.any():
        raise InputError(f"{path}: no person in view {found.view_names[int(empty.argmax())]}")
    return found


def _holds_detections(entry: Path) -> bool:
    return bool(_json_names(entry)) if entry.is_dir() else entry.suffix.lower() == ".json"


def _json_names(folder: Path) -> list[str]:
    return [name for name in list_folder(folder) if name.lower().endswith(".json")]


def _load_compact(path: Path, view_names: Sequence[str], first_frame: int, aliases: Aliases | None) -> Detections:
    try:
        with np.load(path, allow_pickle=False) as file:
            points, stored = file["points"], [str(name) for name in file["view_names"]]
            numbers = file.get("numbers")
    except Exception as error:  # damaged archives raise many types
        raise InputError(f"{path}: not a file of detections, or truncated ({shortened(error, str)})") from None
    if points.ndim != 5 or points.shape[3:] != (len(H36M_17), 3) or points.shape[1] != len(stored) or not points.size:
        raise InputError(f"{path}: expected points (F, {len(stored)}, P, 17, 3), received {points.shape}")
    if numbers is None:  # older files begin at frame 0, even if the detector counted from 1
        first = int(np.isfinite(points).any((1, 2, 3, 4)).argmax()) if points.dtype.kind == "f" else 0
        points, numbers = points[first:], np.arange(first, len(points))
    if points.dtype.kind not in "fiu" or numbers.dtype.kind not in "iu" or numbers.shape != points.shape[:1]:
        raise InputError(f"{path}: expected points as numbers and as many frame numbers, received {numbers.shape}")
    if (np.diff(numbers) <= 0).any():
        raise InputError(f"{path}: numbers: expected ascending frame numbers")
    order = match_names(view_names, stored, f"{path}: views", aliases)
    points = points[:, order].astype(np.float64)
    with np.errstate(invalid="ignore"):
        points[(np.abs(points) > _LARGEST_PX).any(-1)] = np.nan
    points[..., 2] = points[..., 2].clip(0.0, 1.0)
    found = np.flatnonzero(np.isfinite(points).any((1, 2, 3, 4)))
    if len(found):
        _check_numbers(numbers[found], first_frame, str(path))
    inside = numbers >= first_frame
    return Detections(tuple(view_names), points[inside], numbers[inside].astype(np.int64) - first_frame)


def _check_numbers(numbers: np.ndarray, first_frame: int, where: str) -> None:
    """Raise an InputError if ascending numbers are not frame numbers."""
    if numbers[0] < first_frame:
        raise InputError(f"{where}: frame {numbers[0]} comes before --first-frame {first_frame}")
    last = int(numbers[-1]) - first_frame
    consecutive = len(numbers) > 1 and np.median(np.diff(numbers)) <= 1
    if last >= _LARGEST_NUMBER or (last >= _MAX_NUMBER and not consecutive):
        raise InputError(
            f"{where}: expected a frame number below {_MAX_NUMBER}, or consecutive ones, received {numbers[-1]} "
            "(a time?); number the frames from 0 or from --first-frame"
        )


def _last_number(text: str, where: str) -> int:
    """Return the frame number of a file name, its last group of digits."""
    digits = re.findall(r"\d+", re.sub(r"_keypoints$", "", text))
    if not digits:
        raise InputError(f"{where}: no frame number in the name '{shortened(text, str)}'")
    return min(int(digits[-1][:30]), _LARGEST_NUMBER)


# Frame -> flat numbers (K * 3) of each person.
_Frames = dict[int, list[list[float]]]


def _read_folder(folder: Path) -> _Frames:
    frames: _Frames = {}
    files: dict[int, str] = {}
    for name in _json_names(folder):
        file = folder / name
        content = read_json(file)
        if not isinstance(content, dict) or not isinstance(content.get("people", ""), list | None):
            raise InputError(f"{file}: not an OpenPose file: no list 'people'")
        number = _last_number(file.stem, str(file))
        _check_single(number, name, files, str(folder))
        frames[number] = [flat for person in content["people"] or [] if (flat := _openpose_points(person, file))]
    return frames


def _openpose_points(person: Any, file: Path) -> list[float] | None:
    """Return the points of a person; None for an empty person, which some tools write for nobody."""
    if not person:
        return None
    if not isinstance(person, dict) or "pose_keypoints_2d" not in person:
        raise InputError(f"{file}: a person has no 'pose_keypoints_2d'")
    return person["pose_keypoints_2d"]


def _check_single(number: int, name: str, seen: dict[int, str], where: str) -> None:
    """Raise an InputError if two names have one frame number."""
    other = seen.setdefault(number, name)
    if other != name:
        raise InputError(
            f"{where}: {shortened(other, str)} and {shortened(name, str)} are both frame {number}, the last number of "
            "the name; keep one sequence per file, and let the names end with the frame number"
        )


def _read_coco(file: Path) -> _Frames:
    content = read_json(file)
    images: dict[str, str] = {}
    people = content
    frames: _Frames = {}
    seen: dict[int, str] = {}
    without = 0
    try:
        if isinstance(content, dict):
            # Ids as text: some tools write 12 in one list and "12" in the other.
            images = {str(image["id"]): str(image["file_name"]) for image in content.get("images", [])}
            people = content["annotations"]
        for image, name in images.items():
            number = _last_number(Path(name).stem, f"{file}: image {shortened(image, str)}")
            _check_single(number, name, seen, str(file))
            frames[number] = []
        for person in people:
            image = person["image_id"]
            if not _has_points(person.get("keypoints")):
                without += 1
                continue
            name = images.get(str(image))
            if images and name is None:
                raise InputError(f"{file}: an annotation is of image {shortened(image)}, which 'images' lacks")
            if name is None and isinstance(image, int) and not isinstance(image, bool):
                number = image
            else:
                name = str(image) if name is None else name
                number = _last_number(Path(name).stem, str(file))
                _check_single(number, name, seen, str(file))
            frames.setdefault(number, []).append(person["keypoints"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a COCO keypoint file ({type(error).__name__} {shortened(error, str)})") from None
    if without:
        logger.info("%s: %d annotations without keypoints are left out", file, without)
    if not frames:
        raise InputError(f"{file}: no people")
    return frames


def _has_points(keypoints: Any) -> bool:
    return keypoints is not None and keypoints != []


def _stack(
    views: Sequence[_Frames], files: Sequence[Path], point_set: str | None, first_frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """Stack views into one array (F, V, P, 17, 3); return it with the frame numbers (F,)."""
    for frames, file in zip(views, files, strict=True):
        _check_numbers(np.array(sorted(frames)), first_frame, str(file))
    numbers = sorted(set().union(*views))
    row_of = {number: row for row, number in enumerate(numbers)}
    num_people = max(1, max(len(people) for frames in views for people in frames.values()))
    stacked = np.full((len(numbers), len(views), num_people, len(H36M_17), 3), np.nan)
    for view, (frames, file) in enumerate(zip(views, files, strict=True)):
        arrays = {
            frame: [_points(flat, f"{file}: frame {frame}") for flat in people] for frame, people in frames.items()
        }
        largest = _largest_score(arrays.values())
        for frame, people in arrays.items():
            for person, points in enumerate(people):
                points[:, 2] = (points[:, 2] / largest).clip(max=1.0)
                stacked[row_of[frame], view, person] = _joints(points, point_set, f"{file}: frame {frame}")
    return stacked, np.array(numbers) - first_frame


def _largest_score(frames: Iterable[Sequence[np.ndarray]]) -> float:
    """Return the score that means certainty: 2 if all scores of a view are COCO's visibilities 0, 1 and 2, else 1."""
    scores = {float(score) for people in frames for points in people for score in np.unique(points[:, 2])}
    return 2.0 if 2.0 in scores and scores <= _VISIBILITIES else 1.0


def _points(flat: list[float], where: str) -> np.ndarray:
    try:
        points = np.array(flat, np.float64).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: expected x, y, confidence of each point") from None
    points[~(np.abs(points) <= _LARGEST_PX).all(-1)] = np.nan
    return points


def _joints(points: np.ndarray, point_set: str | None, where: str) -> np.ndarray:
    chosen = point_set_of(len(points), where) if point_set is None else point_set
    try:
        return to_h36m(points, chosen)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
