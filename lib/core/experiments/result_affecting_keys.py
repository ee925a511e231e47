"""Of a configuration, what its results depend on: cells are the same as long as that is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.core.config import keys_with_scope
from lib.core.config_io import flat_values

_PATHS = (("DATASET", "ROOT"), ("NETWORK", "PRETRAINED"), ("TEST", "MODEL_FILE"), ("PICT_STRUCT", "PAIRWISE_FILE"))


def decisive_values(config: Any, known_folders: Mapping[Path, str]) -> dict[str, Any]:
    """Return paths, and the other values that differ from the defaults, as far as they change results.

    Args:
        config: merged configuration.
        known_folders: folder -> name, of what the cells themselves make: the same wherever they lie.

    Returns:
        Key, e.g. "TRAIN.LR" -> plain value; paths by the known folder they are in, or as seen from here; the number of
        GPUs.
    """
    defaults = flat_values({})
    without_effect = keys_with_scope("runtime")
    values = {
        name: value
        for name, value in flat_values(config).items()
        if value != defaults[name] and name not in without_effect
    }
    for group, name in _PATHS:
        values[f"{group}.{name}"] = _place(config[group][name], known_folders)
    return {**values, "GPUS": len(config.GPUS.split(","))}


def _place(path: str, known_folders: Mapping[Path, str]) -> str:
    if not path:
        return path
    whole = Path(path).resolve()
    for folder in sorted(known_folders, key=lambda folder: -len(folder.resolve().parts)):  # the innermost first
        if whole.is_relative_to(folder.resolve()):
            return f"{known_folders[folder]}/{whole.relative_to(folder.resolve())}"
    return os.path.relpath(path)
