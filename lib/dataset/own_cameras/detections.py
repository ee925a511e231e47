"""Files of 2D detections: OpenPose JSON per frame, COCO keypoint JSON per view, and a compact .npz file."""

import logging
import os
import re
from collections.abc import Sequence
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
_BLOCK = 500  # people that are converted at once; limits memory
_VISIBILITIES = (0.0, 1.0, 2.0)  # COCO annotations have them instead of scores from 0 to 1
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
            Files are read as float32.
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
                points=self.points.astype(np.float32, copy=False),
                view_names=np.array(self.view_names),
                numbers=self.numbers,
            )

    def of_frames(self, table: np.ndarray) -> np.ndarray:
        """Return the people (F, V, P, 17, 3) of video frames (F, V); NaN for frames without detections."""
        rows = np.searchsorted(self.numbers, table).clip(0, len(self.numbers) - 1)
        in_a_row = rows[:1] + np.arange(len(rows))[:, None]
        if (
            len(rows)
            and (rows[:1] == rows[:1, :1]).all()
            and (rows == in_a_row).all()
            and (self.numbers[rows] == table).all()
        ):
            return self.points[rows[0, 0] : rows[0, 0] + len(rows)]  # no copy of most recordings
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
        views = [(_read_folder if entry.is_dir() else _read_coco)(entry, point_set) for entry in chosen]
        found = Detections(tuple(view_names), *_stack(views, chosen, first_frame))
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
    points = points[:, order].astype(np.float32)
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
    digits = re.findall(r"\d+", text.removesuffix("_keypoints"))
    if not digits:
        raise InputError(f"{where}: no frame number in the name '{shortened(text, str)}'")
    return min(int(digits[-1][:30]), _LARGEST_NUMBER)


class _People:
    """Detected people of a view, converted in blocks: as Python's numbers they would need ten times the memory."""

    def __init__(self, file: Path, point_set: str | None) -> None:
        """Begin without frames; `file` is named in errors, point_set None = from the number of points."""
        self._file, self._point_set = file, point_set
        self.count: dict[int, int] = {}  # frame -> people
        self._frame: list[int] = []  # of each person
        self._place: list[int] = []  # of each person among the people of the frame
        self._waiting: list[list[float]] = []
        self._joints = [np.empty((0, len(H36M_17), 3), np.float32)]
        self._are_visibilities, self._highest = True, 0.0

    def add_frame(self, number: int) -> None:
        """Add a frame, if it is new."""
        self.count.setdefault(number, 0)

    def add_person(self, number: int, flat: list[float]) -> None:
        """Add a person, K * 3 numbers, to a frame."""
        place = self.count.get(number, 0)
        self.count[number] = place + 1
        self._frame.append(number)
        self._place.append(place)
        self._waiting.append(flat)
        if len(self._waiting) >= _BLOCK:
            self._convert()

    def _convert(self) -> None:
        frames, waiting = self._frame[len(self._frame) - len(self._waiting) :], self._waiting
        self._waiting = []
        if len(set(map(_length, waiting))) == 1:
            try:
                self._convert_block(np.array(waiting, np.float64), frames[0])
                return
            except (TypeError, ValueError, OverflowError, InputError):
                pass  # the message names the frame
        for number, flat in zip(frames, waiting, strict=True):
            try:
                points = np.array(flat, np.float64)[None]
            except (TypeError, ValueError, OverflowError):
                points = np.empty((1, 1))  # no points
            self._convert_block(points, number)

    def _convert_block(self, flat: np.ndarray, number: int) -> None:
        """Convert people (N, K * 3) to joints; an error names the frame `number`."""
        where = f"{self._file}: frame {number}"
        try:
            points = flat.reshape(len(flat), -1, 3)
        except ValueError:
            raise InputError(f"{where}: expected x, y, confidence of each point") from None
        points[~(np.abs(points) <= _LARGEST_PX).all(-1)] = np.nan
        scores = points[..., 2]
        self._are_visibilities &= bool(np.isin(scores, _VISIBILITIES).all())
        self._highest = max(self._highest, float(scores.max(initial=0.0, where=~np.isnan(scores))))
        chosen = point_set_of(points.shape[1], where) if self._point_set is None else self._point_set
        try:
            self._joints.append(to_h36m(points, chosen).astype(np.float32))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    def put_into(self, stacked: np.ndarray, numbers: np.ndarray) -> None:
        """Write the people into (F, P, 17, 3) for the ascending frame numbers (F,)."""
        self._convert()
        joints = np.concatenate(self._joints)
        # Scores that are COCO's visibilities 0, 1 and 2 are certain at 2.
        certain = 2.0 if self._are_visibilities and self._highest == 2.0 else 1.0
        joints[..., 2] = (joints[..., 2] / certain).clip(max=1.0)
        stacked[np.searchsorted(numbers, self._frame), self._place] = joints


def _length(flat: Any) -> int:
    return len(flat) if isinstance(flat, list) else -1


def _read_folder(folder: Path, point_set: str | None) -> _People:
    people = _People(folder, point_set)
    files: dict[int, str] = {}
    for name in _json_names(folder):
        file = os.path.join(folder, name)
        content = read_json(file)
        if not isinstance(content, dict) or not isinstance(content.get("people", ""), list | None):
            raise InputError(f"{file}: not an OpenPose file: no list 'people'")
        number = _last_number(os.path.splitext(name)[0], file)
        _check_single(number, name, files, str(folder))
        people.add_frame(number)
        for person in content["people"] or []:
            if flat := _openpose_points(person, file):
                people.add_person(number, flat)
    return people


def _openpose_points(person: Any, file: str) -> list[float] | None:
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


def _read_coco(file: Path, point_set: str | None) -> _People:
    content = read_json(file)
    images: dict[str, str] = {}
    people = content
    found = _People(file, point_set)
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
            found.add_frame(number)
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
            found.add_person(number, person["keypoints"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a COCO keypoint file ({type(error).__name__} {shortened(error, str)})") from None
    if without:
        logger.info("%s: %d annotations without keypoints are left out", file, without)
    if not found.count:
        raise InputError(f"{file}: no people")
    return found


def _has_points(keypoints: Any) -> bool:
    return keypoints is not None and keypoints != []


def _stack(views: Sequence[_People], files: Sequence[Path], first_frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Stack views into one array (F, V, P, 17, 3); return it with the frame numbers (F,)."""
    for people, file in zip(views, files, strict=True):
        _check_numbers(np.array(sorted(people.count)), first_frame, str(file))
    numbers = np.array(sorted(set().union(*(people.count for people in views))))
    num_people = max(1, max(max(people.count.values()) for people in views))
    stacked = np.full((len(numbers), len(views), num_people, len(H36M_17), 3), np.nan, np.float32)
    for view, people in enumerate(views):
        people.put_into(stacked[:, view], numbers)
    return stacked, numbers - first_frame
