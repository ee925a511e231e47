"""Configuration values that affect results. Cells with equal values have equal results."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.core.config import keys_with_scope
from lib.core.config_io import flat_values

_PATHS = (("DATASET", "ROOT"), ("NETWORK", "PRETRAINED"), ("TEST", "MODEL_FILE"), ("PICT_STRUCT", "PAIRWISE_FILE"))


def decisive_values(config: Any, known_folders: Mapping[Path, str]) -> dict[str, Any]:
    """Return the values that affect results: paths, the number of GPUs, and values that differ from the defaults.

    Args:
        config: merged configuration.
        known_folders: folder -> name, of folders that cells write. Paths in them do not depend on their location.

    Returns:
        Key, e.g. "TRAIN.LR" -> plain value. Paths are relative to a known folder or to the working directory.
    """
    defaults = flat_values({})
    without_effect = keys_with_scope("runtime")
    values = {
        name: value
        for name, value in flat_values(config).items()
        if value != defaults[name] and name not in without_effect
    }
    for group, name in _PATHS:
        values[f"{group}.{name}"] = _relative(config[group][name], known_folders)
    return {**values, "GPUS": len(config.GPUS.split(","))}


def _relative(path: str, known_folders: Mapping[Path, str]) -> str:
    if not path:
        return path
    whole = Path(path).resolve()
    names = {folder.resolve(): name for folder, name in known_folders.items()}
    for folder in sorted(names, key=lambda folder: -len(folder.parts)):  # the innermost first
        if whole.is_relative_to(folder):
            return f"{names[folder]}/{whole.relative_to(folder)}"
    return os.path.relpath(path)
