"""Real people without ground truth: BlazePose's heatmaps with and without fusion, 3D methods, and time.

    python run/demo/fetch_demo.py --out data/demo
    python run/demo/fetch_demo.py --people 2 --out data/demo_two_people
    python benchmarks/bench_people.py

Two recordings of Pose2Sim show the same motion, one frame apart; in the second, a rendered woman hides the man in some
views. Two tables, over the frames from --score-from on:

- Each camera left out: its joints, predicted from the other three cameras, against its own peaks, px.
- Occlusion: distance between the man's poses with and without the woman in front, mm. Without her effect it is 0. The
  rows "hidden known" leave out the peaks that she moves, which no method knows: a bound for methods that weigh peaks.
  Two more rows divide the change: the peaks that she does not move (and nothing hidden), and the hidden ones alone.

The fusion "adaptive" has equal weights of all views; "adaptive=FILE" has the weights of a training, see
docs/own_cameras.md. Score such weights on frames that they were not trained on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from lib.core.build_model import build_fusion, build_model
from lib.core.config_io import load_config
from lib.core.evaluation2d.decode import locations_in_images
from lib.core.own_cameras.heatmap_poses import find_person, follow_person
from lib.core.own_cameras.person_tracking import PersonTracker
from lib.core.own_cameras.recording import FLIP_PAIRS, load_recording
from lib.core.own_cameras.recording_poses import person_prior
from lib.core.pose3d.frames import FrameBatch
from lib.core.pose3d.make_prior import pictorial_settings
from lib.core.pose3d.methods import METHODS, make_context, run_method
from lib.core.runtime.machine import describe_machine
from lib.dataset.own_cameras.blazepose_files import DEFAULT_CFG
from lib.models.pose_blazepose import INPUT_WH
from lib.models.weights import load_model
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras, CropCameras, project
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.multiviews.recording.robust_poses import RobustPoses, RobustSettings, robust_poses, smooth_poses
from lib.utils.tables import markdown_table

CAMERAS = ROOT / "run/demo/pose2sim_demo.toml"
CAMERAS_TWO_PEOPLE = ROOT / "run/demo/pose2sim_demo_two_people.toml"
LATER = 1  # frames by which the second recording shows the motion later
FAR_MM = 100.0
POINTS = "points"
METHOD_NAMES = ("rpsm", "rpsm+refine")
HIDDEN_MM = 15.0  # peaks that move farther count as hidden
SETTINGS = RobustSettings(weigh_confidence=True)  # as poses_from_heatmaps()


@dataclass(frozen=True)
class Followed:
    """A person followed through F frames of V views.

    Attributes:
        cameras: leading axis V.
        heatmaps: (F, V, 17, H, W), not fused.
        image_to_heatmap: (F, V, 2, 3).
        center: (F, V, 2) crop centers, image px.
        located: share of the frames in which the person is located.
    """

    cameras: Cameras
    heatmaps: np.ndarray
    image_to_heatmap: np.ndarray
    center: np.ndarray
    located: float

    def batch(self, views: Sequence[int], fusion: torch.nn.Module | None, config: Any) -> FrameBatch:
        """Return some views as input of a 3D method, with heatmaps that these views fuse."""
        rows = list(views)
        cameras = self.cameras[rows]
        matrices = self.image_to_heatmap[:, rows]
        heatmaps = self.heatmaps[:, rows]
        peaks = None
        if fusion is not None:
            peaks = stacked_peaks(heatmaps, config.TRIANGULATE.NUM_PEAKS, config.TRIANGULATE.PEAK_MODE)
            heatmaps = np.stack([_fused(*frame, cameras, fusion) for frame in zip(heatmaps, matrices, strict=True)])
        flat = heatmaps.reshape(-1, *heatmaps.shape[2:])
        locations = locations_in_images(flat, matrices.reshape(-1, 2, 3), "log_quadratic")
        return FrameBatch(
            heatmaps=heatmaps,
            locations=locations.reshape(*heatmaps.shape[:3], 3),
            cameras=cameras.map(lambda array: np.broadcast_to(array, (len(heatmaps), *array.shape))),
            image_to_heatmap=matrices,
            center=self.center[:, rows],
            single_view_peaks=peaks,
            subject=np.zeros(len(heatmaps), int),
        )


def _fused(heatmaps: np.ndarray, matrices: np.ndarray, cameras: Cameras, fusion: torch.nn.Module) -> np.ndarray:
    as_batch = [cameras.map(lambda array: torch.from_numpy(array.astype(np.float32))[None])]
    views = CropCameras(*as_batch, torch.from_numpy(matrices.astype(np.float32))[None])
    with torch.no_grad():
        return fusion(torch.from_numpy(heatmaps)[None], views)[0].numpy()


class ShiftedTracker(PersonTracker):
    """A tracker whose crops are shifted at random."""

    def __init__(self, tracker: PersonTracker, shift_px: float, seed: int) -> None:
        """
        Args:
            tracker: result of find_person().
            shift_px: largest shift along x and y, crop px.
            seed: of the shifts.
        """
        vars(self).update(vars(tracker))
        self._shift_px = shift_px
        self._rng = np.random.default_rng(seed)

    def _crops(self, center: np.ndarray, side: np.ndarray, rotation_deg: np.ndarray) -> Any:
        largest = self._shift_px * side[:, None] / INPUT_WH[0]
        return super()._crops(center + largest * self._rng.uniform(-1, 1, center.shape), side, rotation_deg)


def follow(videos: Path, cameras: Path, num_frames: int, config: Any, shift_px: float = 0, seed: int = 0) -> Followed:
    """Follow the person through the first frames of a recording; crops are shifted at random by up to shift_px."""
    recording = load_recording(cameras, videos).select_frames(0, num_frames)
    recording, tracker = find_person(recording, config)
    tracker = ShiftedTracker(tracker, shift_px, seed)
    found = list(follow_person(recording, tracker, config.TRIANGULATE))
    return Followed(
        recording.rig.cameras,
        *(np.stack([getattr(one, name) for one in found]) for name in ("heatmaps", "image_to_heatmap", "center")),
        located=float(np.mean([one.is_located for one in found])),
    )


def triangulated(batch: FrameBatch) -> RobustPoses:
    """Triangulate the peaks as multiview.py does with detections, with swaps corrected."""
    points = np.where(batch.locations[..., 2:] > 0, batch.locations, np.nan).astype(np.float64)
    return robust_poses(points, batch.cameras, H36M_BODY, FLIP_PAIRS, SETTINGS)


def estimates(batches: Sequence[FrameBatch], config: Any) -> Iterator[tuple[str, str, list[np.ndarray]]]:
    """Yield method, "frame" or "recording", and the poses (F, 17, 3) of each batch, NaN = unknown.

    With "recording", the poses are fitted over time to the peaks, as multiview.py does by default. Limb lengths are
    those of the first batch.
    """
    points = [triangulated(batch) for batch in batches]
    prior = person_prior(points[0], pictorial_settings(config.PICT_STRUCT).first_grid)
    context = make_context(config, H36M_BODY, prior, make_cpu_backend())
    for name in (POINTS, *METHOD_NAMES):
        poses = points
        if name != POINTS:
            found = [run_method(METHODS[name], [batch], context).pose_world for batch in batches]
            poses = [
                one.with_pose(pose, batch.cameras) for one, pose, batch in zip(points, found, batches, strict=True)
            ]
        yield name, "frame", [one.pose_world for one in poses]
        fitted = [
            smooth_poses(one, batch.cameras, H36M_BODY, SETTINGS) for one, batch in zip(poses, batches, strict=True)
        ]
        yield name, "recording", [one.pose_world for one in fitted]


def left_out_table(person: Followed, fusions: dict[str, Any], config: Any, first_frame: int = 0) -> str:
    """Return the errors (px) of each view's joints, predicted from the other views."""
    num_views = person.heatmaps.shape[1]
    target = triangulated(person.batch(range(num_views), None, config)).points_img  # (F, V, 17, 2)
    errors: dict[tuple[str, ...], list[np.ndarray]] = {}
    for view in range(num_views):
        others = [other for other in range(num_views) if other != view]
        for fusion_name, fusion in fusions.items():
            for method, span, (pose,) in estimates([person.batch(others, fusion, config)], config):
                points, _ = project(pose.reshape(-1, 3), person.cameras[view])
                distance = np.linalg.norm(points.reshape(len(pose), -1, 2) - target[:, view], axis=-1)
                errors.setdefault((fusion_name, method, span), []).append(distance[first_frame:])
    header = ["fusion", "method", "per", *(f"view {view + 1}" for view in range(num_views)), "all", "95 %", "compared"]
    rows = [
        [
            *key,
            *(np.nanmedian(one) for one in views),
            np.nanmedian(views),
            np.nanpercentile(views, 95),
            100 * float(np.isfinite(views).mean()),
        ]
        for key, views in errors.items()
    ]
    return markdown_table(header, rows, left_columns=3)


