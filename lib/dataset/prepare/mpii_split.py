"""List of MPII's validation people, in one of the common formats."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lib.dataset.prepare.mpii_mat import MpiiImage, MpiiPerson
from lib.utils.errors import InputError, brief
from lib.utils.files.atomic import read_bytes
from lib.utils.files.hdf5_reading import read_texts

_SAME_CENTER_PX = 2.0


@dataclass(frozen=True)
class ListEntry:
    """ListEntry of a validation list: an image, or one person of it.

    Attributes:
        image: file name.
        center: (x, y) of the person as in MPII's file, None if not listed.
        number: index of the person in the image, from 0, None if not listed.
    """

    image: str
    center: tuple[float, float] | None = None
    number: int | None = None

    @property
    def names_person(self) -> bool:
        """Whether the entry names one person instead of all people of the image."""
        return self.center is not None or self.number is not None

    def __str__(self) -> str:
        if self.center is not None:
            return f"'{self.image}' at ({self.center[0]:g}, {self.center[1]:g})"
        return f"'{self.image}'" + ("" if self.number is None else f", person {self.number}")


def read_valid_list(path: Path, image_names: Sequence[str]) -> list[ListEntry]:
    """Read a list of validation images or people.

    Args:
        path: text with one image name per line; JSON list of image names or of records with `image` and optional
            `center`; or HDF5 of the stacked hourglass, with `imgname` (strings or character codes) or `index` into
            RELEASE.annolist from 0, and optional `center` or `person` (from 0).
        image_names: images in the order of MPII's file.

    Raises:
        InputError: the file is missing, empty, damaged or has another format.
    """
    try:
        if h5py.is_hdf5(path):
            entries = _from_hdf5(path, image_names)
        else:
            text = read_bytes(path).decode("utf-8-sig")
            is_json = text.lstrip()[:1] in ("[", "{")
            entries = _from_json(json.loads(text)) if is_json else _from_lines(text)
    except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: not a list of validation images, or damaged ({brief(error)})") from None
    if not entries:
        raise InputError(f"{path}: the list is empty")
    return entries


def _from_lines(text: str) -> list[ListEntry]:
    return [ListEntry(line.strip()) for line in text.splitlines() if line.strip()]


def _from_json(values: Any) -> list[ListEntry]:
    if not isinstance(values, list):
        raise ValueError("expected a JSON list")
    entries = []
    for row, value in enumerate(values):
        record = value if isinstance(value, dict) else {"image": value}
        center = record.get("center")
        if not isinstance(record.get("image"), str) or (center is not None and np.shape(center) != (2,)):
            raise ValueError(f"entry {row} is neither a name nor a record with 'image' and 'center'")
        entries.append(ListEntry(record["image"], None if center is None else (float(center[0]), float(center[1]))))
    return entries


def _from_hdf5(path: Path, image_names: Sequence[str]) -> list[ListEntry]:
    columns = read_texts(path, ("imgname", "index", "center", "person")).columns
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
        return [ListEntry(name, (float(x), float(y))) for name, (x, y) in zip(names, centers, strict=True)]
    if numbers is not None:
        return [ListEntry(name, number=int(number)) for name, number in zip(names, numbers, strict=True)]
    return [ListEntry(name) for name in names]


def _decode(name: Any) -> str:
    if isinstance(name, list):  # character codes, padded with 0
        name = np.array(name).astype(np.uint8).tobytes().rstrip(b"\0").decode()
    return str(name)


def _name_at(index: int, image_names: Sequence[str]) -> str:
    if not 0 <= index < len(image_names):
        raise ValueError(f"'index': expected 0 to {len(image_names) - 1}, received {index}")
    return image_names[index]


def find_people(entries: Sequence[ListEntry], images: Sequence[MpiiImage], path: Path) -> list[MpiiPerson]:
    """Find the listed people. An entry without `center` and `number` selects all people of its image.

    Args:
        entries: validation list.
        images: all images of MPII.
        path: file of the list, for messages.

    Returns:
        The people without duplicates, in the order of the list.

    Raises:
        InputError: entries name no image, a test image or no person of their image.
    """
    by_name: dict[str, list[MpiiImage]] = {}
    for image in images:
        by_name.setdefault(image.name, []).append(image)
    people: dict[MpiiPerson, None] = {}  # in the order of the list
    faults: dict[str, list[ListEntry]] = {}
    for entry in entries:
        known = by_name.get(entry.image, [])
        found = _matching(entry, [person for image in known if image.is_train for person in image.people])
        people.update(dict.fromkeys(found))
        if not known:
            faults.setdefault("name no image of MPII's file", []).append(entry)
        elif not any(image.is_train for image in known):
            faults.setdefault("name test images, whose joints are not public", []).append(entry)
        elif entry.names_person and not found:
            faults.setdefault("name no person of their image", []).append(entry)
    if faults:
        fault, wrong = next(iter(faults.items()))
        raise InputError(f"{path}: {len(wrong)} of {len(entries)} entries {fault}, for example {wrong[0]}")
    return list(people)


def _matching(entry: ListEntry, people: Sequence[MpiiPerson]) -> Sequence[MpiiPerson]:
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
