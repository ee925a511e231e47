"""Human3.6M's metadata.xml: file names of the recordings and camera calibration."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.dataset.storage.record_writer import camera_record
from lib.utils.errors import InputError, brief

NUM_SUBJECTS = 11
NUM_EXTRINSICS = 6
NUM_INTRINSICS = 9
FIRST_INTRINSIC = 264  # in w0, after the extrinsics of 4 cameras and 11 subjects
NUM_PARAMETERS = 300

RecordingId = tuple[int, int, int]  # subject, action, sub-action


@dataclass(frozen=True)
class H36MMetadata:
    """Content of metadata.xml.

    Attributes:
        base_names: recording -> first part of its file names, e.g. "Directions 1".
        serials: serial numbers of cameras 1 to 4, as in the file names.
        w0: (300,) calibration parameters.
    """

    base_names: dict[RecordingId, str]
    serials: tuple[str, ...]
    w0: np.ndarray

    def file_stem(self, recording: RecordingId, camera_id: int) -> str:
        """Return the file name without suffix of a recording and a camera, counted from 0."""
        return f"{self.base_names[recording]}.{self.serials[camera_id]}"

    def camera(self, camera_id: int, subject: int) -> dict[str, np.ndarray]:
        """Return the camera dictionary of the annotation.

        Args:
            camera_id: from 0.
            subject: from 1. The cameras were placed again for each subject.

        Source: code and calibration file of the data set. R = Rx(a) Ry(b) Rz(g), T is the camera center in mm.
        """
        start = NUM_EXTRINSICS * (camera_id * NUM_SUBJECTS + subject - 1)
        angles, center = np.split(self.w0[start : start + NUM_EXTRINSICS], 2)
        start = FIRST_INTRINSIC + NUM_INTRINSICS * camera_id
        fx, fy, cx, cy, k1, k2, k3, p1, p2 = self.w0[start : start + NUM_INTRINSICS]
        return camera_record(
            rotation_xyz(angles), center, (fx, fy), (cx, cy), np.array([k1, k2, k3]), np.array([p1, p2])
        )


def rotation_xyz(angles: np.ndarray) -> np.ndarray:
    """Return Rx(a) Ry(b) Rz(g), (3, 3), for three angles in rad."""
    (ca, cb, cg), (sa, sb, sg) = np.cos(angles), np.sin(angles)
    rx = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    ry = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    rz = np.array([[cg, -sg, 0], [sg, cg, 0], [0, 0, 1]])
    return rx @ ry @ rz


def read_metadata(path: Path) -> H36MMetadata:
    """Read metadata.xml.

    Raises:
        InputError: the file is missing, not XML or lacks a part.
    """
    try:
        tree = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; it is part of Human3.6M's code and holds the calibration") from None
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: not an XML file, or truncated ({brief(error)})") from None
    serials = tuple(_text(cell) for cell in _part(tree, "dbcameras/index2id", path))
    numbers = re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", _part(tree, "w0", path).text or "")
    if len(serials) != 4 or len(numbers) != NUM_PARAMETERS:
        raise InputError(
            f"{path}: expected 4 cameras and {NUM_PARAMETERS} numbers in w0, received {len(serials)} and {len(numbers)}"
        )
    return H36MMetadata(_base_names(_part(tree, "mapping", path), path), serials, np.array(numbers, np.float64))


def _part(tree: ElementTree.Element, name: str, path: Path) -> ElementTree.Element:
    found = tree.find(f".//{name}")  # the parts may be one level down, e.g. below <metadata>
    if found is None:
        raise InputError(f"{path}: has no '{name}'")
    return found


def _text(cell: ElementTree.Element) -> str:
    return (cell.text or "").strip()


def _base_names(mapping: ElementTree.Element, path: Path) -> dict[RecordingId, str]:
    """Read the rows (action, sub-action, one name per subject) and skip other rows, such as the header."""
    names = {}
    for row in mapping:
        cells = [_text(cell) for cell in row]
        if len(cells) < 2 + NUM_SUBJECTS or not (cells[0].isdecimal() and cells[1].isdecimal()):
            continue
        for subject, name in enumerate(cells[2 : 2 + NUM_SUBJECTS], 1):
            if name:
                names[subject, int(cells[0]), int(cells[1])] = name
    if not names:
        raise InputError(f"{path}: 'mapping' has no rows with action, sub-action and {NUM_SUBJECTS} names")
    return names
