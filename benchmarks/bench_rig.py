"""Repair of wrong calibrations with ground truth: accuracy, standard deviations, false alarms, planted faults, time.

    python benchmarks/bench_rig.py --parts all bumped right faults time
    python benchmarks/bench_rig.py --parts all --cameras 4 --seeds 0 1 2 3

The recordings have 1,000 frames at 50 Hz: noise of 2 px, 8 % outliers, 4 % missing, swaps in 12 % of the views, sync
offsets up to 5 frames (rig_scenes.py). Errors are those after a similarity, which no detection shows: the one with
which most cameras stay, or least squares. Seeds that are multiples of 4 walk; others stay in one place (greeting,
purchases, sitting down).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import numpy as np
from peer_scenes import IMAGE_PX
from rig_scenes import NUM_FRAMES, RigScene, disturbed, make_rig_scene
from scipy.spatial.transform import Rotation

from lib.core.own_cameras.array_poses import estimate_poses
from lib.core.own_cameras.recording import FLIP_PAIRS
from lib.core.runtime.machine import describe_machine
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras
from lib.multiviews.rig.rig_parameters import CENTER, FOCAL, OFFSET, ROTATION, RigState, aligned
from lib.multiviews.rig.rig_refinement import RefinementSettings, refine_rig
from lib.multiviews.rig.rig_verdict import NOT_TRUSTED, RIGHT, RigVerdict, judge_rig
from lib.utils.tables import markdown_table

PARTS = ("all", "bumped", "right", "faults", "time")
_WRONG = {"turn_deg": 2.0, "move_mm": 50.0, "focal": 0.03}  # of every camera, part "all"


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--parts", nargs="+", default=["all"], choices=PARTS)
    add("--cameras", type=int, nargs="+", default=[3, 4, 8])
    add("--seeds", type=int, nargs="+", default=[0, 4])
    add("--frames", type=int, default=NUM_FRAMES)
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    args = parse_args()
    print(f"{describe_machine()}\n\n{args.frames} frames, seeds {args.seeds}\n")
    for part in args.parts:
        for num_views in args.cameras:
            print(f"## {part}, {num_views} cameras\n\n{globals()[f'bench_{part}'](num_views, args)}\n", flush=True)


def errors_of(state: RigState, scene: RigScene, robust: bool = True) -> np.ndarray:
    """Return the step (V, NUM_COLUMNS) from the true rig to an estimated one, after a similarity, see aligned()."""
    num_frames = len(scene.points)
    gt = RigState(scene.cameras, scene.offset + scene.drift * num_frames / 2, scene.drift * num_frames)
    return aligned(state, gt, robust)[0].minus(gt)


def bench_all(num_views: int, args: argparse.Namespace) -> str:
    """Every camera is turned by 2 degrees, moved by 50 mm, and 3 % wrong in focal length."""
    rows, deviations = [], []
    for seed in args.seeds:
        scene = make_rig_scene(num_views, seed, args.frames)
        given = disturbed(scene.cameras, np.random.default_rng([seed, 1]), **_WRONG)
        begin = time.process_time()
        found = refine_rig(scene.points, given, H36M_BODY, FLIP_PAIRS, RefinementSettings(focal=True))
        seconds = time.process_time() - begin
        error = errors_of(found.state, scene)
        deviations.append((error / np.where(found.free, found.sd, np.inf))[found.free])
        squares = _worst(errors_of(found.state, scene, robust=False))[1]
        rows.append([str(seed), *_worst(error), squares, *_worst(found.sd), _rms(deviations[-1]), seconds])
    rows.append(["all", *[None] * 9, _rms(np.concatenate(deviations)), None])
    header = ["seed", "turned (degrees)", "moved (mm)", "focal length (%)", "offset (frames)"]
    sds = [f"sd: {name}" for name in header[1:]]
    header += ["moved, least squares (mm)", *sds, "rms error / sd", "CPU (s)"]
    return markdown_table(header, rows, 2)


def _worst(step: np.ndarray) -> list[float]:
    """Return the largest turn (degrees), move (mm), focal length (%) and offset (frames) of the cameras."""
    turned, moved = (np.linalg.norm(step[:, columns], axis=1).max() for columns in (ROTATION, CENTER))
    focal, offset = (float(np.abs(step[:, column]).max()) for column in (FOCAL, OFFSET))
    return [float(np.degrees(turned)), float(moved), 100 * focal, offset]


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def bench_bumped(num_views: int, args: argparse.Namespace) -> str:
    """One camera is turned by 1 degree, all views are in sync: pose error with the true, given and refined rig."""
    rows = []
    for seed in args.seeds:
        scene = make_rig_scene(num_views, seed, args.frames, max_offset=0.0)
        given = disturbed(scene.cameras, np.random.default_rng([seed, 2]), 1.0, 0.0, 0.0, [seed % num_views])
        verdict = judged(scene, given, num_views)
        refined = aligned(verdict.refinement.state, RigState.in_sync(given))[0].cameras
        errors = [pose_error(scene, cameras) for cameras in (scene.cameras, given, refined)]
        rows.append([str(seed), *errors, 100 * (errors[2] / errors[0] - 1), verdict.kind])
    return markdown_table(["seed", "true rig (mm)", "bumped", "refined", "more than true (%)", "verdict"], rows, 1)


def pose_error(scene: RigScene, cameras: Cameras) -> float:
    """Return the mean error of the joints, mm, with the default options."""
    found = estimate_poses(scene.points, cameras).pose_world
    return float(np.nanmean(np.linalg.norm(found - scene.pose_world, axis=-1)))


def judged(scene: RigScene, given: Cameras, num_views: int, points: np.ndarray | None = None) -> RigVerdict:
    """Return the verdict on a rig."""
    names = [f"cam{view}" for view in range(num_views)]
    size = np.full((num_views, 2), IMAGE_PX)
    points = scene.points if points is None else points
    return judge_rig(points, given, size, names, H36M_BODY, FLIP_PAIRS)


def bench_right(num_views: int, args: argparse.Namespace) -> str:
    """The rig is right, the views are not in sync: the cameras stay."""
    rows = []
    for seed in args.seeds:
        scene = make_rig_scene(num_views, seed, args.frames)
        verdict = judged(scene, scene.cameras, num_views)
        found = verdict.refinement
        error = errors_of(found.state, scene)
        deviation = _rms((error / np.where(found.free, found.sd, np.inf))[found.free])
        rows.append([str(seed), found.change, found.change_freedom, found.shift_px, deviation, verdict.kind])
    alarms = sum(row[-1] != RIGHT for row in rows)
    header = ["seed", "chi squared", "freedom", "shift (px)", "rms error / sd", "verdict"]
    return markdown_table(header, rows, 2) + f"\n\n{alarms} false alarms in {len(rows)}."


def bench_faults(num_views: int, args: argparse.Namespace) -> str:
    """Plant faults, and list what is said about them."""
    rows = []
    for number, (name, words, plant) in enumerate(FAULTS):
        seed = args.seeds[number % len(args.seeds)]
        scene = make_rig_scene(
            num_views,
            seed,
            args.frames,
            max_offset=0.0,
            drift=np.eye(num_views)[1] * (3.0 / args.frames if name.startswith("drift") else 0.0),
        )
        points, cameras = plant(scene.points.copy(), scene.cameras)
        verdict = judged(scene, cameras, num_views, points)
        said = "; ".join((*verdict.reasons, *verdict.notes))
        mended = ""
        if verdict.kind != NOT_TRUSTED:
            error = errors_of(replace(verdict.refinement.state), scene)
            mended = f"{np.degrees(np.linalg.norm(error[:, ROTATION], axis=1)).max():.3f} degrees, "
            mended += f"{np.linalg.norm(error[:, CENTER], axis=1).max():.1f} mm"
        named = any(word in said for word in words)
        rows.append([name, "yes" if named else "no", verdict.kind, mended, said])
    named = sum(row[1] == "yes" for row in rows)
    header = ["fault", "named", "verdict", "largest error after it", "said"]
    return markdown_table(header, rows) + f"\n\n{named} of {len(rows)} named."


def _one(values: np.ndarray, value: np.ndarray, view: int = 1) -> np.ndarray:
    result = values.copy()
    result[view] = value
    return result


def _mirrored(points: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, Cameras]:
    points[:, 1, :, 0] = IMAGE_PX - 1 - points[:, 1, :, 0]
    return points, cameras


def _turned(points: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, Cameras]:
    points[:, 1, :, :2] = np.stack([points[:, 1, :, 1], IMAGE_PX - 1 - points[:, 1, :, 0]], -1)
    return points, cameras


def _late(points: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, Cameras]:
    points[4:, 1] = points[:-4, 1]
    return points, cameras


def _bumped(points: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, Cameras]:
    turn = Rotation.from_rotvec(np.radians([0.0, 1.0, 0.0])).as_matrix()
    return points, replace(cameras, R=_one(cameras.R, turn @ cameras.R[1]))


def _exchanged(points: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, Cameras]:
    return points[:, [1, 0, *range(2, points.shape[1])]], cameras


def _center_as_translation(points: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, Cameras]:
    return points, replace(cameras, T=-(cameras.R.swapaxes(1, 2) @ cameras.T[..., None])[..., 0])


def _changed(**values: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Return a fault that changes fields of cam1."""

    def plant(points: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, Cameras]:
        return points, replace(
            cameras,
            **{
                name: _one(getattr(cameras, name), change(getattr(cameras, name)[1])) for name, change in values.items()
            },
        )

    return plant


