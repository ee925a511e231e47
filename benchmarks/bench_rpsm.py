"""Frames per second of RPSM by engine and threads, compared with a plain dense implementation, and of other methods.

    python benchmarks/bench_rpsm.py [--frames 256] [--rounds 5]

Settings of Human3.6M: 4 views, 17 joints, 64x64 maps, 2000 mm, 16^3 bins, 10 recursions, mean limb lengths. The
implementations alternate in rounds, and the median round is reported. Exits with an error if the poses disagree. The
second table runs whole methods on heatmaps in memory: peaks, roots, poses and the count of supporting views.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np
from cvf_tests.scenes import LENGTHS, Scene, make_scene
from dense_reference import DenseRpsm

from lib.core.config_io import load_config
from lib.core.pose3d.frames import FrameBatch
from lib.core.pose3d.methods import METHODS, make_context, run_method
from lib.core.pose3d.train_refinement import untrained
from lib.core.runtime.machine import describe_machine
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.backend_numba import NumbaBackend
from lib.multiviews.pictorial.backend_numpy import Backend, NumpyBackend, usable_processors
from lib.multiviews.pictorial.limb_prior import LimbPrior, make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings, rpsm
from lib.utils.files.prediction_file import PredictionFile, PredictionWriter
from lib.utils.tables import markdown_table

BATCH = 64  # frames, as estimate.py
REFERENCE_FRAMES = 4  # per round
MAX_DIFFERENCE_MM = 0.1
NOISE = 0.02  # relative to the peak, so that no pixel is 0
EXPERIMENT = ROOT / "experiments-local/mixed/resnet50/256_fusion.yaml"  # its settings of the 3D methods


@dataclass(frozen=True)
class Problem:
    """Frames, limb prior and settings."""

    scene: Scene
    prior: LimbPrior
    settings: PictorialSettings


Solver = Callable[[Problem], np.ndarray]  # -> (f, J, 3) mm of the problem's first f frames


def make_problem(num_frames: int, settings: PictorialSettings | None = None) -> Problem:
    """Draw persons and noisy heatmaps; None = the settings of Human3.6M."""
    settings = settings or PictorialSettings()
    scene = make_scene(num_frames)
    rng = np.random.default_rng(0)
    for heatmaps in scene.heatmaps:
        heatmaps += rng.uniform(0, NOISE, heatmaps.shape).astype(np.float32)
    return Problem(scene, make_limb_prior(LENGTHS, H36M_BODY, settings.first_grid), settings)


def solve_dense(reference: DenseRpsm, problem: Problem) -> np.ndarray:
    """Run the dense implementation frame by frame."""
    scene = problem.scene
    return np.array(
        [
            reference.estimate(
                scene.heatmaps[i],
                scene.cameras[i],
                scene.image_to_heatmap[i],
                scene.pose_world[i, 0],
                problem.prior.mean_lengths,
            )
            for i in range(REFERENCE_FRAMES)
        ]
    )


def solve_batch(backend: Backend, problem: Problem, start: int, heatmaps: np.ndarray) -> np.ndarray:
    """Run rpsm() on the frames from `start`."""
    scene = problem.scene
    frames = slice(start, start + len(heatmaps))
    return rpsm(
        heatmaps,
        scene.cameras[frames],
        scene.image_to_heatmap[frames],
        scene.pose_world[frames, 0],
        problem.prior.mean_lengths,
        problem.prior,
        problem.settings,
        backend,
    )


def solve_in_memory(backend: Backend, problem: Problem) -> np.ndarray:
    """Run rpsm() on heatmaps in memory."""
    maps = problem.scene.heatmaps
    return np.concatenate(
        [solve_batch(backend, problem, start, maps[start : start + BATCH]) for start in range(0, len(maps), BATCH)]
    )


def solve_from_file(backend: Backend, path: Path, problem: Problem) -> np.ndarray:
    """Run rpsm() on heatmaps in an HDF5 file, which are read ahead."""
    maps = problem.scene.heatmaps
    parts = []
    with PredictionFile(path) as file, closing(file.batches(BATCH * maps.shape[1])) as batches:
        for start, (rows, _) in zip(range(0, len(maps), BATCH), batches, strict=True):
            parts.append(solve_batch(backend, problem, start, rows.reshape(-1, *maps.shape[1:])))
    return np.concatenate(parts)


def solve_by_method(backend: Backend, method: str, problem: Problem) -> np.ndarray:
    """Run a whole method of estimate.py on heatmaps in memory."""
    scene = problem.scene
    batches = []
    for start in range(0, len(scene.heatmaps), BATCH):
        maps = scene.heatmaps[start : start + BATCH]
        frames = slice(start, start + len(maps))
        cameras, matrix = scene.cameras[frames], scene.image_to_heatmap[frames]
        locations, center = np.zeros((*maps.shape[:3], 3)), np.zeros((*maps.shape[:2], 2))
        batches.append(FrameBatch(maps, locations, cameras, matrix, center, subject=np.zeros(len(maps), int)))
    learned = untrained(H36M_BODY.joint_names) if METHODS[method].needs_learned else None
    context = make_context(load_config(EXPERIMENT), H36M_BODY, problem.prior, backend, learned)
    return run_method(METHODS[method], batches, context).pose_world


def thread_counts() -> list[int]:
    """Return 1, 2, 4, ... and the number of usable processors."""
    most = usable_processors()
    return sorted({most, *(2**power for power in range(most.bit_length()) if 2**power <= most)})


def write_heatmaps(problem: Problem, path: Path) -> None:
    """Write the heatmaps as valid.py does."""
    maps = problem.scene.heatmaps
    rows = maps.reshape(-1, *maps.shape[2:])
    with PredictionWriter(path, len(rows), H36M_BODY.joint_names, maps.shape[:-3:-1], maps.shape[1]) as writer:
        writer.append(rows, np.zeros((*rows.shape[:2], 3), np.float32), [str(row) for row in range(len(rows))])


def measure(solvers: dict[str, Solver], problem: Problem, num_rounds: int) -> tuple[dict[str, float], np.ndarray]:
    """Return the seconds per frame of each solver, and its largest joint distance from the first solver, mm.

    Raises:
        SystemExit: the poses disagree.
    """
    times: dict[str, list[float]] = {name: [] for name in solvers}
    worst = np.zeros(len(solvers))
    for turn in range(num_rounds + 1):  # the first round warms up and compares
        poses = []
        for name, solve in solvers.items():
            start = time.perf_counter()
            poses.append(solve(problem))
            times[name].append((time.perf_counter() - start) / len(poses[-1]))
        if turn == 0:
            common = min(len(pose) for pose in poses)
            worst = np.array([np.linalg.norm(pose[:common] - poses[0][:common], axis=-1).max() for pose in poses])
    if worst.max() > MAX_DIFFERENCE_MM:
        raise SystemExit(f"poses disagree: {dict(zip(solvers, worst.round(3).tolist(), strict=True))} mm")
    return {name: statistics.median(values[1:]) for name, values in times.items()}, worst


def describe_floor(problem: Problem, num_threads: int, best: float) -> str:
    """Compare the best time with a lower bound from the number of operations on this machine."""
    bins, (num_views, num_joints) = problem.settings.first_nbins**3, problem.scene.heatmaps.shape[1:3]
    maxima = bins * sum(len(program.steps) for program in problem.prior.programs)
    products = bins * num_views * 4 * num_joints
    pairs = bins**2 * len(problem.prior.programs)
    volume = np.zeros(16 * bins)  # as large as a block of the backend, which fits the cache
    repeats = 200
    start = time.perf_counter()
    for _ in range(repeats):
        np.maximum(volume, volume, out=volume)
    rate = repeats * len(volume) / (time.perf_counter() - start)
    floor = (maxima + 2 * products) / rate / num_threads
    return (
        f"The first grid of a frame takes {maxima / 1e6:.1f} M maxima (the dense matrices {pairs / 1e6:.0f} M) and "
        f"{products / 1e6:.1f} M multiply-adds of heatmap values: {floor * 1e3:.2f} ms on {num_threads} cores at the "
        f"{rate / 1e9:.1f} G operations/s of numpy's maximum on one core. The best row is at {best / floor:.1f} times "
        "that; projections, logarithms, the later grids and Python take the rest."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=256, help="frames per round (256)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; the median is reported (5)")
    args = parser.parse_args()
    print(describe_machine(("numpy", "numba", "scipy", "torch")), flush=True)

    from lib.multiviews.pictorial.backend_torch import TorchBackend

    problem = make_problem(max(args.frames, REFERENCE_FRAMES))
    reference = DenseRpsm(problem.prior, problem.settings)
    ours, plain = NumbaBackend(), NumpyBackend()
    ours_torch = TorchBackend("cpu")
    threads, threads_torch = f"{ours.num_threads} threads", f"{ours_torch.num_threads} threads"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predicted_heatmaps.h5"
        write_heatmaps(problem, path)
        solvers: dict[str, Solver] = {
            "plain dense reference": partial(solve_dense, reference),
            f"numpy backend, {threads}": partial(solve_in_memory, plain),
            **{
                f"numba backend, {count} threads": partial(solve_in_memory, NumbaBackend(count))
                for count in thread_counts()
            },
            f"numba backend, {threads}, heatmaps read from HDF5": partial(solve_from_file, ours, path),
            f"torch backend on the CPU, {threads_torch}": partial(solve_in_memory, ours_torch),
        }
        seconds, worst = measure(solvers, problem, args.rounds)
    print_table("RPSM", seconds, worst)
    print(f"\n{describe_floor(problem, ours.num_threads, min(seconds.values()))}\n")
    for method in ("rpsm+refine", "rpsm+learned", "triangulate_robust"):
        solvers = {
            f"numpy backend, {threads}": partial(solve_by_method, plain, method),
            **{
                f"numba backend, {count} threads": partial(solve_by_method, NumbaBackend(count), method)
                for count in thread_counts()
            },
        }
        print_table(method, *measure(solvers, problem, args.rounds))
        print()
    if hasattr(os, "getloadavg"):
        print(f"Load after the run: {os.getloadavg()[0]:.1f} (1 minute).")


def print_table(title: str, seconds: dict[str, float], worst: np.ndarray) -> None:
    """Print times per frame; the first row is the reference."""
    slowest = next(iter(seconds.values()))
    rows = [
        [name, f"{time * 1e3:.2f}", f"{1 / time:.1f}", f"{slowest / time:.3g}", f"{difference:.3f}"]
        for (name, time), difference in zip(seconds.items(), worst, strict=True)
    ]
    print(markdown_table([title, "ms per frame", "frames/s", "times the reference", "largest difference, mm"], rows))


if __name__ == "__main__":
    main()
