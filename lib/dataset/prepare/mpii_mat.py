"""mpii_human_pose_v1_u12_1.mat -> images and the people in them.

A MATLAB struct arrives from scipy as an array with named fields of type object, a struct array likewise; fields that
one person has and another lacks are empty arrays, or are not there at all. The points' `is_visible` is not read: an
occluded joint is annotated like any other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.utils.errors import InputError
from lib.utils.files.mat_file import load_mat
from lib.utils.joints import MPII_16


@dataclass(frozen=True, eq=False)  # two people are the same only if they are one object
class Person:
    """One person of the annotation; image px as in the file, the middle of the first pixel is (1, 1).

    Attributes:
        image: file name of the image.
        number: place among the people of the image, from 0.
        center: (x, y), None where it is lacking.
        scale: height / 200 px, None where it is lacking.
        joints: (16, 2), NaN where not annotated.
        head_box: (4,) x1, y1, x2, y2, NaN where not annotated.
        is_separate: far enough from others; None if the file does not say.
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
        """(16,) bool, also true for annotated joints that are occluded."""
        return np.isfinite(self.joints).all(1)


@dataclass(frozen=True)
class MpiiImage:
    """One image with its people; joints of test images (is_train false) are not published."""

    name: str
    is_train: bool
    people: list[Person]


def read_release(path: str | os.PathLike) -> list[MpiiImage]:
    """Read MPII's annotation file.

    Args:
        path: mpii_human_pose_v1_u12_1.mat.

    Returns:
        The images in the order of the file.

    Raises:
        InputError: the file is missing, damaged or has another structure.
    """
    release = _structs(load_mat(path, "RELEASE")["RELEASE"])
    if len(release) != 1:
        raise InputError(f"{path}: RELEASE is no struct, so this is not MPII's annotation file")
    images = _structs(_field(release[0], "annolist"))
    in_training = np.ravel(_field(release[0], "img_train"))
    if not images or len(in_training) != len(images):
        raise InputError(
            f"{path}: expected RELEASE.annolist and an entry of RELEASE.img_train for each of its images, "
            f"received {len(images)} images and {len(in_training)} entries"
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
        raise ValueError("it has no name")
    rectangles = None if separate is None else {_number(number) for number in np.ravel(separate)}  # from 1
    people = [
        _read_person(struct, names[0], number, None if rectangles is None else number + 1 in rectangles)
        for number, struct in enumerate(_structs(_field(image, "annorect")))
    ]
    return MpiiImage(names[0], is_train, people)


def _read_person(struct: Any, image: str, number: int, is_separate: bool | None) -> Person:
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
    return Person(
        image,
        number,
        center[0] if center and np.isfinite(center[0]).all() else None,
        scale if scale > 0 else None,
        joints,
        head_box,
        is_separate,
    )


def _structs(value: Any) -> list[np.void]:
    """Return the structs in a struct, a struct array or cells of either; nothing where a field is empty."""
    if isinstance(value, np.void):
        return [value]
    if not isinstance(value, np.ndarray):
        return []
    if value.dtype.names:
        return list(value.ravel())
    return [struct for entry in value.ravel() for struct in _structs(entry)] if value.dtype == object else []


def _field(struct: np.void, name: str) -> Any:
    """Return a field, an empty array if the struct has no such field."""
    return struct[name] if name in struct.dtype.names else np.empty(0)


def _position(struct: np.void) -> tuple[float, float]:
    return _number(_field(struct, "x")), _number(_field(struct, "y"))


def _number(value: Any) -> float:
    """Return the number in a field, also where it is written as text; NaN if there is none."""
    try:
        number = float(_only(value))
    except (TypeError, ValueError):
        return np.nan
    return number if np.isfinite(number) else np.nan


def _text(value: Any) -> str:
    """Return the text in a field, "" if there is none."""
    only = _only(value)
    return only if isinstance(only, str) else ""


def _only(value: Any) -> Any:
    """Take the only entry out of the arrays around it; None if there are more, or none."""
    while isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else None
    return value
