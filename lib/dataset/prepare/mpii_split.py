"""Which people of MPII are for validation: somebody's list, in one of the forms in circulation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lib.dataset.prepare.mpii_mat import MpiiImage, Person
from lib.utils.errors import InputError
from lib.utils.files.atomic import read_bytes

_SAME_CENTER_PX = 2.0


@dataclass(frozen=True)
class Entry:
    """One line of a list.

    Attributes:
        image: file name.
        center: (x, y) of the person as in MPII's file; None = the list does not say.
        number: place of the person in the image, from 0; None = the list does not say.
    """

    image: str
    center: tuple[float, float] | None = None
    number: int | None = None

    @property
    def names_person(self) -> bool:
        """Whether it means one person and not all of the image."""
        return self.center is not None or self.number is not None

    def __str__(self) -> str:
        if self.center is not None:
            return f"'{self.image}' at ({self.center[0]:g}, {self.center[1]:g})"
        return f"'{self.image}'" + ("" if self.number is None else f", person {self.number}")


def read_valid_list(path: Path, image_names: Sequence[str]) -> list[Entry]:
    """Read a list of validation images or people; its content says which form it has.

    Args:
        path: text (a name per line), JSON (a list of names or of records with `image` and maybe `center`) or HDF5
            as the stacked hourglass has it (`imgname` as strings or as character codes, or `index` into
            RELEASE.annolist from 0; with `center`, or else `person` from 0, where it names people).
        image_names: the images of MPII's file, in its order.

    Returns:
        The entries in the order of the list.

    Raises:
        InputError: the file is missing, empty, damaged or has another form.
    """
    try:
        if h5py.is_hdf5(path):
            entries = _from_hdf5(path, image_names)
        else:
            text = read_bytes(path).decode("utf-8-sig")
            is_json = text.lstrip()[:1] in ("[", "{")
            entries = _from_json(json.loads(text)) if is_json else _from_lines(text)
    except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: not a list of validation images, or damaged ({error})") from None
    if not entries:
        raise InputError(f"{path}: the list is empty")
    return entries


def _from_lines(text: str) -> list[Entry]:
    return [Entry(line.strip()) for line in text.splitlines() if line.strip()]


def _from_json(values: Any) -> list[Entry]:
    if not isinstance(values, list):
        raise ValueError("expected a JSON list")
    entries = []
    for row, value in enumerate(values):
        record = value if isinstance(value, dict) else {"image": value}
        center = record.get("center")
        if not isinstance(record.get("image"), str) or (center is not None and np.shape(center) != (2,)):
            raise ValueError(f"entry {row} is no name and no record with 'image' and 'center'")
        entries.append(Entry(record["image"], None if center is None else (float(center[0]), float(center[1]))))
    return entries


def _from_hdf5(path: Path, image_names: Sequence[str]) -> list[Entry]:
    with h5py.File(path, "r") as file:
        columns = {key: file[key][:] for key in ("imgname", "index", "center", "person") if key in file}
    if "imgname" in columns:
        names = [_decode(name) for name in columns["imgname"]]
    elif "index" in columns:
        names = [_name_at(int(index), image_names) for index in columns["index"]]
    else:
        raise ValueError("it has neither 'imgname' nor 'index'")
    centers, numbers = columns.get("center"), columns.get("person")
    if any(len(column) != len(names) for column in columns.values()):
        raise ValueError(f"its columns have lengths {[len(column) for column in columns.values()]}")
    if centers is not None:
        return [Entry(name, (float(x), float(y))) for name, (x, y) in zip(names, centers, strict=True)]
    if numbers is not None:
        return [Entry(name, number=int(number)) for name, number in zip(names, numbers, strict=True)]
    return [Entry(name) for name in names]


def _decode(name: Any) -> str:
    if isinstance(name, np.ndarray):  # character codes, filled up with 0
        name = name.astype(np.uint8).tobytes().rstrip(b"\0")
    return name.decode() if isinstance(name, bytes) else str(name)


def _name_at(index: int, image_names: Sequence[str]) -> str:
    if not 0 <= index < len(image_names):
        raise ValueError(f"'index' {index} is not among the {len(image_names)} images, which count from 0")
    return image_names[index]


def find_people(entries: Sequence[Entry], images: Sequence[MpiiImage], path: Path) -> list[Person]:
    """Find the people that a list names: with `center` or `number` one each, otherwise all of the image.

    Args:
        entries: the list.
        images: all images of MPII.
        path: of the list, for messages.

    Returns:
        Different people in the order of the list; those of one image in the order of the file.

    Raises:
        InputError: entries that name no image, a test image, or nobody in the image; with their number and an example.
    """
    by_name: dict[str, list[MpiiImage]] = {}
    for image in images:
        by_name.setdefault(image.name, []).append(image)
    people: dict[Person, None] = {}  # in the order of the list
    faults: dict[str, list[Entry]] = {}
    for entry in entries:
        known = by_name.get(entry.image, [])
        found = _matching(entry, [person for image in known if image.is_train for person in image.people])
        people.update(dict.fromkeys(found))
        if not known:
            faults.setdefault("name no image of MPII's file", []).append(entry)
        elif not any(image.is_train for image in known):
            faults.setdefault("name test images, whose joints are not public", []).append(entry)
        elif entry.names_person and not found:
            faults.setdefault("name nobody in their image", []).append(entry)
    if faults:
        fault, wrong = next(iter(faults.items()))
        raise InputError(f"{path}: {len(wrong)} of {len(entries)} entries {fault}, for example {wrong[0]}")
    return list(people)


def _matching(entry: Entry, people: Sequence[Person]) -> Sequence[Person]:
    if entry.number is not None:
        return [person for person in people if person.number == entry.number]
    if entry.center is None:
        return people
    distances = {
        person: float(np.linalg.norm(np.subtract(person.center, entry.center)))
        for person in people
        if person.center is not None
    }
    nearest = min(distances, key=distances.get, default=None)
    return [nearest] if nearest is not None and distances[nearest] <= _SAME_CENTER_PX else []
