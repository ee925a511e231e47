"""Interactive page of a recording's 3D poses: report.html."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from lib.core.drawing import skeleton_of
from lib.core.own_cameras.recording import Recording
from lib.core.own_cameras.recording_figures import reproject
from lib.dataset.own_cameras.videos import read_frames
from lib.multiviews.geometry.upright import upright
from lib.multiviews.recording.robust_poses import RobustPoses
from lib.utils.interactive.pose_page import (
    MAX_FRAMES,
    MAX_PICTURED,
    FramePictures,
    Measure,
    PosePage,
    page_rig,
    spread,
    write_pose_page,
)
from lib.utils.joints import H36M_17
from lib.utils.transforms import compose_affine, invert_affine, transform_points

PICTURE_PX = 360  # longer side
_WITHOUT_IMAGES = 5 * MAX_PICTURED  # frames whose joints are shown without images
_MARGIN = 0.12  # around the joints, share of their extent
_PERCENTILES = (0.5, 99.5)  # of the joints; single outliers do not enlarge the pictures


def write_recording_page(path: Path, recording: Recording, poses: RobustPoses, method: str, report: str) -> int:
    """Write the page of a recording.

    A picture shows the part of the image in which the person moves, so it has the same place in all frames. Frames with
    heatmaps and the worst ones have pictures in any case.

    Args:
        path: the HTML file.
        recording: the recording; without videos the joints are drawn on an empty ground.
        poses: its poses.
        method: name of the method, for the heading.
        report: Markdown of the report.

    Returns:
        Number of frames with pictures.

    Raises:
        InputError: a video is damaged, or the disk is full.
    """
    measures = _measures(recording, poses)
    always = [*(measure.worst() for measure in measures), *(one.frame for one in recording.heatmaps)]
    shown = spread(len(recording), MAX_FRAMES, always)
    joints_img = reproject(recording, poses.pose_world[shown])
    to_picture, picture_wh = _picture_transforms(joints_img, recording.rig.image_wh)
    turn = upright(poses.pose_world[shown])
    rig = recording.rig
    cameras = replace(rig.cameras, R=rig.cameras.R @ turn.T, T=rig.cameras.T @ turn.T)
    page = PosePage(
        title=f"3D poses, method {method}",
        facts=[f"{len(rig)} cameras", f"{len(recording)} frames", f"{recording.rate:g} frames per second"],
        skeleton=skeleton_of(H36M_17),
        pose_world=poses.pose_world[shown] @ turn.T,
        gt_world=None,
        labels=[recording.title(frame) for frame in shown],
        rigs=[page_rig(rig.names, cameras, rig.image_wh)],
        rig=np.zeros(len(shown), int),
        measures=[measure.of_frames(shown) for measure in measures],
        report=report,
        picture_wh=picture_wh,
        rate=recording.rate * len(shown) / len(recording),
    )
    count = MAX_PICTURED if recording.videos is not None else _WITHOUT_IMAGES
    pictured = sorted({int(np.searchsorted(shown, frame)) for frame in spread(len(recording), count, always)})
    pictures = _pictures(recording, poses, joints_img, shown, pictured, to_picture, picture_wh)
    return write_pose_page(path, page, pictures, [shown.index(frame) for frame in always])


def _measures(recording: Recording, poses: RobustPoses) -> list[Measure]:
    """Return the views that support the pose, and the reprojection error of the kept joints."""
    num_views = len(recording.rig)
    views = poses.agrees.sum(1).astype(float)  # (F, J)
    error = np.where(poses.agrees, poses.error, np.nan)
    per_joint = _mean(error, 1)
    per_frame = _mean(error, (1, 2))
    known = per_frame[np.isfinite(per_frame)]
    return [
        Measure(
            "supporting views",
            "",
            views.mean(1),
            num_views,
            min(2, num_views - 1),
            "views whose detection agrees with the pose, mean over joints",
            views,
        ),
        Measure(
            "reprojection error",
            "px",
            per_frame,
            0,
            float(np.percentile(known, 98)) if known.size else 1.0,
            "distance of kept detections from the projected pose, mean over views and joints",
            per_joint,
        ),
    ]


def _mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Return the mean of the finite values along axes; NaN without any."""
    known = np.isfinite(values)
    count = known.sum(axis)
    return np.where(count > 0, np.where(known, values, 0).sum(axis) / count.clip(1), np.nan)


