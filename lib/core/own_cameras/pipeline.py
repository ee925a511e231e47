"""From an own recording to 3D poses on disk: what run/demo/multiview.py does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.own_cameras.fit_tables import (
    capture_tables,
    error_summary,
    pose_statistics,
    pose_tables,
    require_poses,
    rig_tables,
    warn,
)
from lib.core.own_cameras.person_prior import person_prior
from lib.core.own_cameras.recording import Capture
from lib.core.own_cameras.recording_figures import save_label_sheet, save_video
from lib.core.pose3d.frames import FrameBatch
from lib.core.pose3d.make_prior import pictorial_settings
from lib.core.pose3d.methods import METHODS, make_context, run_method
from lib.multiviews.pictorial.backend_numpy import NumpyBackend
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.recording.robust_poses import RobustPoses, RobustSettings, leave_one_out
from lib.utils.errors import InputError, unknown_name
from lib.utils.files.atomic import atomic_path, make_directory, write_bytes, write_csv
from lib.utils.files.json_file import write_json
from lib.utils.joints import H36M_17
from lib.utils.tables import markdown_table
from lib.utils.transforms import image_to_heatmap_affine

logger = logging.getLogger(__name__)

AGREEMENT = "agreement"  # the poses of lib/multiviews/recording/robust_poses.py, which need no heatmaps
POSES = "poses3d.npz"
TABLE = "poses3d.csv"
VIDEO = "poses.mp4"
SHEET = "frames.jpg"
REPORT = "report.md"
RESULTS = "results.json"


@dataclass(frozen=True)
class EstimateSettings:
    """What to do.

    Attributes:
        method: AGREEMENT or, with a network, one of METHODS in lib/core/pose3d/methods.py.
        robust: what counts as agreement.
        leave_one_out: also predict each view from the others.
        video: write the video.
    """

    method: str = AGREEMENT
    robust: RobustSettings = field(default_factory=RobustSettings)
    leave_one_out: bool = False
    video: bool = True

    def check(self, num_views: int) -> None:
        """Raise an InputError for what cannot be done with that many views, before any work is done."""
        if self.leave_one_out and num_views < 3:
            raise InputError(f"--leave-one-out needs 3 views, received {num_views}")


def poses_by_method(
    capture: Capture, prediction: Any, config: Any, method: str, poses: RobustPoses, prior: LimbPrior | None = None
) -> RobustPoses:
    """Put the poses of a 3D method in place of those of the agreement.

    Args:
        capture: the recording, with the network's joints.
        prediction: of predict().
        config: of the network.
        method: one of METHODS.
        poses: of the agreement of the network's joints.
        prior: limb lengths; None = the person's own, measured on `poses`.

    Returns:
        The poses of the method and their reprojection errors; what was kept stays that of the agreement.

    Raises:
        InputError: unknown method, or no prior can be made.
    """
    if method not in METHODS:
        raise unknown_name("method", method, [AGREEMENT, *METHODS], "--method")
    if METHODS[method].needs_prior and prior is None:
        prior = person_prior(poses, pictorial_settings(config.PICT_STRUCT).first_grid)
    batch = FrameBatch(
        heatmaps=prediction.heatmaps,
        locations=prediction.locations,
        cameras=capture.cameras,
        image_to_heatmap=image_to_heatmap_affine(
            prediction.center, prediction.scale, config.NETWORK.IMAGE_SIZE, config.NETWORK.HEATMAP_SIZE
        ),
        center=prediction.center,
        subject=np.zeros(len(capture), int),
    )
    found = run_method(METHODS[method], [batch], make_context(config, batch.body, prior, NumpyBackend()))
    return poses.with_pose(found.pose_world, capture.cameras)


def estimate(
    capture: Capture, out: Path, settings: EstimateSettings, poses: RobustPoses | None = None
) -> dict[str, Any]:
    """Write poses, tables and pictures of a recording.

    Args:
        capture: with detections, or the network's joints.
        out: folder that receives poses3d.npz and .csv, results.json, report.md and, with videos, poses.mp4 and
            frames.jpg; such files of a former call are replaced or removed.
        settings: what to do.
        poses: made by a method; None = those on which the detections agree.

    Returns:
        The content of results.json.

    Raises:
        InputError: the disk refuses, the detections do not suffice, or the views agree on nothing.
    """
    settings.check(len(capture.rig))
    make_directory(out)
    poses = capture.poses(settings.robust) if poses is None else poses
    names = capture.rig.names
    check = capture.check()
    require_poses(poses, check, capture.rig)
    save_poses(out, capture, poses)
    statistics = pose_statistics(poses, capture)
    warnings = warn(statistics, check, names)
    results = {
        "method": settings.method,
        "views": names,
        "rate": capture.rate,
        "frames": {
            "numbered_as": names[capture.reference],
            "first": capture.frame_numbers[0],
            "last": capture.frame_numbers[-1],
        },
        "statistics": statistics,
        "rig": {
            "error": check.error,
            "from_others": check.from_others,
            "pairs": check.pairs,
            "off": None if check.off is None else [names[view] for view in check.off],
        },
        "late_by_frames": None if capture.offsets is None else capture.offsets.frames,
    }
    parts = [
        f"# 3D poses: {settings.method}",
        *warnings,
        capture_tables(capture),
        "## Cameras\n\n" + rig_tables(check, names),
        pose_tables(statistics),
    ]
    if settings.leave_one_out:
        results["leave_one_out_px"] = left_out_statistics(capture, poses, settings.robust)
        parts.append("## Each view predicted from the others\n\n" + left_out_table(results["leave_one_out_px"]))
    write_json(out / RESULTS, results)
    if capture.videos is not None:
        save_label_sheet(out / SHEET, capture, poses)
        parts.append(f"## Pictures\n\n![frames]({SHEET})")
        if settings.video:
            counts = [f"{round(100 * float(share))} % of the joints kept" for share in poses.agrees.mean((1, 2))]
            save_video(out / VIDEO, capture, poses.pose_world, counts)
            parts.append(f"[{VIDEO}]({VIDEO})")
    write_bytes(out / REPORT, ("\n\n".join(parts) + "\n").encode())
    return results


def left_out_statistics(capture: Capture, poses: RobustPoses, settings: RobustSettings) -> dict[str, dict[str, float]]:
    """Predict the joints of each view from the other views.

    Returns:
        View -> median, mean and p95 of the distance from the view's own detections (left and right as all views
        together settled them), px, and the share of the joints that could be compared.

    Raises:
        InputError: fewer than three views.
    """
    errors = leave_one_out(poses, capture.cameras, settings)
    table = {}
    for view, name in enumerate(capture.rig.names):
        own = errors[:, view]
        table[name] = {**error_summary(own), "compared": float(np.isfinite(own).mean())}
    return table


def left_out_table(statistics: Mapping[str, Mapping[str, float]]) -> str:
    """Format left_out_statistics()."""
    rows = [[name, one["median"], one["mean"], one["p95"], 100 * one["compared"]] for name, one in statistics.items()]
    return markdown_table(["view left out", "median (px)", "mean (px)", "95 % (px)", "joints compared (%)"], rows)


def save_poses(out: Path, capture: Capture, poses: RobustPoses) -> None:
    """Write poses3d.npz and poses3d.csv; what else a former estimate() left is of other poses and goes first."""
    for name in (VIDEO, SHEET, REPORT, RESULTS):
        (out / name).unlink(missing_ok=True)
    with atomic_path(out / POSES) as temporary:
        np.savez_compressed(
            temporary,
            pose_world=poses.pose_world,
            known=poses.known,
            num_views_agree=poses.agrees.sum(1),
            joints_img=poses.points_img,
            kept=poses.agrees,
            frame=capture.frame_numbers,
            time_s=capture.time_s,
            view_frames=capture.table,
            views=np.array(capture.rig.names),
            joint_names=np.array(H36M_17.names),
        )
    header = ["frame", "time_s", *(f"{joint}_{axis}_mm" for joint in H36M_17.names for axis in "xyz")]
    flat = poses.pose_world.reshape(len(capture), -1)
    rows = [
        [number, f"{time_s:.4f}", *("" if np.isnan(value) else f"{value:.2f}" for value in values)]
        for number, time_s, values in zip(capture.frame_numbers, capture.time_s, flat, strict=True)
    ]
    write_csv(out / TABLE, header, rows)
