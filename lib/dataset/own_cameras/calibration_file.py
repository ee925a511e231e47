"""Calibration file of a camera rig, in the TOML format of Pose2Sim, Anipose and FreeMoCap."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from lib.dataset.conventions import MM_PER_UNIT, check_rotations, likely_unit
from lib.dataset.own_cameras.name_matching import Aliases
from lib.multiviews.cameras import Cameras
from lib.utils.errors import InputError, brief, shortened, some_names, unknown_name
from lib.utils.files.atomic import read_text

MAX_VIEWS = 8
MATCH_TABLE = "match"  # table of the file with names of files by camera, see --match
_ENTRIES = ("size", "matrix", "distortions", "rotation", "translation")
_NUM_COEFFICIENTS = 5
_EXTENT_MM = (100.0, 1e6)  # plausible extent of a rig
_USUAL_EXTENT_MM = 5000.0
_MAX_SKEW = 1e-6  # share of the focal length
_LARGEST = 1e9  # of sizes, matrices and translations


@dataclass(frozen=True)
class Rig:
    """V calibrated cameras.

    Attributes:
        names: names of the cameras, which also identify videos and detections.
        cameras: leading axis V, mm.
        image_wh: (V, 2) int, width and height of the calibrated images, px.
        unit: unit of the translations in the file.
        aliases: names of files by camera, from the table [match] of the file.
        notes: remarks for the report.
    """

    names: tuple[str, ...]
    cameras: Cameras
    image_wh: np.ndarray
    unit: str = "m"
    aliases: Aliases = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def check_unit(self, name: str = "--unit ") -> None:
        """Raise an InputError that names the fitting unit if the distances of the cameras are implausible.

        Args:
            name: what sets the unit, in the message.
        """
        centers = self.cameras.T
        extent_mm = float(np.linalg.norm(centers[:, None] - centers, axis=-1).max())
        if extent_mm == 0 or _EXTENT_MM[0] <= extent_mm <= _EXTENT_MM[1]:
            return
        fitting = likely_unit(extent_mm, self.unit, _USUAL_EXTENT_MM)
        if fitting != self.unit:
            raise InputError(
                f"{name}{self.unit}: the largest distance between cameras would be {extent_mm / 1000:.3g} m; "
                f"{name}{fitting} fits"
            )

    def over_frames(self, num_frames: int) -> Cameras:
        """Return the cameras with leading axes (F, V)."""
        return self.cameras.map(lambda array: np.broadcast_to(array, (num_frames, *array.shape)))

    def resized(self, image_wh: np.ndarray) -> Rig:
        """Return the rig for images resized to (V, 2) px; corners map to corners, not pixel centers to centers."""
        factor = image_wh / self.image_wh
        cameras = replace(self.cameras, f=self.cameras.f * factor, c=(self.cameras.c + 0.5) * factor - 0.5)
        return replace(self, cameras=cameras, image_wh=np.asarray(image_wh))


def load_rig(path: str | os.PathLike, unit: str = "m", views: Sequence[str] = ()) -> Rig:
    """Read a calibration file.

    One table per camera: name, size (width, height), matrix (3x3), distortions (OpenCV's k1 k2 p1 p2 and optionally
    k3), rotation (Rodrigues vector or 3x3) and translation of x_cam = R x_world + t. Every shape with the right number
    of values is accepted. Missing distortion coefficients are 0. Tables without these entries are no cameras.

    Args:
        path: TOML file.
        unit: unit of the translations: "m" (as written by Pose2Sim), "cm" or "mm".
        views: names of the cameras to read; () = all.

    Returns:
        The rig in the order of `views`, or of the file.

    Raises:
        InputError: the file is unreadable, an entry is missing or invalid, a lens is fisheye, the unit or a view is
            unknown, or there are not 2 to 8 cameras.
    """
    if unit not in MM_PER_UNIT:
        raise unknown_name("unit of length", unit, MM_PER_UNIT)
    content = _read_toml(path)
    named = [
        (str(table.get("name", key)) or key, key, table)
        for key, table in content.items()
        if isinstance(table, dict) and key != MATCH_TABLE and sum(entry in table for entry in _ENTRIES) >= 2
    ]
    names = [name for name, _, _ in named]
    if len(set(names)) != len(names):
        raise InputError(f"{path}: repeated camera name in {some_names(names)}")
    if not named:
        raise InputError(f"{path}: no cameras; expected a table with {', '.join(_ENTRIES)} per camera")
    chosen = [named[index] for index in _chosen(names, views)]
    if not 2 <= len(chosen) <= MAX_VIEWS:
        hint = "; choose some of them with --views" if len(chosen) > MAX_VIEWS else ""
        raise InputError(f"{path}: expected 2 to {MAX_VIEWS} cameras, received {len(chosen)}{hint}")
    notes: list[str] = []
    parts = [_read_camera(table, f"{path}: [{key}]", MM_PER_UNIT[unit], notes) for _, key, table in chosen]
    columns = {key: np.stack([part[key] for part in parts]) for key in parts[0]}
    image_wh = columns.pop("size").round().astype(int)
    aliases = _aliases(content.get(MATCH_TABLE, {}), names, str(path))
    rig = Rig(tuple(name for name, _, _ in chosen), Cameras(**columns), image_wh, unit, aliases, _joined(notes))
    try:
        check_rotations(rig.cameras)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return rig


def rig_from_dicts(cameras: Sequence[Mapping[str, Any]], unit: str = "mm") -> Rig:
    """Return the rig of cameras that are given as dictionaries.

    Args:
        cameras: one dictionary per camera, either of the Human3.6M annotation (see Cameras.from_records()), or with
            K: (3, 3) camera matrix, px;
            R: (3, 3) rotation world -> camera, or its Rodrigues vector (3);
            t: (3) translation, x_cam = R x_world + t, or T: (3) camera center, x_cam = R (x_world - T);
            distortion: OpenCV's k1 k2 p1 p2 and optionally k3; may be missing;
            name: may be missing; the default is the number from 1.
        unit: unit of t and T: "mm", "cm" or "m".

    Returns:
        The rig, in the order of the list. The size of its images is unknown (0).

    Raises:
        InputError: an entry is missing, invalid or implausible.
    """
    if unit not in MM_PER_UNIT:
        raise unknown_name("unit of length", unit, MM_PER_UNIT)
    if all("fx" in camera for camera in cameras):
        found = Cameras.from_records(list(cameras))
        found = replace(found, T=found.T * MM_PER_UNIT[unit])
    else:
        parts = [
            _camera_of_dict(camera, f"camera {number}", MM_PER_UNIT[unit]) for number, camera in enumerate(cameras, 1)
        ]
        columns = {key: np.stack([part[key] for part in parts]) for key in parts[0]}
        found = Cameras(**columns)
    names = tuple(str(camera.get("name", number)) for number, camera in enumerate(cameras, 1))
    rig = Rig(names, found, np.zeros((len(names), 2), int), unit)
    check_rotations(rig.cameras)
    rig.check_unit("unit=")
    return rig


def _camera_of_dict(camera: Mapping[str, Any], where: str, mm_per_unit: float) -> dict[str, np.ndarray]:
    """Return the fields of Cameras of one dictionary of rig_from_dicts()."""
    table = {"matrix": camera.get("K"), "rotation": camera.get("R"), "distortions": camera.get("distortion", [0] * 5)}
    lacking = [key for key in ("K", "R") if camera.get(key) is None]
    if lacking or ("t" in camera) == ("T" in camera):
        received = ", ".join(map(str, camera))
        raise InputError(f"{where}: expected K, R, distortion and one of t (translation) and T (center): {received}")
    rotation = _rotation(table, where)
    if "t" in camera:
        center = -rotation.T @ np.ravel(_numbers(camera, "t", None, where))
    else:
        center = np.ravel(_numbers(camera, "T", None, where))
    return {"R": rotation, "T": center * mm_per_unit, **_intrinsics(table, where, [])}


def _read_toml(path: str | os.PathLike) -> dict[str, Any]:
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not a TOML file ({brief(error)})") from None


def _chosen(names: Sequence[str], views: Sequence[str]) -> list[int]:
    """Return the indices of the chosen views, or of all."""
    for name in views:
        if name not in names:
            raise unknown_name("camera", name, names)
    if len(set(views)) != len(views):
        raise InputError(f"--views: repeated name in {some_names(views)}")
    return [names.index(name) for name in views] or list(range(len(names)))


def _aliases(table: Any, names: Sequence[str], path: str) -> Aliases:
    """Return the names of files by camera of the table [match]."""
    where = f"{path}: [{MATCH_TABLE}]"
    if not isinstance(table, Mapping):
        raise InputError(f'{where}: expected a table with CAMERA = "FILE", received {shortened(table)}')
    found: dict[str, tuple[str, ...]] = {}
    for name, value in table.items():
        files = value if isinstance(value, list) else [value]
        if name not in names:
            raise unknown_name("camera", name, names, where)
        if not all(isinstance(file, str) for file in files):
            raise InputError(f"{where}: {name}: expected names of files, received {shortened(value)}")
        found[name] = tuple(files)
    return found


def _joined(notes: Sequence[str]) -> tuple[str, ...]:
    """Return notes without repetitions."""
    return tuple(dict.fromkeys(notes))


def _read_camera(table: dict[str, Any], where: str, mm_per_unit: float, notes: list[str]) -> dict[str, np.ndarray]:
    """Return the fields of Cameras, and `size`, of one table; remarks are added to the notes."""
    if table.get("fisheye"):
        raise InputError(f"{where}: a fisheye lens; undistort the videos and calibrate the result as a pinhole camera")
    size = _numbers(table, "size", (2,), where)
    rotation = _rotation(table, where)
    translation = _numbers(table, "translation", (3,), where) * mm_per_unit
    if not (size >= 1).all():
        raise InputError(f"{where}: size must be positive")
    if max(size.max(), np.abs(translation).max() / mm_per_unit) > _LARGEST:
        raise InputError(f"{where}: expected numbers below {_LARGEST:g}, received a larger one")
    return {"R": rotation, "T": -rotation.T @ translation, **_intrinsics(table, where, notes), "size": size}


def _intrinsics(table: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, np.ndarray]:
    """Return the fields f, c, k and p of Cameras, from the entries matrix and distortions of a table."""
    matrix = _numbers(table, "matrix", (3, 3), where)
    lens = _lens(table, where, notes)
    focal = np.diagonal(matrix)[:2]
    if not (focal > 0).all():
        raise InputError(f"{where}: focal lengths must be positive")
    if np.abs(matrix).max() > _LARGEST:
        raise InputError(f"{where}: matrix: expected numbers below {_LARGEST:g}, received a larger one")
    if np.any(matrix[[1, 2, 2, 2], [0, 0, 1, 2]] != (0, 0, 0, 1)):
        raise InputError(
            f"{where}: matrix: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], received {shortened(matrix.tolist())}"
        )
    if abs(matrix[0, 1]) > _MAX_SKEW * focal[0]:
        raise InputError(f"{where}: matrix has a skew of {matrix[0, 1]:g}; expected 0")
    return {"f": focal, "c": matrix[:2, 2], "k": lens[[0, 1, 4]], "p": lens[2:4]}


def _lens(table: Mapping[str, Any], where: str, notes: list[str]) -> np.ndarray:
    """Return k1 k2 p1 p2 k3; missing coefficients are 0."""
    lens = np.ravel(_numbers(table, "distortions", None, where)) if "distortions" in table else np.zeros(0)
    if np.any(lens[_NUM_COEFFICIENTS:]):
        raise InputError(f"{where}: distortions: expected k1 k2 p1 p2 and optionally k3, received {len(lens)} numbers")
    if len(lens) < _NUM_COEFFICIENTS - 1:
        notes.append(
            f"{where}: distortions: {len(lens)} of k1 k2 p1 p2 k3 in the calibration; the others are taken as 0"
        )
    return np.append(lens, np.zeros(_NUM_COEFFICIENTS))[:_NUM_COEFFICIENTS]


def _rotation(table: Mapping[str, Any], where: str) -> np.ndarray:
    value = _numbers(table, "rotation", None, where)
    if value.size == 9:
        return value.reshape(3, 3)
    if value.size != 3:
        raise InputError(f"{where}: rotation: expected a Rodrigues vector or 3x3, received {value.size} numbers")
    return cv2.Rodrigues(value.reshape(3))[0]


def _numbers(table: Mapping[str, Any], key: str, shape: tuple[int, ...] | None, where: str) -> np.ndarray:
    """Return the numbers of an entry in a shape; None = as they are."""
    if key not in table:
        raise InputError(f"{where}: no '{key}'")
    try:
        value = np.array(table[key], np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: {key}: expected numbers, received {shortened(table[key])}") from None
    if (shape is not None and value.size != np.prod(shape)) or not np.isfinite(value).all():
        wanted = "finite numbers" if shape is None else f"{' x '.join(map(str, shape))} finite numbers"
        raise InputError(f"{where}: {key}: expected {wanted}, received {shortened(table[key])}")
    return value if shape is None else value.reshape(shape)