def divided(first: FrameBatch, second: FrameBatch) -> dict[str, FrameBatch]:
    """Return the second batch, F frames, with part of its peaks replaced by the first one's.

    A peak counts as hidden if it is more than HIDDEN_MM from the same peak of the first batch.
    """
    root = triangulated(first).pose_world[:-LATER, :1]
    rays = []
    for batch, frames in ((first, slice(None, -LATER)), (second, slice(LATER, None))):
        cameras = batch.cameras[frames]
        rays.append((batch.locations[frames, ..., :2] - cameras.c[:, :, None]) / cameras.f[:, :, None])
    depth = project(root[:, None], first.cameras[:-LATER])[1]  # (F - 1, V, 1)
    is_hidden = np.linalg.norm(rays[1] - rays[0], axis=-1) * depth > HIDDEN_MM
    cameras = second.cameras[LATER:]
    unmoved = first.locations[:-LATER].copy()
    unmoved[..., :2] = rays[0] * cameras.f[:, :, None] + cameras.c[:, :, None]

    def with_peaks(locations: np.ndarray, kept: np.ndarray) -> FrameBatch:
        changed = second.locations.copy()
        changed[LATER:] = locations
        changed[LATER:, ..., 2] *= kept
        return replace(second, locations=changed)

    seen = second.locations[LATER:]
    return {
        "points, hidden known": with_peaks(seen, ~is_hidden),
        "points, nothing hidden": with_peaks(np.where(is_hidden[..., None], unmoved, seen), np.ones_like(is_hidden)),
        "points, only hidden ones change": with_peaks(unmoved, ~is_hidden),
    }