def _picture_transforms(joints_img: np.ndarray, image_wh: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return the maps (V, 2, 3) image px -> picture px, and the V sizes of the pictures.

    Args:
        joints_img: (F, V, 17, 2) projected joints, px.
        image_wh: (V, 2) px.
    """
    boxes = np.array([_box(joints_img[:, view], wh) for view, wh in enumerate(np.asarray(image_wh, float))])
    extent = boxes[:, 1] - boxes[:, 0]
    aspect = float(np.median(extent[:, 0] / extent[:, 1]))  # the pictures get one shape, as far as the images allow
    matrices = []
    sizes = []
    for box, whole in zip(boxes, np.asarray(image_wh, float), strict=True):
        side = np.maximum(box[1] - box[0], (box[1] - box[0])[::-1] * (aspect, 1 / aspect))
        side = np.minimum(side, whole).round()
        low = np.clip(box.mean(0) - side / 2, 0, whole - side).round()
        wh = np.maximum(1, (side * min(1.0, PICTURE_PX / float(side.max()))).round()).astype(int)
        factor = wh / side
        shift = (0.5 - low) * factor - 0.5  # corners map to corners
        matrices.append([[factor[0], 0, shift[0]], [0, factor[1], shift[1]]])
        sizes.append((int(wh[0]), int(wh[1])))
    return np.array(matrices), sizes


def _box(joints_img: np.ndarray, image_wh: np.ndarray) -> np.ndarray:
    """Return the box (2, 2), low and high corner, around joints (F, 17, 2) px; the whole image without joints."""
    joints = joints_img[np.isfinite(joints_img).all(-1)]
    if not len(joints):
        return np.array([np.zeros(2), image_wh])
    low, high = np.percentile(joints, _PERCENTILES, axis=0)
    margin = _MARGIN * float((high - low).max())
    low = np.clip(low - margin, 0, image_wh - 1)
    return np.array([low, np.clip(high + margin, low + 1, image_wh)])


def _pictures(
    recording: Recording,
    poses: RobustPoses,
    joints_img: np.ndarray,
    shown: Sequence[int],
    pictured: Sequence[int],
    to_picture: np.ndarray,
    picture_wh: Sequence[tuple[int, int]],
) -> Iterator[FramePictures]:
    """Yield the pictures of frames.

    `pictured` are indices into `shown`, whose entries are frames of the recording, and into `joints_img`.
    """
    frames = [shown[index] for index in pictured]
    heatmaps = {one.frame: one for one in recording.heatmaps}
    images_of_frames = (
        (None for _ in frames) if recording.videos is None else read_frames(recording.videos, recording.table[frames])
    )
    for index, frame, images in zip(pictured, frames, images_of_frames, strict=True):
        kept = poses.agrees[frame]
        error = _mean(np.where(kept, poses.error[frame], np.nan), 1)
        maps = heatmaps.get(frame)
        yield FramePictures(
            frame=index,
            images=None if images is None else list(map(_picture, images, to_picture, picture_wh)),
            joints=transform_points(joints_img[index], to_picture),
            notes=[
                f"{kept[view].sum()}/{kept.shape[1]} kept"
                + (f", {error[view]:.1f} px" if np.isfinite(error[view]) else "")
                for view in range(len(kept))
            ],
            detections=transform_points(poses.points_img[frame], to_picture),
            kept=kept,
            heatmaps={} if maps is None else maps.kinds,
            heatmap_to_picture=None
            if maps is None
            else compose_affine(to_picture, invert_affine(maps.image_to_heatmap)),
        )


def _picture(image: np.ndarray, matrix: np.ndarray, picture_wh: tuple[int, int]) -> np.ndarray:
    """Cut a part out of an image and reduce it; `matrix` has no rotation."""
    factor = matrix[[0, 1], [0, 1]]
    low = (0.5 - (matrix[:, 2] + 0.5) / factor).round().astype(int)
    high = (low + np.array(picture_wh) / factor).round().astype(int)
    return cv2.resize(image[low[1] : high[1], low[0] : high[0]], picture_wh, interpolation=cv2.INTER_AREA)
