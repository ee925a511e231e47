"""Edits of annotation records, for data sets with known faults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LABELS = ("joints_2d", "joints_3d", "joints_3d_camera", "center", "scale", "box")


def of_camera(camera_id: int | None, change: Callable[[dict], None]) -> Callable[[list[dict]], None]:
    """Return an edit that changes the records of one camera (None = all). Each record gets its own camera."""

    def edit(records: list[dict]) -> None:
        for record in records:
            record["camera"] = {key: np.array(value) for key, value in record["camera"].items()}
            if camera_id is None or record["camera_id"] == camera_id:
                change(record)

    return edit


def set_camera(**functions: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict], None]:
    """Return a change of camera entries: set_camera(T=lambda T: T / 1000)."""

    def change(record: dict) -> None:
        for key, function in functions.items():
            record["camera"][key] = function(record["camera"][key])

    return change


def set_entry(key: str, function: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict], None]:
    """Return a change of an entry of the record."""

    def change(record: dict) -> None:
        record[key] = function(record[key])

    return change


def shifted(keys: tuple[str, ...], camera_id: int, lag: int) -> Callable[[list[dict]], None]:
    """Return an edit that replaces entries of a camera's records by the entries `lag` frames later."""

    def edit(records: list[dict]) -> None:
        actions = {record["action"] for record in records}
        for action in actions:
            own = [record for record in records if record["action"] == action and record["camera_id"] == camera_id]
            values = [{key: record[key] for key in keys} for record in own]
            for place, record in enumerate(own):
                record |= values[min(max(place + lag, 0), len(own) - 1)]

    return edit
