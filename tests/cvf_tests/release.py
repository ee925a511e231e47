"""MPII's annotation file as MATLAB writes it: nested structs, empty and absent fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from lib.dataset.synthetic.generate import SetSettings, make_dataset
from lib.dataset.synthetic.scene import WorldSettings

EMPTY = np.zeros((0, 0))
VISIBLE = (1, 0, "1", "0", EMPTY, np.uint8(1))  # types of `is_visible` in the file


def struct_array(rows: Sequence[dict[str, Any]], column: bool = False) -> np.ndarray:
    """Return a MATLAB struct array. Missing fields of a row are empty, as in MATLAB."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    array = np.empty((len(rows), 1) if column else (1, len(rows)), [(key, object) for key in keys])
    for place, row in zip(np.ndindex(array.shape), rows, strict=True):
        for key in keys:
            array[place][key] = row.get(key, EMPTY)
    return array


def person(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return an annorect entry of a JSON record. A change to None removes a field."""
    points = [
        {"x": x, "y": y, "id": joint, "is_visible": VISIBLE[joint % len(VISIBLE)]}
        for joint, ((x, y), seen) in enumerate(zip(record["joints"], record["joints_vis"], strict=True))
        if seen
    ]
    fields = {
        **dict(zip(("x1", "y1", "x2", "y2"), record["head_box"], strict=True)),
        "annopoints": struct_array([{"point": struct_array(points[::-1])}]),
        "scale": record["scale"],
        "objpos": struct_array([dict(zip("xy", record["center"], strict=True))]),
    } | changes
    return {key: value for key, value in fields.items() if value is not None}


def image(name: str, people: Sequence[dict[str, Any]], is_train: bool = True, separate: Sequence[int] | None = None):
    """Return an entry of annolist with its values of img_train and single_person."""
    annorect = struct_array(people) if people else EMPTY
    if separate is None:
        separate = range(1, len(people) + 1)
    return {
        "entry": {"image": struct_array([{"name": name}]), "annorect": annorect},
        "train": is_train,
        "separate": np.array([separate], np.uint8).T if len(separate) else EMPTY,
    }


def write_release(path: Path, images: Sequence[dict[str, Any]], **changes: Any) -> Path:
    """Write the file. A change to None removes a part of RELEASE."""
    separate = np.empty((len(images), 1), object)
    for row, one in enumerate(images):
        separate[row, 0] = one["separate"]
    parts = {
        "annolist": struct_array([one["entry"] for one in images]),
        "img_train": np.array([[int(one["train"]) for one in images]], np.uint8),
        "version": "12",
        "single_person": separate,
        "act": struct_array([{"act_name": "standing", "act_id": 1}] * len(images), column=True),
        "video_list": np.array([["a", "b"]], object),
    } | changes
    release = struct_array([{key: value for key, value in parts.items() if value is not None}])
    scipy.io.savemat(path, {"RELEASE": release}, do_compression=True)
    return path


def make_world(root: Path, num_train: int, num_valid: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Make the synthetic single images in `root`; return training and validation records."""
    world = WorldSettings(num_views=2, image_size=32)
    make_dataset(
        root,
        SetSettings(world, subjects=(1,), actions=(2,), train_groups=1, mpii_train=num_train, mpii_valid=num_valid),
    )
    train, valid = (json.loads((root / f"mpii/annot/{name}.json").read_text()) for name in ("train", "valid"))
    return train, valid
