"""JSON files: plain JSON without NaN, which any reader reads."""

import json
import os
from typing import Any

import json_tricks
import numpy as np

from lib.utils.errors import InputError, brief
from lib.utils.files.atomic import read_text, write_bytes


def write_json(path: str | os.PathLike, value: Any, indent: int | None = 2) -> None:
    """Write a JSON file atomically, keeping the order of the keys.

    Args:
        path: the final file.
        value: NumPy arrays are written as lists, NumPy scalars as numbers, NaN and infinities as null, paths as text.
        indent: spaces per level; None writes one line, for large files.
    """
    text = json_tricks.dumps(value, primitives=True, allow_nan=True, extra_obj_encoders=(_python_scalar,))
    finite = json.loads(text, parse_constant=lambda _: None)
    write_bytes(path, f"{json.dumps(finite, indent=indent, allow_nan=False)}\n".encode())


def _python_scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value  # json_tricks converts them too, with a warning


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, unreadable or not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({brief(error)})") from None
