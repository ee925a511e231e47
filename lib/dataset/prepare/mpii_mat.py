"""MPII's annotation file, mpii_human_pose_v1_u12_1.mat.

SciPy returns structs and struct arrays as arrays with named fields of type object. A missing field is an empty array or
absent. `is_visible` of a point is not used: occluded joints are annotated like visible ones.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.utils.errors import InputError
from lib.utils.files.mat_file import load_mat
from lib.utils.joints import MPII_16


@dataclass(frozen=True, eq=False)  # compared by identity
class MpiiPerson:
    """An annotated person. Coordinates are image px of the file: the center of the first pixel is (1, 1).

    Attributes:
        image: file name of the image.
        number: index among the people of the image, from 0.
        center: (x, y), None if missing.
        scale: height / 200 px, None if missing.
        joints: (16, 2), NaN where not annotated.
        head_box: (4,) x1, y1, x2, y2, NaN where not annotated.
        is_separate: sufficiently separated from other people; None if unknown.
    """

    image: str
    number: int
    center: tuple[float, float] | None
    scale: float | None
    joints: np.ndarray
    head_box: np.ndarray
    is_separate: bool | None

    @property
    def annotated(self) -> np.ndarray:
        """(16,) bool; includes occluded joints."""
        return np.isfinite(self.joints).all(1)


@dataclass(frozen=True)
class MpiiImage:
    """An image with its people. Joints of test images (is_train false) are not public."""

    name: str
    is_train: bool
    people: list[MpiiPerson]


def read_release(path: str | os.PathLike) -> list[MpiiImage]:
    """Read the images in the order of MPII's annotation file.

    Raises:
        InputError: the file is missing, damaged or has another structure.
    """
    release = _structs(load_mat(path, "RELEASE")["RELEASE"])
    if len(release) != 1:
        raise InputError(f"{path}: RELEASE is not a struct; expected MPII's annotation file")
    images = _structs(_field(release[0], "annolist"))
    in_training = np.ravel(_field(release[0], "img_train"))
    if not images or len(in_training) != len(images):
        raise InputError(
            f"{path}: expected one entry of RELEASE.img_train per image of RELEASE.annolist, received "
            f"{len(images)} images and {len(in_training)} entries"
        )
    separate = list(np.ravel(_field(release[0], "single_person")))
    if separate and len(separate) != len(images):
        raise InputError(f"{path}: RELEASE.single_person has {len(separate)} entries for {len(images)} images")
    found = []
    for row, image in enumerate(tqdm(images, desc="reading", unit="image", disable=None, leave=False)):
        try:
            found.append(_read_image(image, _number(in_training[row]) == 1, separate[row] if separate else None))
        except ValueError as error:
            raise InputError(f"{path}: image {row + 1} of RELEASE.annolist: {error}") from None
    return found


def _read_image(image: Any, is_train: bool, separate: Any) -> MpiiImage:
    names = [_text(_field(struct, "name")) for struct in _structs(_field(image, "image"))]
    if len(names) != 1 or not names[0]:
        raise ValueError("has no name")
    rectangles = None if separate is None else {_number(number) for number in np.ravel(separate)}  # from 1
    people = [
        _read_person(struct, names[0], number, None if rectangles is None else number + 1 in rectangles)
        for number, struct in enumerate(_structs(_field(image, "annorect")))
    ]
    return MpiiImage(names[0], is_train, people)


def _read_person(struct: Any, image: str, number: int, is_separate: bool | None) -> MpiiPerson:
    center = [_position(place) for place in _structs(_field(struct, "objpos"))]
    scale = _number(_field(struct, "scale"))
    joints = np.full((len(MPII_16), 2), np.nan)
    for points in _structs(_field(struct, "annopoints")):
        for point in _structs(_field(points, "point")):
            joint = _number(_field(point, "id"))
            if joint not in range(len(MPII_16)):
                raise ValueError(f"person {number + 1}: joint id {joint:g}; expected 0 to {len(MPII_16) - 1}")
            joints[int(joint)] = _position(point)
    head_box = np.array([_number(_field(struct, key)) for key in ("x1", "y1", "x2", "y2")])
    if not np.isfinite(head_box).all() or (head_box[:2] == head_box[2:]).all():
        head_box = np.full(4, np.nan)
    return MpiiPerson(
        image,
        number,
        center[0] if center and np.isfinite(center[0]).all() else None,
        scale if scale > 0 else None,
        joints,
        head_box,
        is_separate,
    )


def _structs(value: Any) -> list[np.void]:
    """Return the structs of a struct, a struct array or a cell array; none for an empty field."""
    if isinstance(value, np.void):
        return [value]
    if not isinstance(value, np.ndarray):
        return []
    if value.dtype.names:
        return list(value.ravel())
    return [struct for entry in value.ravel() for struct in _structs(entry)] if value.dtype == object else []


def _field(struct: np.void, name: str) -> Any:
    """Return a field, or an empty array if the struct lacks it."""
    return struct[name] if name in struct.dtype.names else np.empty(0)


def _position(struct: np.void) -> tuple[float, float]:
    return _number(_field(struct, "x")), _number(_field(struct, "y"))


def _number(value: Any) -> float:
    """Return the number in a field, which may be stored as text; NaN if there is none."""
    try:
        number = float(_only(value))
    except (TypeError, ValueError):
        return np.nan
    return number if np.isfinite(number) else np.nan


def _text(value: Any) -> str:
    """Return the text in a field, or ""."""
    only = _only(value)
    return only if isinstance(only, str) else ""


def _only(value: Any) -> Any:
    """Return the only entry of nested arrays; None if there is not exactly one."""
    while isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else None
    return value
