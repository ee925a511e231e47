"""Files of a recording's 3D poses: arrays, CSV, results.json, reports, video and label sheet."""

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.data_check.findings import NOTE
from lib.core.export.export_poses import remove_exports
from lib.core.own_cameras.recording import Recording
from lib.core.own_cameras.recording_figures import save_label_sheet, save_video
from lib.core.own_cameras.recording_motion import check_recording_motion
from lib.core.own_cameras.recording_poses import check_cameras
from lib.core.own_cameras.recording_tables import error_summary, pose_statistics, report_parts
from lib.core.pose3d.results_3d import write_poses
from lib.core.report.recording_page import write_recording_page
from lib.core.rig_refinement.rig_hint import hint_parts, rig_hint
from lib.multiviews.keypoints.peak_rays import frame_blocks
from lib.multiviews.recording.robust_poses import SOURCES, RobustPoses
from lib.utils.files.atomic import write_bytes, write_csv
from lib.utils.files.json_file import write_json
from lib.utils.joints import H36M_17
from lib.utils.tables import markdown_table

logger = logging.getLogger(__name__)

POSES = "poses3d.npz"
TABLE = "poses3d.csv"
VIDEO = "poses.mp4"
SHEET = "frames.jpg"
REPORT = "report.md"
PAGE = "report.html"
RESULTS = "results.json"
_BLOCK = 500  # rows of the table that are formatted at once; limits memory


def save_recording_poses(out: Path, recording: Recording, poses: RobustPoses) -> None:
    """Write poses3d.npz and poses3d.csv, and remove the other files of earlier poses in the folder.

    poses3d.npz has the keys of write_poses(), and known, sd_mm, covariance, source, source_names, joints_img
    (detections after swaps), kept (inliers), frame, time_s, view_frames (frame numbers in each video) and views.
    """
    for name in (VIDEO, SHEET, REPORT, PAGE, RESULTS):
        (out / name).unlink(missing_ok=True)
    remove_exports(out / POSES)
    write_poses(
        out / POSES,
        H36M_17.names,
        poses.pose_world,
        poses.agrees.sum(1),
        len(recording.rig),
        known=poses.known,
        sd_mm=poses.sd_mm.astype(np.float32),
        covariance=poses.covariance.astype(np.float32, copy=False),
        source=poses.source,
        source_names=np.array(SOURCES),
        joints_img=poses.points_img,
        kept=poses.agrees,
        frame=recording.frame_numbers,
        time_s=recording.time_s,
        view_frames=recording.table,
        views=np.array(recording.rig.names),
    )
    header = ["frame", "time_s", *(f"{joint}_{axis}_mm" for joint in H36M_17.names for axis in "xyz")]
    header += [f"{joint}_{column}" for column in ("sd_mm", "source") for joint in H36M_17.names]
    header.append("known")  # number of joints on which the views agree
    write_csv(out / TABLE, header, _rows(recording, poses))


def _rows(recording: Recording, poses: RobustPoses) -> Iterator[list[Any]]:
    """Yield the rows of poses3d.csv."""
    for frames in frame_blocks(len(recording), 1, _BLOCK):
        part = slice(frames.start, min(frames.stop, len(recording)))
        positions = poses.pose_world[part].reshape(part.stop - part.start, -1)
        values = np.concatenate([positions, poses.sd_mm[part]], 1).tolist()
        times, sources = recording.time_s[part].tolist(), np.array(SOURCES)[poses.source[part]].tolist()
        for number, time_s, row, origin, known in zip(
            recording.frame_numbers[part], times, values, sources, poses.known[part].sum(1), strict=True
        ):
            cells = ["" if math.isnan(value) else f"{value:.2f}" for value in row]
            yield [number, f"{time_s:.4f}", *cells, *origin, known]


def save_results(
    out: Path,
    recording: Recording,
    poses: RobustPoses,
    method: str,
    left_out_px: np.ndarray | None = None,
    video: bool = True,
) -> dict[str, Any]:
    """Write poses, tables, both reports and, with videos, the label sheet and the video of the poses.

    Args:
        out: existing folder; results of earlier poses are replaced or removed.
        recording: the recording.
        poses: its poses.
        method: name of the method, for report and results.json.
        left_out_px: (F, V, J) distances of each view's joints from the prediction by the others; None = not made.
        video: write the video.

    Returns:
        The content of results.json.

    Raises:
        InputError: a video is damaged, or the disk is full.
    """
    names, numbers = recording.rig.names, recording.frame_numbers
    save_recording_poses(out, recording, poses)
    check = check_cameras(recording)
    statistics = pose_statistics(poses, recording)
    results = {
        "method": method,
        "views": names,
        "rate": recording.rate,
        "frames": {"numbered_as": names[recording.reference], "first": numbers[0], "last": numbers[-1]},
        "statistics": statistics,
        "rig": {
            "error": check.error,
            "from_others": check.from_others,
            "pairs": check.pairs,
            "off": None if check.off is None else [names[view] for view in check.off],
        },
        "sync_offset_frames": None if recording.sync_offsets is None else recording.sync_offsets.frames,
        "sync_drift": None if recording.sync_offsets is None else recording.sync_offsets.drift,
    }
    hint = rig_hint(recording, poses)
    results["rig_hint"] = hint
    parts = [f"# 3D poses, method {method}", *hint_parts(hint), *report_parts(recording, statistics, check)]
    if left_out_px is not None:
        results["leave_one_out_px"] = left_out_statistics(recording, left_out_px)
        parts.append(left_out_table(results["leave_one_out_px"]))
    if recording.videos is not None:
        motion = check_recording_motion(recording, poses.pose_world)
        results["images_against_joints"] = [finding.text for finding in motion.findings if finding.level != NOTE]
        for text in results["images_against_joints"]:
            logger.warning("%s", text)
        parts.append(motion.markdown())
    write_json(out / RESULTS, results)
    if recording.videos is not None:
        save_label_sheet(out / SHEET, recording, poses)
        parts += ["## Images", f"![frames]({SHEET})"]
        if video:
            kept = [f"{round(100 * float(share))} % of the joints kept" for share in poses.agrees.mean((1, 2))]
            save_video(out / VIDEO, recording, poses.pose_world, kept)
            parts.append(f"[{VIDEO}]({VIDEO})")
    report = "\n\n".join(parts) + "\n"
    write_bytes(out / REPORT, report.encode())
    write_recording_page(out / PAGE, recording, poses, method, report)
    return results


def left_out_statistics(recording: Recording, errors_px: np.ndarray) -> dict[str, dict[str, float]]:
    """Summarize the distances (F, V, J) between the joints of each view and their prediction from the other views.

    Returns:
        View -> median, mean and p95 of the distances, px, and `compared`, the share of the joints that have one.
    """
    return {
        name: {**error_summary(errors_px[:, view]), "compared": float(np.isfinite(errors_px[:, view]).mean())}
        for view, name in enumerate(recording.rig.names)
    }


def left_out_table(statistics: Mapping[str, Mapping[str, float]]) -> str:
    """Format left_out_statistics() as Markdown, with a heading."""
    rows = [[name, one["median"], one["mean"], one["p95"], 100 * one["compared"]] for name, one in statistics.items()]
    table = markdown_table(["view left out", "median (px)", "mean (px)", "95 % (px)", "joints compared (%)"], rows)
    return f"## Each view predicted from the others\n\n{table}"