def occlusion_table(
    alone: Followed, hidden: Followed, fusions: dict[str, Any], config: Any, first_frame: int = 0
) -> tuple[str, int]:
    """Return the change of the poses (mm) by the woman in front, and the number of pairs of frames."""
    views = range(alone.heatmaps.shape[1])
    rows = []
    for fusion_name, fusion in fusions.items():
        batches = [alone.batch(views, fusion, config), hidden.batch(views, fusion, config)]
        found = list(estimates(batches, config))
        for name, batch in divided(*batches).items():
            pose = smooth_poses(triangulated(batch), batch.cameras, H36M_BODY, SETTINGS).pose_world
            found.append((name, "recording", [found[1][2][0], pose]))
        for method, span, (first, second) in found:
            distance = np.linalg.norm(first[first_frame : len(second) - LATER] - second[first_frame + LATER :], axis=-1)
            known = np.isfinite(distance)
            summary = [np.median(distance[known]), np.percentile(distance[known], 95)]
            shares = [100 * float(part.mean()) for part in (distance > FAR_MM, ~known)]
            rows.append([fusion_name, method, span, *summary, *shares])
    header = ["fusion", "method", "per", "median", "95 %", f"above {FAR_MM:g} mm (%)", "unknown (%)"]
    return markdown_table(header, rows, left_columns=3), len(distance)


def fusion_of(name: str, checkpoint: str, config: Any, num_views: int) -> torch.nn.Module | None:
    """Return the fusion with the weights of a checkpoint; "adaptive" without one has equal weights of all views."""
    config.NETWORK.FUSION = name
    if checkpoint:
        model = build_model(config, num_views)
        load_model(model, checkpoint)
        return model.fusion.eval()
    fusion = build_fusion(config.NETWORK, num_views)
    if name == "adaptive":
        for parameter in fusion.trust[-1].parameters():
            torch.nn.init.zeros_(parameter)
    return fusion


def shift_change(videos: Path, num_frames: int, config: Any, shift_px: float) -> str:
    """Return in words how much the fitted pose moves between two runs with shifted crops."""
    poses = []
    for seed in (1, 2):
        person = follow(videos, CAMERAS, num_frames, config, shift_px, seed)
        batch = person.batch(range(person.heatmaps.shape[1]), None, config)
        poses.append(smooth_poses(triangulated(batch), batch.cameras, H36M_BODY, SETTINGS).pose_world)
    distance = np.linalg.norm(poses[0] - poses[1], axis=-1)
    return (
        f"crops shifted by up to {shift_px:g} px: the fitted pose moves by {np.nanmedian(distance):.1f} mm (median), "
        f"{np.nanpercentile(distance, 95):.1f} mm (95 %)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", type=Path, default=Path("data/demo/videos"), help="videos of the man alone")
    parser.add_argument("--hidden", type=Path, default=Path("data/demo_two_people/videos"), help="with the woman")
    parser.add_argument("--frames", type=int, default=100, help="first frames of each recording")
    parser.add_argument("--score-from", type=int, default=0, metavar="FRAME", help="first frame that the tables count")
    parser.add_argument(
        "--fusions", nargs="+", default=["none", "epipolar_max"], help="NETWORK.FUSION; adaptive=FILE: trained"
    )
    parser.add_argument("--shift", type=float, default=0, metavar="PX", help="also: two runs with shifted crops")
    args = parser.parse_args()
    print(describe_machine(("torch",)))
    config = load_config(DEFAULT_CFG)
    alone = follow(args.alone, CAMERAS, args.frames, config)
    hidden = follow(args.hidden, CAMERAS_TWO_PEOPLE, args.frames, config)
    if args.shift:
        config.NETWORK.FUSION = "none"
        print(shift_change(args.alone, args.frames, config, args.shift))
    fusions = {}
    for word in args.fusions:
        name, _, checkpoint = word.partition("=")
        label = f"{name}, trained" if checkpoint else name
        fusions[label] = fusion_of(name, checkpoint, config, alone.heatmaps.shape[1])
    share = " and ".join(f"{100 * one.located:.0f} %" for one in (alone, hidden))
    print(f"man located in {share} of the frames\n\n## Each camera predicted from the others (px)\n")
    print(left_out_table(alone, fusions, config, args.score_from))
    table, num_pairs = occlusion_table(alone, hidden, fusions, config, args.score_from)
    print(f"\n## Change of the pose by occlusion (mm), {num_pairs} pairs\n\n{table}")


if __name__ == "__main__":
    main()
