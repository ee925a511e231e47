"""Files of 3D results: poses3d*.npz and results_3d.json, and the names of methods and settings in them.

Each method with its non-default settings has an entry in results_3d.json. New predictions invalidate the entries of
the predictions that they replace.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config import DEFAULTS
from lib.core.pose3d.frames import EvaluatedFrames, Poses
from lib.core.pose3d.methods import METHODS
from lib.core.pose3d.tables_3d import is_readable, save_tidy_csv
from lib.core.run_directory import POSES_STEM, RESULTS_3D_CSV_NAME, RESULTS_3D_NAME
from lib.multiviews.refinement.uncertainty import sd_mm
from lib.utils.errors import InputError, brief, check_shape
from lib.utils.files.atomic import atomic_path
from lib.utils.files.json_file import read_json, write_json

logger = logging.getLogger(__name__)

# How names of results mention a value {} that is not the default; other keys as "KEY {}".
_NAME_FORMATS = {
    "RECUR_DEPTH": "depth {}",
    "ROOT_SOURCE": "true root",
    "LIMB_LENGTH_SOURCE": "true limbs",
    "WEIGHTS": "{} weights",
    "HEATMAP_LOCATION_FILE": "from {}",
}


def method_name(config: Any, method: str) -> str:
    """Return a method with its non-default settings, e.g. "rpsm, depth 3" or "rpsm, true root"."""
    words = [method]
    for dotted in (*METHODS[method].keys, "TEST.HEATMAP_LOCATION_FILE"):
        section, key = dotted.split(".")
        value = config[section][key]
        if value != DEFAULTS[section][key].default:
            text = f"{value:.10g}" if isinstance(value, float) else str(value)
            words.append(_NAME_FORMATS.get(key, f"{key} {{}}").format(text))
    return ", ".join(words)


def sources_and_settings(config: Any, method: str) -> dict[str, Any]:
    """Return root_source and limb_length_source (None = not used), and all settings that the method depends on."""
    chosen = METHODS[method]
    files = ("PICT_STRUCT.PAIRWISE_FILE",) if chosen.needs_prior else ()
    files += ("PICT_STRUCT.REFINE_LEARNED",) if chosen.needs_learned else ()
    settings: dict[str, Any] = {}
    for dotted in dict.fromkeys([*chosen.keys, *chosen.fixed, *files]):
        section, key = dotted.split(".")
        values = settings if section == "PICT_STRUCT" else settings.setdefault(section, {})
        values[key] = chosen.fixed.get(dotted, config[section][key])
    return {
        "root_source": settings.get("ROOT_SOURCE"),
        "limb_length_source": settings.get("LIMB_LENGTH_SOURCE"),
        "settings": settings,
    }


def default_poses_name(config: Any, method: str, library: str = "numpy") -> str:
    """Return poses3d.npz for rpsm with default settings on numpy, else poses3d_<method_name()>[_torch].npz."""
    name = re.sub(r"[^\w.+-]+", "_", method_name(config, method))
    parts = [*([] if name == "rpsm" else [name]), *([] if library == "numpy" else [library])]
    return f"{'_'.join([POSES_STEM, *parts])}.npz"


def results_name(config: Any, method: str, library: str) -> str:
    """Return the name of an entry of results_3d.json, e.g. "rpsm (numpy)" or "rpsm, depth 3 (torch)"."""
    return f"{method_name(config, method)} ({library})"


def save_poses(path: Path, frames: EvaluatedFrames, poses: Poses, source: dict[str, str]) -> None:
    """Write a pose file of a run: the keys of write_poses(), ground truth, image names and results_provenance()."""
    write_poses(
        path,
        frames.joint_set.names,
        poses.pose_world,
        poses.num_views_agree,
        frames.groups.shape[1],
        gt_world=frames.gt_world,
        image_ids=frames.image_ids,
        **_uncertainty(poses),
        **{f"predictions_{key}": np.array(value) for key, value in source.items()},
    )


def _uncertainty(poses: Poses) -> dict[str, np.ndarray]:
    if poses.covariance is None:
        return {}
    arrays = {
        "sd_mm": sd_mm(poses.covariance),
        "covariance": poses.covariance,
        "degrees_of_freedom": poses.degrees_of_freedom,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_poses(
    path: Path,
    joint_names: Sequence[str],
    pose_world: np.ndarray,
    num_views_agree: np.ndarray,
    num_views: int,
    **arrays: np.ndarray,
) -> None:
    """Write a pose file with the keys that runs and recordings (lib/core/own_cameras) share, and further arrays.

    Args:
        path: the file.
        joint_names: the J joints.
        pose_world: (F, J, 3) mm.
        num_views_agree: (F, J) 0 to V; also stored as its share of the views, `confidence`.
        num_views: V.
        arrays: further arrays.
    """
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            pose_world=pose_world,
            confidence=(num_views_agree / num_views).astype(np.float32),
            num_views_agree=num_views_agree,
            joint_names=np.array(joint_names),
            **arrays,
        )


def read_poses(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read a pose file of a run or of a recording. Frames, views and joints are F, V and J.

    Args:
        path: e.g. poses3d.npz.

    Returns:
        Name -> array. All files (older ones may lack `confidence` and `num_views_agree`):
            pose_world: (F, J, 3) mm, world frame; NaN = unknown, in recordings only.
            num_views_agree: (F, J) number of views that support the joint, 0 to V.
            confidence: (F, J) the same as a share of the views, 0 to 1.
            joint_names: (J,) names.
        Files of run/pose3d/estimate.py:
            gt_world: (F, J, 3) ground truth, mm, world frame.
            image_ids: (F, V) image paths below the images folder of the data set.
            predictions_file, predictions_fingerprint: () name and fingerprint of the heatmaps.
        Of rpsm+refine and rpsm+learned only:
            sd_mm: (F, J) standard deviation per axis, mm. covariance: (F, J, 3, 3) mm^2.
            degrees_of_freedom: (F,) of the t distribution of the errors, see uncertainty.py.
        Files of run/demo/multiview.py:
            known: (F, J) bool, pose_world is known.
            sd_mm: (F, J) standard deviation per axis, mm. covariance: (F, J, 3, 3) mm^2.
            source: (F, J) where the position comes from, index into source_names.
            joints_img: (F, V, J, 2) detections after swap correction, image px.
            kept: (F, V, J) bool, detections that agree with the others.
            frame: (F,) frame number of the reference view's video, from 0.
            time_s: (F,) seconds from the beginning of that video.
            view_frames: (F, V) frame number in each view's video.
            views: (V,) names of the cameras.

    Raises:
        InputError: missing or damaged, or another kind of file.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            poses = dict(file)
    except FileNotFoundError:
        found = ", ".join(sorted(other.name for other in path.parent.glob(f"{POSES_STEM}*.npz")))
        hint = f"; there are {found}" if found else ""
        raise InputError(f"{path}: no such file; run/pose3d/estimate.py writes it{hint}") from None
    except Exception as error:  # a damaged archive raises many kinds
        raise InputError(f"{path}: not a file of 3D poses, or truncated ({brief(error)})") from None
    _check_names(path, poses, "pose_world", "joint_names")
    return poses


def _check_names(path: Path, poses: Mapping[str, np.ndarray], *names: str) -> None:
    lacking = set(names) - poses.keys()
    if lacking:
        raise InputError(f"{path}: not a file of 3D poses: it has no '{min(lacking)}'")


def load_poses(path: Path, image_ids: np.ndarray, joint_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read a pose file of a run, and check that it belongs to the frames.

    Args:
        path: poses3d.npz.
        image_ids: (F, V) image names of the frames.
        joint_names: the J joints.

    Returns:
        The arrays of read_poses(); older files have no provenance.

    Raises:
        InputError: missing, damaged, or made for other images or joints.
    """
    poses = read_poses(path)
    _check_names(path, poses, "gt_world", "image_ids")
    if poses["joint_names"].tolist() != list(joint_names):
        raise InputError(f"{path}: joints are {poses['joint_names'].tolist()}, expected {list(joint_names)}")
    if not np.array_equal(poses["image_ids"], image_ids):
        raise InputError(f"{path}: made for other images; run run/pose3d/estimate.py again")
    for name in ("pose_world", "gt_world"):
        check_shape(f"{path}: {name}", poses[name].shape, (len(image_ids), len(joint_names), 3))
        if poses[name].dtype.kind != "f":
            raise InputError(f"{path}: {name}: expected distances in mm, received {poses[name].dtype}")
    return poses


