"""The files of the 3D results in a run directory."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config import DEFAULTS
from lib.core.methods3d import WITHOUT_PRIOR
from lib.core.tables3d import save_tidy_csv
from lib.multiviews.kernels import Kernel
from lib.utils.checks import InputError
from lib.utils.files import atomic_path, read_json, write_json

logger = logging.getLogger(__name__)

RESULTS_NAME = "results_3d.json"
CSV_NAME = "results_3d.csv"


def method_name(config: Any, method: str) -> str:
    """Return a method with the settings that depart from the paper's, e.g. "rpsm, depth 3" or "rpsm, true root"."""
    keys, settings = config.PICT_STRUCT, []
    if method.startswith("rpsm") and DEFAULTS["PICT_STRUCT"]["RECUR_DEPTH"].default != keys.RECUR_DEPTH:
        settings.append(f"depth {keys.RECUR_DEPTH}")
    if method not in WITHOUT_PRIOR and keys.ROOT_SOURCE == "ground_truth":
        settings.append("true root")
    if method.startswith("rpsm") and keys.LIMB_LENGTH_SOURCE == "ground_truth":
        settings.append("true limbs")
    if method == "triangulate" and config.TRIANGULATE.WEIGHTS == "equal":
        settings.append("equal weights")
    return ", ".join([method, *settings])


def default_poses_name(config: Any, method: str) -> str:
    """Return poses3d.npz for rpsm as it is, poses3d_<method_name()>.npz for everything else."""
    name = method_name(config, method)
    return "poses3d.npz" if name == "rpsm" else f"poses3d_{name.replace(', ', '_').replace(' ', '_')}.npz"


def results_name(config: Any, method: str, kernel: Kernel) -> str:
    """Return a method's name in results_3d.json, e.g. "rpsm (numpy)" or "rpsm, depth 3 (torch)"."""
    return f"{method_name(config, method)} ({kernel.xp.__name__})"


def save_poses(
    path: Path,
    joint_names: Sequence[str],
    *,
    pose_world: np.ndarray,
    gt_world: np.ndarray,
    image_ids: np.ndarray,
    num_views_agree: np.ndarray,
) -> None:
    """Write poses3d.npz: the arguments under their names, and `confidence`, the share of the views that agree.

    Args:
        path: the file.
        joint_names: the J joints.
        pose_world: (F, J, 3) mm.
        gt_world: (F, J, 3) mm.
        image_ids: (F, V) image names.
        num_views_agree: (F, J) 0 to V.
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
        )


def save_results(directory: Path, predictions_name: str, method: str, results: dict[str, Any]) -> None:
    """Add a method to results_3d.json; methods that used other predictions than those now in place go."""
    path, stored = directory / RESULTS_NAME, {}
    if path.exists():
        try:
            stored = read_json(path)
        except InputError as error:
            logger.warning("%s; it is written anew", error)
    changed = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((directory / predictions_name).stat().st_mtime))
    source = {"file": predictions_name, "written": changed}
    kept = {
        name: entry
        for name, entry in (stored.items() if isinstance(stored, dict) else ())
        if isinstance(entry, dict) and entry.get("predictions") == source
    }
    methods = {**kept, method: {"predictions": source, **results}}
    write_json(path, methods)
    save_tidy_csv(directory / CSV_NAME, methods)
