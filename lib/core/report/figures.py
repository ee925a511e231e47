"""Figures of a run's 3D poses: contact sheet, single frames, animations, error charts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.core.drawing import read_crops, read_view, skeleton_of
from lib.core.pose3d.metrics_3d import METRICS, joint_errors
from lib.core.report.comparison import MethodResults
from lib.core.report.run_poses import RunPoses
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project
from lib.utils.drawing.animation import save_animation
from lib.utils.drawing.contact_sheet import SheetFrame, save_contact_sheet
from lib.utils.drawing.error_charts import save_error_bars, save_error_histogram
from lib.utils.drawing.orbit_camera import OrbitCamera
from lib.utils.drawing.posed_frame import PosedFrame, draw_frames, save_pose_figure
from lib.utils.files.prediction_file import PredictionFile
from lib.utils.transforms import transform_points

VIEW_PX = 512  # side of crops, and longer side of whole images
CELL_PX = 256  # side of a view in an animation
WHOLE_CELL_PX = 384  # the same for whole images, in which the person is small
START_DEG = 30.0  # first azimuth of the orbiting camera


def make_contact_sheet(run: RunPoses, frames: Sequence[int], path: Path) -> None:
    """Draw frames with their heatmaps, the predicted 2D joints and the 3D pose from two sides.

    Args:
        run: the poses.
        frames: indices.
        path: the PNG.

    Raises:
        InputError: predictions are missing or belong to other images, an image is missing, or writing fails.
    """
    num_views = run.frames.groups.shape[1]
    rows = []
    with PredictionFile(run.predictions_path) as predictions:
        predictions.check_matches(run.frames.image_ids.ravel().tolist(), run.frames.joint_set.names)
        for frame in frames:
            heatmaps, locations = predictions.read(frame * num_views, (frame + 1) * num_views)
            crops, to_crop = _read_crops(run, frame, run.crop_wh)
            rows.append(
                SheetFrame(
                    title=f"frame {frame}",
                    crops=np.stack(crops),
                    heatmaps=heatmaps,
                    joints_crop=transform_points(locations[..., :2].astype(np.float64), to_crop),
                    pose_world=run.pose_world[frame],
                    gt_world=run.gt_world[frame],
                )
            )
    skeleton = skeleton_of(run.frames.joint_set)
    save_contact_sheet(path, rows, skeleton, skeleton)


def make_pose_figure(run: RunPoses, frame: int, path: Path, whole_images: bool = False) -> None:
    """Draw a frame: crops or whole images with predicted and ground truth pose, and the pose from two sides."""
    save_pose_figure(path, posed_frame(run, frame, whole_images), skeleton_of(run.frames.joint_set))


def make_animation(
    run: RunPoses,
    frames: Sequence[int],
    path: Path,
    frames_per_second: float = 10.0,
    turn_deg: float = 20.0,
    whole_images: bool = False,
) -> None:
    """Animate frames: the views with predicted and ground truth pose, and the pose seen by an orbiting camera.

    Args:
        run: the poses.
        frames: indices, ordered by time.
        path: .mp4 or .gif.
        frames_per_second: speed.
        turn_deg: speed of the orbiting camera, degrees per second; 0 = fixed camera.
        whole_images: show whole images instead of crops.

    Raises:
        InputError: an image is missing, unknown suffix, no codec, or writing fails.
    """
    bar = tqdm(frames, desc=path.name, unit="frame", disable=None, leave=False)
    posed = (posed_frame(run, frame, whole_images) for frame in bar)
    azimuths = START_DEG + turn_deg / frames_per_second * np.arange(len(frames))
    camera = OrbitCamera.around(run.gt_world[list(frames)])
    cell_px = WHOLE_CELL_PX if whole_images else CELL_PX
    images = draw_frames(posed, skeleton_of(run.frames.joint_set), camera, azimuths, cell_px)
    save_animation(path, images, frames_per_second)


def make_error_charts(run: RunPoses, results: dict[str, Any], title: str, directory: Path) -> list[str]:
    """Draw the distribution of the errors and their means per joint and action; return the names of the PNGs.

    Args:
        run: the poses.
        results: results of summarize() for these poses.
        title: title of the charts.
        directory: receives the PNGs.
    """
    names = ["error_histogram.png", "error_per_joint.png", "error_per_action.png"]
    labeled = np.isfinite(run.gt_world).all(-1)
    save_error_histogram(directory / names[0], joint_errors(run.pose_world, run.gt_world)[labeled], title)
    means = {label: results["mpjpe"][metric]["frames"] for metric, label in METRICS.items()}
    for name, group in zip(names[1:], ("per_joint", "per_action"), strict=True):
        entries = results[group]
        series = {label: [entry[metric] for entry in entries.values()] for metric, label in METRICS.items()}
        save_error_bars(directory / name, list(entries), series, means, title)
    return names


def make_comparison_charts(compared: Sequence[MethodResults], directory: Path) -> list[str]:
    """Draw the means of several methods or runs, per joint and per action, and return the names of the PNGs."""
    names = ["comparison_per_joint.png", "comparison_per_action.png"]
    means = {one.label: one.results["mpjpe"]["absolute"]["frames"] for one in compared}
    for name, group in zip(names, ("per_joint", "per_action"), strict=True):
        entries = list(dict.fromkeys(entry for one in compared for entry in one.results[group]))
        series = {}
        for one in compared:
            series[one.label] = [one.results[group].get(entry, {}).get("absolute") for entry in entries]
        save_error_bars(directory / name, entries, series, means, "MPJPE without alignment")
    return names


def posed_frame(run: RunPoses, frame: int, whole_images: bool) -> PosedFrame:
    """Read crops or whole images of a frame, and project the predicted and the ground truth pose into them."""
    cameras = run.frames.cameras[frame]
    images, to_image = _read_whole_images(run, frame) if whole_images else _read_crops(run, frame, (VIEW_PX, VIEW_PX))
    return PosedFrame(
        title=run.title(frame),
        images=images,
        joints=reproject(run.pose_world[frame], cameras, to_image),
        pose_world=run.pose_world[frame],
        gt_joints=reproject(run.gt_world[frame], cameras, to_image),
        gt_world=run.gt_world[frame],
    )


def _read_crops(run: RunPoses, frame: int, crop_wh: Sequence[int]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the crops of a frame, and (V, 2, 3) the matrices image px -> crop px."""
    return read_crops(run.frames.annotations, run.frames.groups[frame], crop_wh, run.data_format)


def _read_whole_images(run: RunPoses, frame: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the images of a frame, reduced to VIEW_PX, and (V, 2, 3) the matrices image px -> reduced px."""
    images = []
    matrices = []
    for row in run.frames.groups[frame]:
        image = read_view(run.frames.annotations, row, run.data_format)
        height, width = image.shape[:2]
        size = [max(1, round(side * min(1.0, VIEW_PX / max(height, width)))) for side in (width, height)]
        images.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        x = size[0] / width
        y = size[1] / height
        matrices.append([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])  # resize aligns pixel corners, not pixel centers
    return images, np.array(matrices)


def reproject(pose_world: np.ndarray, cameras: Cameras, to_image: np.ndarray) -> np.ndarray:
    """Project joints (K, 3) mm to (V, K, 2) px of the shown images; NaN behind the camera."""
    joints_img, depth = project(pose_world[None], cameras)
    joints = transform_points(joints_img, to_image)
    return np.where((depth > MIN_DEPTH_MM)[..., None], joints, np.nan)
