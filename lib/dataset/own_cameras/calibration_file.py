"""Calibration file of a camera rig, in the TOML format of Pose2Sim, Anipose and FreeMoCap."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.dataset.conventions import MM_PER_UNIT, check_rotations, likely_unit
from lib.multiviews.cameras import Cameras
from lib.utils.errors import InputError, unknown_name
from lib.utils.files.atomic import read_bytes

MAX_VIEWS = 8
_NOT_CAMERAS = ("metadata",)
_EXTENT_MM = (100.0, 1e6)  # plausible extent of a rig
_USUAL_EXTENT_MM = 5000.0
_MAX_SKEW = 1e-6  # share of the focal length


@dataclass(frozen=True)
class Rig:
    """V calibrated cameras.

    Attributes:
        names: names of the cameras, which also identify videos and detections.
        cameras: leading axis V, mm.
        image_wh: (V, 2) int, width and height of the calibrated images, px.
        unit: unit of the translations in the file.
    """

    names: tuple[str, ...]
    cameras: Cameras
    image_wh: np.ndarray
    unit: str = "m"

    def __len__(self) -> int:
        return len(self.names)

    def select(self, names: Sequence[str]) -> Rig:
        """Return the rig of some cameras, in the order of the names.

        Raises:
            InputError: a name is unknown or repeated, or not 2 to 8 cameras.
        """
        for name in names:
            if name not in self.names:
                raise unknown_name("camera", name, self.names)
        if len(set(names)) != len(names):
            raise InputError(f"cameras: repeated name in {', '.join(names)}")
        index = [self.names.index(name) for name in names]
        rig = replace(self, names=tuple(names), cameras=self.cameras[index], image_wh=self.image_wh[index])
        return _checked(rig, "cameras")

    def check_unit(self) -> None:
        """Raise an InputError that names the fitting unit if the distances of the cameras are implausible."""
        centers = self.cameras.T
        extent_mm = float(np.linalg.norm(centers[:, None] - centers, axis=-1).max())
        if extent_mm == 0 or _EXTENT_MM[0] <= extent_mm <= _EXTENT_MM[1]:
            return
        fitting = likely_unit(extent_mm, self.unit, _USUAL_EXTENT_MM)
        if fitting != self.unit:
            raise InputError(
                f"--unit {self.unit}: the largest distance between cameras would be {extent_mm / 1000:.3g} m; "
                f"--unit {fitting} fits"
            )

    def over_frames(self, num_frames: int) -> Cameras:
        """Return the cameras with leading axes (F, V)."""
        return self.cameras.map(lambda array: np.broadcast_to(array, (num_frames, *array.shape)))

    def resized(self, image_wh: np.ndarray) -> Rig:
        """Return the rig for images resized to (V, 2) px; corners map to corners, not pixel centers to centers."""
        factor = image_wh / self.image_wh
        cameras = replace(self.cameras, f=self.cameras.f * factor, c=(self.cameras.c + 0.5) * factor - 0.5)
        return replace(self, cameras=cameras, image_wh=np.asarray(image_wh))


def load_rig(path: str | os.PathLike, unit: str = "m") -> Rig:
    """Read a calibration file.

    One table per camera: name, size (width, height), matrix (3x3), distortions (OpenCV's k1 k2 p1 p2 and optionally
    k3), rotation (Rodrigues vector or 3x3) and translation of x_cam = R x_world + t.

    Args:
        path: TOML file.
        unit: unit of the translations: "m" (as written by Pose2Sim), "cm" or "mm".

    Returns:
        The rig in the order of the file.

    Raises:
        InputError: the file is unreadable, an entry is missing or invalid, a lens is fisheye, the unit is unknown, or
            there are not 2 to 8 cameras.
    """
    if unit not in MM_PER_UNIT:
        raise unknown_name("unit of length", unit, MM_PER_UNIT)
    try:
        content = tomllib.loads(read_bytes(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None
    tables = {key: table for key, table in content.items() if isinstance(table, dict) and key not in _NOT_CAMERAS}
    parts = [_read_camera(table, f"{path}: [{key}]", MM_PER_UNIT[unit]) for key, table in tables.items()]
    names = tuple(str(table.get("name", key)) for key, table in tables.items())
    if len(set(names)) != len(names):
        raise InputError(f"{path}: repeated camera name in {', '.join(names)}")
    if not parts:
        raise InputError(f"{path}: no cameras; expected a table per camera")
    columns = {key: np.stack([part[key] for part in parts]) for key in parts[0]}
    image_wh = columns.pop("size").round().astype(int)
    rig = _checked(Rig(names, Cameras(**columns), image_wh, unit), str(path))
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
    rig.check_unit()
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
    return {"R": rotation, "T": center * mm_per_unit, **_intrinsics(table, where)}


def match_names(names: Sequence[str], entries: Sequence[Path], what: str) -> list[Path]:
    """Find the file or folder of each camera: its stem is the name or, if there is none, contains the name.

    Args:
        names: names of the cameras.
        entries: files and folders.
        what: description for error messages.

    Returns:
        One entry per name, in the order of the names.

    Raises:
        InputError: a camera has no entry or several, or two cameras share an entry.
    """
    chosen = []
    for name in names:
        exact = [entry for entry in entries if entry.stem == name]
        found = exact or [entry for entry in entries if name in entry.stem]
        if len(found) != 1:
            listed = ", ".join(entry.name for entry in entries) or "nothing"
            raise InputError(
                f"{what}: expected one name with '{name}' (a camera of the calibration), "
                f"received {len(found)} in: {listed}"
            )
        chosen += found
    shared = [entry for entry in chosen if chosen.count(entry) > 1]
    if shared:
        raise InputError(f"{what}: {shared[0].name} fits two cameras of {', '.join(names)}")
    return chosen


def _checked(rig: Rig, where: str) -> Rig:
    if not 2 <= len(rig) <= MAX_VIEWS:
        raise InputError(f"{where}: expected 2 to {MAX_VIEWS} cameras, received {len(rig)}")
    return rig


def _read_camera(table: dict[str, Any], where: str, mm_per_unit: float) -> dict[str, np.ndarray]:
    """Return the fields of Cameras, and `size`, of one table."""
    if table.get("fisheye"):
        raise InputError(f"{where}: a fisheye lens; undistort the videos and calibrate the result as a pinhole camera")
    size = _numbers(table, "size", (2,), where)
    rotation = _rotation(table, where)
    translation = _numbers(table, "translation", (3,), where) * mm_per_unit
    if not (size > 0).all():
        raise InputError(f"{where}: size must be positive")
    return {"R": rotation, "T": -rotation.T @ translation, **_intrinsics(table, where), "size": size}


def _intrinsics(table: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    """Return the fields f, c, k and p of Cameras, from the entries matrix and distortions of a table."""
    matrix = _numbers(table, "matrix", (3, 3), where)
    lens = np.ravel(_numbers(table, "distortions", None, where))
    if len(lens) < 4 or np.any(lens[5:]):
        raise InputError(f"{where}: distortions: expected k1 k2 p1 p2 and optionally k3, received {len(lens)} numbers")
    focal = np.diagonal(matrix)[:2]
    if not (focal > 0).all():
        raise InputError(f"{where}: focal lengths must be positive")
    if abs(matrix[0, 1]) > _MAX_SKEW * focal[0]:
        raise InputError(f"{where}: matrix has a skew of {matrix[0, 1]:g}; expected 0")
    k3 = lens[4] if len(lens) > 4 else 0.0
    return {"f": focal, "c": matrix[:2, 2], "k": np.array([lens[0], lens[1], k3]), "p": lens[2:4]}


def _rotation(table: Mapping[str, Any], where: str) -> np.ndarray:
    value = _numbers(table, "rotation", None, where)
    if value.shape == (3, 3):
        return value
    if value.size != 3:
        raise InputError(f"{where}: rotation: expected a Rodrigues vector or 3x3, received {value.size} numbers")
    return cv2.Rodrigues(value.reshape(3))[0]


def _numbers(table: Mapping[str, Any], key: str, shape: tuple[int, ...] | None, where: str) -> np.ndarray:
    if key not in table:
        raise InputError(f"{where}: no '{key}'")
    try:
        value = np.array(table[key], np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where}: {key}: expected numbers, received {table[key]!r}") from None
    if (shape is not None and value.shape != shape) or not np.isfinite(value).all():
        wanted = "numbers" if shape is None else f"{' x '.join(map(str, shape))} finite numbers"
        raise InputError(f"{where}: {key}: expected {wanted}, received {table[key]!r}")
    return value