# Name, words that name it, and the change of points and cameras; of camera cam1 where nothing else is said.
FAULTS = (
    ("video mirrored", ("cam1: the video is mirrored",), _mirrored),
    ("video turned by 90 degrees", ("cam1: the video is turned",), _turned),
    ("cam0 and cam1 exchanged", ("cam0 and cam1 are exchanged",), _exchanged),
    ("m instead of mm", ("cam1: the translation is in a unit 1000 times",), _changed(T=lambda T: T / 1000)),
    ("translation is the center", ("all cameras: the translation is the center",), _center_as_translation),
    ("calibrated at half size", ("cam1: calibrated for images",), _changed(f=lambda f: f / 2, c=lambda c: c / 2)),
    ("bumped by 1 degree", ("cam1 moved: 1.0", "cam1 moved: 0.9"), _bumped),
    ("moved by 100 mm", ("cam1 moved: ",), _changed(T=lambda T: T + [60.0, -60.0, 52.9])),
    ("another lens, 10 % longer", ("cam1: the focal length",), _changed(f=lambda f: 1.1 * f)),
    ("4 frames late", ("cam1: late by +4", "cam1: late by +3.9"), _late),
    ("drift of 3 frames", ("cam1: drifts by +3", "cam1: drifts by +2.9"), lambda points, cameras: (points, cameras)),
    ("principal point off by 60, 40 px", ("cam1: the principal point",), _changed(c=lambda c: c + [60, 40])),
    (
        "principal points counted from the right and lower edge, all cameras",
        ("are mirrored",),
        lambda points, cameras: (points, replace(cameras, c=IMAGE_PX - 1 - cameras.c)),
    ),
    ("no distortion in the file", ("cam1: the lens distortion",), _changed(k=lambda k: 0 * k)),
)


def bench_time(num_views: int, args: argparse.Namespace) -> str:
    """Measure 1,200 frames."""
    scene = make_rig_scene(num_views, 0, 1200)
    given = disturbed(scene.cameras, np.random.default_rng(0), **_WRONG)
    begin, cpu = time.perf_counter(), time.process_time()
    verdict = judged(scene, given, num_views)
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return f"1,200 frames: {wall:.1f} s, {cpu:.1f} s of processor time ({verdict.kind})."


if __name__ == "__main__":
    main()
