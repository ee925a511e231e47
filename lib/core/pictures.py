"""The contact sheet of a run: views with heatmaps and joints, 3D poses from two sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.inference import get_max_preds
from lib.dataset.h36m import group_views, load_h36m
from lib.multiviews.body import H36M_BODY
from lib.utils.checks import InputError
from lib.utils.contact_sheet import SheetFrame, save_contact_sheet
from lib.utils.image_io import read_image
from lib.utils.joints import H36M_17
from lib.utils.prediction_io import PredictionFile
from lib.utils.transforms import crop_image, get_affine_transform
from lib.utils.vis import Skeleton


def load_poses(path: Path) -> dict[str, np.ndarray]:
    """Read a file of 3D results.

    Args:
        path: poses3d.npz.

    Returns:
        Its arrays: pose_world and gt_world (F, 17, 3) mm, image_ids (F, V), joint_names, ...

    Raises:
        InputError: missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run/pose3d/estimate.py writes it") from None
    except Exception as error:  # a damaged archive raises nearly anything
        raise InputError(f"{path}: not a file of 3D poses, or cut off ({error})") from None


def spread_frames(num_frames: int, count: int) -> list[int]:
    """Choose frames evenly over the data set."""
    return sorted({int(frame) for frame in np.linspace(0, num_frames - 1, min(count, num_frames))})


def make_contact_sheet(config: Any, root: Path, run_directory: Path, frames: Sequence[int], path: Path) -> None:
    """Draw some frames of the validation set with the run's predictions.

    Args:
        config: the configuration.
        root: DATA_DIR/DATASET.ROOT.
        run_directory: holds the predicted heatmaps and poses3d.npz.
        frames: indices of groups.
        path: the PNG.

    Raises:
        InputError: results are missing or belong to other images, or a frame does not exist.
    """
    poses = load_poses(run_directory / "poses3d.npz")
    annotations = load_h36m(root, config.DATASET.TEST_SUBSET, config.DATASET.CROP)
    groups = group_views(annotations, config.DATASET.INCOMPLETE_GROUPS)[:: config.DATASET.TEST_STEP]
    image_ids = annotations.image[groups].astype(str)
    if poses["image_ids"].shape != image_ids.shape or (poses["image_ids"] != image_ids).any():
        raise InputError(f"{run_directory / 'poses3d.npz'}: made for other images; run run/pose3d/estimate.py again")
    wrong = [frame for frame in frames if not 0 <= frame < len(groups)]
    if wrong:
        raise InputError(f"--frames: {wrong[0]} does not exist; the data set has frames 0 to {len(groups) - 1}")
    rows = []
    with PredictionFile(run_directory / config.TEST.HEATMAP_LOCATION_FILE) as predictions:
        predictions.check_matches(image_ids.ravel().tolist(), H36M_17.names)
        for frame in frames:
            num_views = groups.shape[1]
            heatmaps, _ = predictions.read(frame * num_views, (frame + 1) * num_views)
            error = np.linalg.norm(poses["pose_world"][frame] - poses["gt_world"][frame], axis=-1).mean()
            rows.append(
                SheetFrame(
                    title=f"frame {frame}\n{error:.0f} mm",
                    crops=np.stack([_crop(annotations, row, config) for row in groups[frame]]),
                    heatmaps=heatmaps,
                    joints_crop=_joints_crop(heatmaps, config.NETWORK.IMAGE_SIZE),
                    pose_world=poses["pose_world"][frame],
                    truth_world=poses["gt_world"][frame],
                )
            )
    skeleton = Skeleton.from_names(H36M_17.names, H36M_BODY.edges, H36M_17.flip_pairs)
    save_contact_sheet(path, rows, skeleton, skeleton)


def _crop(annotations: Any, row: int, config: Any) -> np.ndarray:
    image = read_image(annotations.images_dir, annotations.image_name(row), config.DATASET.DATA_FORMAT)
    matrix = get_affine_transform(annotations.center[row], annotations.scale[row], 0.0, config.NETWORK.IMAGE_SIZE)
    return crop_image(image, matrix, config.NETWORK.IMAGE_SIZE)


def _joints_crop(heatmaps: np.ndarray, image_wh: Sequence[int]) -> np.ndarray:
    """(V, J, H, W) heatmaps -> (V, J, 2) peaks, network input px."""
    stride = np.asarray(image_wh) / np.asarray(heatmaps.shape[:-3:-1])
    return get_max_preds(heatmaps)[0] * stride
