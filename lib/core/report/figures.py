"""Pictures of a run's 3D poses: contact sheet, single frames, animations, charts of the errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.core.drawing import read_crops, read_view, skeleton_of
from lib.core.pose3d.metrics_3d import METRICS, joint_errors
from lib.core.report.comparison import Row
from lib.core.report.run_poses import RunPoses
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project
from lib.utils.drawing.animation import save_animation
from lib.utils.drawing.contact_sheet import SheetFrame, save_contact_sheet
from lib.utils.drawing.error_charts import save_error_bars, save_error_histogram
from lib.utils.drawing.orbit_camera import OrbitCamera
from lib.utils.drawing.posed_frame import PosedFrame, draw_frames, save_pose_figure
from lib.utils.files.prediction_file import PredictionFile
from lib.utils.transforms import transform_points

VIEW_PX = 512  # crops and, on their longer side, whole images in pictures
CELL_PX = 256  # a view in an animation; the person is small in whole images
WHOLE_CELL_PX = 384
START_DEG = 30.0  # first direction of a turntable


def make_contact_sheet(config: Any, run: RunPoses, frames: Sequence[int], path: Path) -> None:
    """Draw frames with heatmaps and 2D joints as predicted, and the 3D pose from two sides.

    Args:
        config: the configuration.
        run: the poses; the run directory holds the predicted heatmaps.
        frames: indices of groups.
        path: the PNG.

    Raises:
        InputError: predictions are missing or belong to other images, an image is missing, or the disk refuses.
    """
    num_views = run.frames.groups.shape[1]
    image_wh = config.NETWORK.IMAGE_SIZE
    errors = run.frame_errors()
    rows = []
    with PredictionFile(run.directory / config.TEST.HEATMAP_LOCATION_FILE) as predictions:
        predictions.check_matches(run.frames.image_ids.ravel().tolist(), run.frames.joint_set.names)
        for frame in frames:
            heatmaps, locations = predictions.read(frame * num_views, (frame + 1) * num_views)
            crops, to_crop = _crops(config, run, frame, image_wh)
            rows.append(
                SheetFrame(
                    title=f"frame {frame}\n{errors[frame]:.0f} mm",
                    crops=np.stack(crops),
                    heatmaps=heatmaps,
                    joints_crop=transform_points(locations[..., :2].astype(np.float64), to_crop),
                    pose_world=run.pose_world[frame],
                    gt_world=run.gt_world[frame],
                )
            )
    skeleton = skeleton_of(run.frames.annotations.joint_set)
    save_contact_sheet(path, rows, skeleton, skeleton)


def make_pose_figure(config: Any, run: RunPoses, frame: int, path: Path, whole_images: bool = False) -> None:
    """Draw one frame: views with the projected 3D pose and the true one, and the pose from two sides.

    Args:
        config: the configuration.
        run: the poses.
        frame: index of the group.
        path: the PNG.
        whole_images: whole images instead of the boxes around the person.

    Raises:
        InputError: an image is missing, or the disk refuses.
    """
    save_pose_figure(path, posed_frame(config, run, frame, whole_images), skeleton_of(run.frames.annotations.joint_set))


def make_animation(
    config: Any,
    run: RunPoses,
    frames: Sequence[int],
    path: Path,
    frames_per_second: float = 10.0,
    turn_deg: float = 20.0,
    whole_images: bool = False,
) -> None:
    """Animate frames: views with the projected 3D pose and the true one, and the pose on a turntable.

    Args:
        config: the configuration.
        run: the poses.
        frames: indices of groups, in the order of time.
        path: .mp4 or .gif.
        frames_per_second: speed.
        turn_deg: degrees per second by which the turntable's camera goes round; 0 = it stands still.
        whole_images: whole images instead of the boxes around the person.

    Raises:
        InputError: an image is missing, unknown suffix, no codec, or the disk refuses.
    """
    bar = tqdm(frames, desc=path.name, unit="frame", disable=None, leave=False)
    posed = (posed_frame(config, run, frame, whole_images) for frame in bar)
    azimuths = START_DEG + turn_deg / frames_per_second * np.arange(len(frames))
    camera = OrbitCamera.around(run.gt_world[list(frames)])
    cell_px = WHOLE_CELL_PX if whole_images else CELL_PX
    pictures = draw_frames(posed, skeleton_of(run.frames.annotations.joint_set), camera, azimuths, cell_px)
    save_animation(path, pictures, frames_per_second)


def make_error_charts(run: RunPoses, results: dict[str, Any], title: str, directory: Path) -> list[str]:
    """Draw the distribution of the errors and their means per joint and per action.

    Args:
        run: the poses.
        results: of these poses, from summarize().
        title: above each chart.
        directory: receives the PNGs.

    Returns:
        The names of the files.
    """
    names = ["error_histogram.png", "error_per_joint.png", "error_per_action.png"]
    save_error_histogram(directory / names[0], joint_errors(run.pose_world, run.gt_world), title)
    means = {label: results["mpjpe"][metric]["frames"] for metric, label in METRICS.items()}
    for name, group in zip(names[1:], ("per_joint", "per_action"), strict=True):
        entries = results[group]
        series = {label: [entry[metric] for entry in entries.values()] for metric, label in METRICS.items()}
        save_error_bars(directory / name, list(entries), series, means, title)
    return names


def make_comparison_charts(rows: Sequence[Row], directory: Path) -> list[str]:
    """Draw the means per joint and per action of several methods or runs side by side.

    Args:
        rows: of load_rows().
        directory: receives the PNGs.

    Returns:
        The names of the files.
    """
    names = ["comparison_per_joint.png", "comparison_per_action.png"]
    means = {row.label: row.results["mpjpe"]["absolute"]["frames"] for row in rows}
    for name, group in zip(names, ("per_joint", "per_action"), strict=True):
        entries = list(dict.fromkeys(entry for row in rows for entry in row.results[group]))
        series = {row.label: [row.results[group].get(entry, {}).get("absolute") for entry in entries] for row in rows}
        save_error_bars(directory / name, entries, series, means, "MPJPE without alignment")
    return names


def posed_frame(config: Any, run: RunPoses, frame: int, whole_images: bool) -> PosedFrame:
    """Read the views of a frame and project the predicted and the true pose into them.

    Args:
        config: the configuration.
        run: the poses.
        frame: index of the group.
        whole_images: whole images instead of the boxes around the person.

    Raises:
        InputError: an image is missing.
    """
    cameras = run.frames.cameras[frame]
    if whole_images:
        pictures, to_picture = _whole_images(config, run, frame)
    else:
        pictures, to_picture = _crops(config, run, frame, (VIEW_PX, VIEW_PX))
    return PosedFrame(
        title=run.title(frame),
        images=pictures,
        joints=_reproject(run.pose_world[frame], cameras, to_picture),
        pose_world=run.pose_world[frame],
        gt_joints=_reproject(run.gt_world[frame], cameras, to_picture),
        gt_world=run.gt_world[frame],
    )


def _crops(config: Any, run: RunPoses, frame: int, crop_wh: Sequence[int]) -> tuple[list[np.ndarray], np.ndarray]:
    """The boxes of a frame, and the matrices (V, 2, 3) from image px to theirs."""
    return read_crops(run.frames.annotations, run.frames.groups[frame], crop_wh, config.DATASET.DATA_FORMAT)


def _whole_images(config: Any, run: RunPoses, frame: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Images of a frame, no larger than VIEW_PX, and the matrices (V, 2, 3) from image px to theirs."""
    pictures, matrices = [], []
    for row in run.frames.groups[frame]:
        image = read_view(run.frames.annotations, row, config.DATASET.DATA_FORMAT)
        height, width = image.shape[:2]
        size = [max(1, round(side * min(1.0, VIEW_PX / max(height, width)))) for side in (width, height)]
        pictures.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        x, y = size[0] / width, size[1] / height
        matrices.append([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])  # resize keeps the corners of pixels, not centres
    return pictures, np.array(matrices)


def _reproject(pose_world: np.ndarray, cameras: Cameras, to_picture: np.ndarray) -> np.ndarray:
    """Joints (K, 3) mm -> (V, K, 2) px of the pictures; NaN behind the camera."""
    joints_img, depth = project(pose_world[None], cameras)
    joints = transform_points(joints_img, to_picture)
    return np.where((depth > MIN_DEPTH_MM)[..., None], joints, np.nan)
