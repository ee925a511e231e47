"""Interactive page of a run's 3D poses: report.html."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lib.core.drawing import read_crops, skeleton_of
from lib.core.pose3d.metrics_3d import joint_errors
from lib.core.report.figures import reproject
from lib.core.report.run_poses import RunPoses
from lib.multiviews.cameras import project
from lib.utils.files.prediction_file import PredictionFile
from lib.utils.interactive.pose_page import (
    MAX_FRAMES,
    MAX_PICTURED,
    FramePictures,
    Measure,
    PageCamera,
    PosePage,
    page_rig,
    spread,
    write_pose_page,
)
from lib.utils.transforms import transform_points

PICTURE_PX = 256  # longer side of the crops
EVEN_FRAMES = MAX_PICTURED // 2  # pictured frames, evenly spaced over the data set
WORST_FRAMES = 12  # further pictured frames, those with the largest errors
SINGLE_VIEW_FRAMES = 24  # frames for which the network runs again

# Frame indices -> (f, V, J, H, W) single-view heatmaps in the joint order of the predictions.
SingleView = Callable[[Sequence[int]], np.ndarray]


def write_run_page(
    path: Path,
    run: RunPoses,
    method: str,
    report: str,
    frames: Sequence[int] = (),
    single_view: SingleView | None = None,
) -> int:
    """Write the page of a run.

    The frames with pictures are evenly spaced ones, those with the largest errors, and `frames`.

    Args:
        path: the HTML file.
        run: the poses.
        method: name of the method, for the heading.
        report: Markdown of the report.
        frames: frames that get pictures in any case.
        single_view: predicts heatmaps before fusion; None = unknown.

    Returns:
        Number of frames with pictures.

    Raises:
        InputError: predictions or images are missing, or the disk is full.
    """
    measures = _measures(run)
    order = np.argsort(np.nan_to_num(-run.frame_errors(), nan=-np.inf))
    worst = order[:WORST_FRAMES].tolist()
    always = [*frames, *worst, *(measure.worst() for measure in measures)]
    shown = spread(len(run), MAX_FRAMES, always)
    pictured = spread(len(run), EVEN_FRAMES, always)
    pictured = [frame for frame in pictured if frame in set(shown)]
    rigs, rig = _rigs(run, shown)
    width, height = run.crop_wh
    picture_wh = tuple(round(side * PICTURE_PX / max(width, height)) for side in (width, height))
    num_views = run.frames.groups.shape[1]
    page = PosePage(
        title=f"3D results: {method}",
        facts=[f"{num_views} views", f"{len(run)} frames", f"poses in {run.path.name}"],
        skeleton=skeleton_of(run.frames.joint_set),
        pose_world=run.pose_world[shown],
        gt_world=run.gt_world[shown],
        labels=[run.title(frame).rsplit(", error", 1)[0] for frame in shown],
        rigs=rigs,
        rig=rig,
        measures=[measure.of_frames(shown) for measure in measures],
        report=report,
        picture_wh=[picture_wh] * num_views,
    )
    single = {}
    if single_view is not None:
        chosen = sorted({*worst, *spread(len(run), SINGLE_VIEW_FRAMES - len(worst))} & set(pictured))
        single = dict(zip(chosen, single_view(chosen), strict=True))
    with PredictionFile(run.predictions_path) as predictions:
        predictions.check_matches(run.frames.image_ids.ravel().tolist(), run.frames.joint_names)
        pictures = (_pictures(run, frame, shown.index(frame), picture_wh, predictions, single) for frame in pictured)
        return write_pose_page(path, page, pictures, [shown.index(frame) for frame in always])


def _measures(run: RunPoses) -> list[Measure]:
    """Return the error and, if the file has it, the views that support the pose."""
    errors = joint_errors(run.pose_world, run.gt_world)
    per_frame = run.frame_errors()
    known = per_frame[np.isfinite(per_frame)]
    bad = float(np.percentile(known, 98)) if known.size else 1.0
    measures = [Measure("error", "mm", per_frame, 0, bad, "distance from the ground truth, mean over joints", errors)]
    if run.num_views_agree is not None:
        num_views = run.frames.groups.shape[1]
        views = run.num_views_agree.astype(float)
        note = "views whose heatmap supports the joint, mean over joints"
        bad = min(2, num_views - 1)
        measures.append(Measure("supporting views", "", views.mean(1), num_views, bad, note, views))
    return measures


def _rigs(run: RunPoses, shown: Sequence[int]) -> tuple[list[list[PageCamera]], np.ndarray]:
    """Return the different sets of cameras, and the index of the set (F,) of each frame."""
    cameras = run.frames.cameras[list(shown)]
    arrays = (cameras.R, cameras.T, cameras.f, cameras.c)
    flat = np.concatenate([values.reshape(len(shown), -1) for values in arrays], 1)
    _, first, rig = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    names = [f"view {view + 1}" for view in range(cameras.T.shape[1])]
    # The annotation has no image sizes: the principal point is taken for the middle.
    return [page_rig(names, cameras[index], 2 * cameras.c[index]) for index in first], rig.reshape(-1)


def _pictures(
    run: RunPoses,
    frame: int,
    index: int,
    picture_wh: tuple[int, int],
    predictions: PredictionFile,
    single_view: Mapping[int, np.ndarray],
) -> FramePictures:
    """Return the crops of a frame, which has number `index` on the page, with joints and heatmaps."""
    frames = run.frames
    num_views = frames.groups.shape[1]
    order = frames.joint_order
    images, to_picture = read_crops(frames.annotations, frames.groups[frame], picture_wh, run.data_format)
    heatmaps, locations = predictions.read(frame * num_views, (frame + 1) * num_views)
    peaks = locations[:, order, :2].astype(np.float64)
    gt_img, _ = project(run.gt_world[frame][None], frames.cameras[frame])
    error = np.linalg.norm(peaks - gt_img, axis=-1).mean(-1)
    kinds = {"single-view": single_view[frame][:, order]} if frame in single_view else {}
    stride = np.array(picture_wh) / heatmaps.shape[:1:-1]
    return FramePictures(
        frame=index,
        images=images,
        joints=reproject(run.pose_world[frame], frames.cameras[frame], to_picture),
        notes=[f"peaks off by {value:.1f} px" for value in error],
        gt_joints=reproject(run.gt_world[frame], frames.cameras[frame], to_picture),
        detections=transform_points(peaks, to_picture),
        kept=np.ones(peaks.shape[:2], bool),
        heatmaps={**kinds, _kind(predictions): heatmaps[:, order]},
        heatmap_to_picture=np.broadcast_to([[stride[0], 0, 0], [0, stride[1], 0]], (num_views, 2, 3)),
    )


def _kind(predictions: PredictionFile) -> str:
    """Return what the heatmaps of a file are."""
    fusion = predictions.attributes.get("fusion")
    return {None: "predicted", "none": "single-view"}.get(fusion, "fused")