def poses_source(poses: Mapping[str, np.ndarray]) -> dict[str, str] | None:
    """Return the provenance of poses from load_poses(); None = unknown, as in older files."""
    names = {key: f"predictions_{key}" for key in ("file", "fingerprint")}
    return {key: str(poses[name]) for key, name in names.items()} if poses.keys() >= set(names.values()) else None


def save_results(directory: Path, source: dict[str, str], name: str, results: dict[str, Any]) -> None:
    """Add an entry to results_3d.json, and write all entries to results_3d.csv.

    Entries made from earlier contents of the same predictions file are removed, with a warning.

    Args:
        directory: the run directory.
        source: provenance, of results_provenance().
        name: of results_name().
        results: results of the method.
    """
    path = directory / RESULTS_3D_NAME
    entries = {**_valid_entries(path, source, name), name: {"predictions": source, **results}}
    write_json(path, entries)
    readable = {other: entry for other, entry in entries.items() if is_readable(entry)}
    if len(readable) < len(entries):
        foreign = "; ".join(other for other in entries if other not in readable)
        logger.warning("%s: no 3D results, left out of %s: %s", path, RESULTS_3D_CSV_NAME, foreign)
    save_tidy_csv(directory / RESULTS_3D_CSV_NAME, readable)


def _valid_entries(path: Path, source: dict[str, str], name: str) -> dict[str, Any]:
    """Read the entries that a new entry `name` does not replace or invalidate."""
    try:
        stored = read_json(path) if path.exists() else {}
    except InputError as error:
        logger.warning("%s; replaced by a new file", error)
        stored = {}
    kept = {}
    removed = []
    for other, entry in stored.items() if isinstance(stored, dict) else ():
        used = entry.get("predictions") if isinstance(entry, dict) else None
        file = used.get("file") if isinstance(used, dict) else None
        if other != name and (used == source or file not in (None, source["file"])):
            kept[other] = entry
        elif other != name or file != source["file"]:
            removed.append(other)
    if removed:
        logger.warning("%s: removed results of earlier contents of %s: %s", path, source["file"], "; ".join(removed))
    return kept
