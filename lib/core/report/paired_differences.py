"""Paired differences of the JDR and of the MPJPE between runs, over the images and frames that they share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.report.compared_runs import Run, RunGroup, item_label, items_of, main_items
from lib.core.run_directory import HITS_2D_NAME
from lib.utils.files.digest import content_digest

INTERVAL = 1.96  # standard errors of a 95 % interval


def paired_differences(groups: Sequence[RunGroup]) -> list[list[Any]]:
    """Return rows (group, method, mean difference, interval, number of frames) against the first group.

    Runs are paired by seed, or by position if a group is a single run. A method is listed if both runs have its poses
    of the same images.
    """
    rows: list[list[Any]] = []
    for group in groups[1:]:
        for method in items_of([groups[0], group], "3D"):
            pairs = [
                pair for first, other in _seed_pairs(groups[0], group) if (pair := _frame_errors(first, other, method))
            ]
            if not pairs:
                continue
            difference = np.mean([other - first for first, other in pairs], 0)  # (F,)
            rows.append([group.name, item_label("3D", method), *_mean_and_interval(difference)])
    return rows


def paired_rate_differences(groups: Sequence[RunGroup]) -> list[list[Any]]:
    """Return rows (group, heatmaps, mean difference, interval, number of images) against the first group.

    Runs are paired as in paired_differences(). The mean is the difference of the JDRs, in points.
    """
    rows: list[list[Any]] = []
    for group in groups[1:]:
        for item in main_items([groups[0], group], "2D"):
            shares = [_hit_shares(first, other, item) for first, other in _seed_pairs(groups[0], group)]
            known = [share for share in shares if share is not None]
            if known:
                rows.append([group.name, item_label("2D", item), *_mean_and_interval(np.mean(known, 0))])
    return rows


def _mean_and_interval(difference: np.ndarray) -> list[Any]:
    """Return the mean of differences (F,), its 95 % interval, and F."""
    half = INTERVAL * difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else math.nan
    mean = difference.mean()
    interval = f"{mean - half:+.1f} to {mean + half:+.1f}" if math.isfinite(half) else None
    return [f"{mean:+.1f}", interval, len(difference)]


def _hit_shares(first: Run, other: Run, item: str) -> np.ndarray | None:
    """Return the share of each image (M,) in the difference of two JDRs, whose mean is the difference, in points.

    None if a run has no hits, or of other images or joints.
    """
    if not first.hits.get("truth") or first.hits.get("truth") != other.hits.get("truth"):
        return None
    hits = [_read_hits(run, item) for run in (first, other)]
    if hits[0] is None or hits[1] is None or hits[0].shape != hits[1].shape:
        return None
    counted = hits[0] >= 0
    if not np.array_equal(counted, hits[1] >= 0):
        return None
    gained = np.where(counted, hits[1] - hits[0], 0)  # (M, J)
    per_joint = counted.sum(0)
    has_images = per_joint > 0
    return 100 * len(gained) * (gained[:, has_images] / per_joint[has_images]).mean(1)


def _read_hits(run: Run, item: str) -> np.ndarray | None:
    path = run.directory / HITS_2D_NAME
    try:
        if content_digest(path) != run.hits.get("digest"):
            return None
        with np.load(path, allow_pickle=False) as file:
            return file["hits"][file["rows"].tolist().index(item)]
    except Exception:  # missing, damaged, or other rows
        return None


def _seed_pairs(first: RunGroup, other: RunGroup) -> Iterable[tuple[Run, Run]]:
    if len(first.runs) == len(other.runs) == 1:
        return [(first.runs[0], other.runs[0])]
    by_seed = {run.seed: run for run in other.runs}
    return [(run, by_seed[run.seed]) for run in first.runs if run.seed in by_seed]


def _frame_errors(first: Run, other: Run, method: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the mean error per frame (F,) of both runs, mm; None if one has no poses, or of other images."""
    poses = [_read_poses(run, method) for run in (first, other)]
    if poses[0] is None or poses[1] is None:
        return None
    if not np.array_equal(poses[0]["image_ids"], poses[1]["image_ids"]):
        return None
    distances = [np.linalg.norm(one["pose_world"] - one["gt_world"], axis=-1) for one in poses]
    labeled = np.isfinite(poses[0]["gt_world"]).all(-1)
    counted = labeled.any(1)
    errors = [np.where(labeled, one, 0.0).sum(1)[counted] / labeled.sum(1)[counted] for one in distances]
    return errors[0], errors[1]


def _read_poses(run: Run, method: str) -> dict[str, np.ndarray] | None:
    name = run.methods.get(method, {}).get("poses")
    if not isinstance(name, str):  # older results do not name the file
        return None
    try:
        with np.load(run.directory / Path(name).name, allow_pickle=False) as file:
            return {key: file[key] for key in ("pose_world", "gt_world", "image_ids")}
    except Exception:  # missing, damaged, or without ground truth
        return None
