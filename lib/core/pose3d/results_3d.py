"""The files of the 3D results in a run directory, and the names under which methods and settings stand side by side."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config import DEFAULTS
from lib.core.pose3d.methods import WITHOUT_PRIOR
from lib.core.pose3d.tables_3d import is_readable, save_tidy_csv
from lib.core.run_directory import POSES_STEM, RESULTS_3D_CSV_NAME, RESULTS_3D_NAME
from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_path
from lib.utils.files.json_file import read_json, write_json

logger = logging.getLogger(__name__)


_PEAKS = ("NUM_PEAKS", "PEAK_MODE", "TOLERANCE")  # also behind the triangulated root
_PSM = ("ROOT_SOURCE", "FIRST_NBINS", "GRID_SIZE", "LIMB_LENGTH_TOLERANCE")
_RPSM = ("RECUR_DEPTH", "ROOT_SOURCE", "LIMB_LENGTH_SOURCE", "RECUR_NBINS", *_PSM[1:])
# Method -> section -> the keys that it reads; PAIRWISE_FILE too where it needs a prior, but no value of it is usual.
USED_KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "rpsm": {"PICT_STRUCT": _RPSM, "TRIANGULATE": _PEAKS},
    "rpsm+refine": {"PICT_STRUCT": (*_RPSM, "REFINE_PERSON", "REFINE_LENGTH_STD"), "TRIANGULATE": _PEAKS},
    "psm": {"PICT_STRUCT": _PSM, "TRIANGULATE": _PEAKS},
    "triangulate": {"TRIANGULATE": ("WEIGHTS",)},
    "triangulate_robust": {"TRIANGULATE": _PEAKS},
}
# What stands in a name for a key that departs from its default, else "KEY {}"; {} is the value.
_WORDS = {
    "RECUR_DEPTH": "depth {}",
    "ROOT_SOURCE": "true root",
    "LIMB_LENGTH_SOURCE": "true limbs",
    "WEIGHTS": "{} weights",
    "HEATMAP_LOCATION_FILE": "from {}",
}


def method_name(config: Any, method: str) -> str:
    """Return a method with the settings that depart from the defaults, e.g. "rpsm, depth 3" or "rpsm, true root"."""
    words = []
    for section, keys in (USED_KEYS[method] | {"TEST": ("HEATMAP_LOCATION_FILE",)}).items():
        for key in keys:
            value = config[section][key]
            if value != DEFAULTS[section][key].default:
                text = f"{value:.10g}" if isinstance(value, float) else str(value)
                words.append(_WORDS.get(key, f"{key} {{}}").format(text))
    return ", ".join([method, *words])


def sources_and_settings(config: Any, method: str) -> dict[str, Any]:
    """Say what a method's results rest on: root_source, limb_length_source (None = it uses none) and settings."""
    used = {section: {key: config[section][key] for key in keys} for section, keys in USED_KEYS[method].items()}
    settings = used.pop("PICT_STRUCT", {}) | used
    if method == "psm":
        settings |= {"RECUR_DEPTH": 0, "LIMB_LENGTH_SOURCE": "prior"}
    if method not in WITHOUT_PRIOR:
        settings["PAIRWISE_FILE"] = config.PICT_STRUCT.PAIRWISE_FILE
    sources = {"root_source": "ROOT_SOURCE", "limb_length_source": "LIMB_LENGTH_SOURCE"}
    return {**{name: settings.get(key) for name, key in sources.items()}, "settings": settings}


def default_poses_name(config: Any, method: str, library: str = "numpy") -> str:
    """Return poses3d.npz for rpsm as it is on numpy, poses3d_<method_name()>[_torch].npz for everything else."""
    name = re.sub(r"[^\w.+-]+", "_", method_name(config, method))
    parts = [*([] if name == "rpsm" else [name]), *([] if library == "numpy" else [library])]
    return f"{'_'.join([POSES_STEM, *parts])}.npz"


def results_name(config: Any, method: str, library: str) -> str:
    """Return a method's name in results_3d.json, e.g. "rpsm (numpy)" or "rpsm, depth 3 (torch)"."""
    return f"{method_name(config, method)} ({library})"


def save_poses(
    path: Path,
    joint_names: Sequence[str],
    *,
    pose_world: np.ndarray,
    gt_world: np.ndarray,
    image_ids: np.ndarray,
    num_views_agree: np.ndarray,
    source: dict[str, str],
) -> None:
    """Write poses3d.npz: the arguments under their names, and `confidence`, the share of the views that agree.

    What the poses are of stands in it as `predictions_file` and `predictions_fingerprint`.

    Args:
        path: the file.
        joint_names: the J joints.
        pose_world: (F, J, 3) mm.
        gt_world: (F, J, 3) mm.
        image_ids: (F, V) image names.
        num_views_agree: (F, J) 0 to V.
        source: what the poses are of, as for save_results().
    """
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            pose_world=pose_world,
            gt_world=gt_world,
            confidence=(num_views_agree / image_ids.shape[1]).astype(np.float32),
            num_views_agree=num_views_agree,
            image_ids=image_ids,
            joint_names=np.array(joint_names),
            **{f"predictions_{key}": np.array(value) for key, value in source.items()},
        )


def save_results(directory: Path, source: dict[str, str], method: str, results: dict[str, Any]) -> None:
    """Add a method to results_3d.json and results_3d.csv.

    Methods that used another file of predictions stay beside it; those that used what stood in the same file before
    are dropped, with a warning.

    Args:
        directory: run directory.
        source: what the method used, of source_of().
        method: of results_name().
        results: of the method.
    """
    path = directory / RESULTS_3D_NAME
    methods = {**_kept_entries(path, source, method), method: {"predictions": source, **results}}
    write_json(path, methods)
    readable = {name: entry for name, entry in methods.items() if is_readable(entry)}
    if len(readable) < len(methods):
        logger.warning(
            "%s: not results of 3D poses, left out of %s: %s",
            path,
            RESULTS_3D_CSV_NAME,
            "; ".join(name for name in methods if name not in readable),
        )
    save_tidy_csv(directory / RESULTS_3D_CSV_NAME, readable)


def _kept_entries(path: Path, source: dict[str, str], method: str) -> dict[str, Any]:
    """Read the entries of a file of results that stay beside a method's new one; warns of those that do not."""
    try:
        stored = read_json(path) if path.exists() else {}
    except InputError as error:
        logger.warning("%s; it is written anew", error)
        stored = {}
    stored = stored if isinstance(stored, dict) else {}
    file = source["file"]
    used = {name: entry.get("predictions") if isinstance(entry, dict) else None for name, entry in stored.items()}
    files = {name: one.get("file") if isinstance(one, dict) else None for name, one in used.items()}
    kept = {
        name: entry
        for name, entry in stored.items()
        if name != method and (used[name] == source or files[name] not in (None, file))
    }
    dropped = [name for name in stored if name not in kept and not (name == method and files[name] == file)]
    if dropped:
        logger.warning(
            "%s: dropped, since they are not of the predictions that %s holds now: %s", path, file, "; ".join(dropped)
        )
    return kept
