"""MATLAB files up to version 7."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.io

from lib.utils.errors import InputError, brief
from lib.utils.files.atomic import atomic_path


def load_mat(path: str | os.PathLike, *names: str) -> dict[str, np.ndarray]:
    """Read variables of a MATLAB file.

    Returns:
        Name -> array with at least 2 axes. Structs are arrays with named fields, cells are arrays of type object.

    Raises:
        InputError: the file is missing, truncated, not a MATLAB file up to version 7, or lacks a variable.
    """
    try:
        with open(path, "rb") as file:
            found = scipy.io.loadmat(file, variable_names=names)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except NotImplementedError:
        raise InputError(f"{path}: expected MATLAB version 7 or older, received 7.3; save it with -v7") from None
    except Exception as error:  # damaged files raise nearly anything
        raise InputError(f"{path}: not a MATLAB file, or truncated ({brief(error)})") from None
    lacking = [name for name in names if name not in found]
    if lacking:
        raise InputError(f"{path}: has no variable '{lacking[0]}'")
    return {name: found[name] for name in names}


def write_mat(path: str | os.PathLike, variables: Mapping[str, Any]) -> None:
    """Write a MATLAB file atomically."""
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, dict(variables), appendmat=False, do_compression=True)
