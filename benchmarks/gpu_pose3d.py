"""Section "pose3d" of bench_gpu.py: 3D poses from heatmaps on the device, and from images to poses in one pass."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import numpy as np
import torch
from bench_rpsm import Problem, make_problem, solve_batch
from gpu_harness import Bench

from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.evaluation2d.decode import predict_locations
from lib.core.pose3d.frames import FrameBatch
from lib.core.pose3d.make_prior import pictorial_settings
from lib.core.pose3d.methods import METHODS, make_context, run_method
from lib.core.pose3d.train_refinement import untrained
from lib.dataset.network_input import network_images
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.backend_torch import TorchBackend
from lib.utils.joints import UNION_20

SECTION = "pose3d"
METHOD_FRAMES = 256  # as estimate_cuda.py on CUDA
TINY = ("PICT_STRUCT.FIRST_NBINS", "7", "PICT_STRUCT.LIMB_LENGTH_TOLERANCE", "200", "PICT_STRUCT.RECUR_DEPTH", "2")
TINY_NETWORK = ("NETWORK.IMAGE_SIZE", "64", "NETWORK.HEATMAP_SIZE", "16", "POSE_RESNET.NUM_LAYERS", "18")


def bench_pose3d(bench: Bench) -> None:
    """Measure RPSM on the Triton path and on tensor operations, the other methods, and the pass from images."""
    config = make_config((*TINY, *TINY_NETWORK) if bench.is_tiny else ())
    backend = TorchBackend(bench.device)
    sizes = (2,) if bench.is_tiny else (64, 256, 1024)
    problem = make_problem(sizes[-1], pictorial_settings(config.PICT_STRUCT))
    maps = backend.heatmaps(problem.scene.heatmaps)
    floor = memory_floor_us(problem, copy_rate(bench))
    for size in sizes:
        bench_rpsm(bench, backend, problem, maps[:size], floor)
    maps = maps[:METHOD_FRAMES]
    if backend.rpsm is not None:
        profile_kernels(bench, backend, problem, maps)
    bench_methods(bench, backend, problem, maps, config)


def make_config(opts: Sequence[str]) -> Any:
    """Return the default configuration with overrides."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "defaults.yaml"
        path.write_text("")
        return load_config(path, list(opts))


def copy_rate(bench: Bench) -> float:
    """Return the bytes per second that a copy on the device reads and writes."""
    source = torch.zeros(2**20 if bench.is_tiny else 2**28, device=bench.device)
    target = torch.empty_like(source)
    seconds = bench.milliseconds(lambda: target.copy_(source)) / 1e3
    return 2 * source.numel() * source.element_size() / seconds


def memory_floor_us(problem: Problem, bytes_per_second: float) -> float:
    """Return the time per frame, us, to read the heatmaps once, and to write and read the scores of the first grid."""
    scores = 8 * problem.prior.grid.num_bins**3 * len(H36M_BODY.joint_names)
    return 1e6 * (problem.scene.heatmaps[0].nbytes + 2 * scores) / bytes_per_second


def bench_rpsm(bench: Bench, backend: TorchBackend, problem: Problem, maps: torch.Tensor, floor_us: float) -> None:
    """Measure RPSM with heatmaps of the first frames on the device, with and without Triton kernels."""
    size = len(maps)
    plain = TorchBackend(bench.device)
    plain.rpsm = None
    solvers = {"tensor operations": plain}
    if backend.rpsm is not None:
        solvers = {"Triton kernels": backend, **solvers}
    poses = {}
    for name, solver in solvers.items():
        work = partial(solve_batch, solver, problem, 0, maps)
        poses[name] = work()
        per_frame = bench.milliseconds(work) / size
        bench.record(
            SECTION,
            f"RPSM, {name}, {size} frames",
            ms_per_frame=per_frame,
            frames_per_s=1e3 / per_frame,
            memory_floor_us=floor_us,
            times_the_floor=1e3 * per_frame / floor_us,
            largest_difference_mm=float(np.abs(poses[name] - poses[next(iter(solvers))]).max()),
        )


def profile_kernels(bench: Bench, backend: TorchBackend, problem: Problem, maps: torch.Tensor) -> None:
    """Record the device time of each kernel of RPSM."""
    size = len(maps)
    work = partial(solve_batch, backend, problem, 0, maps)
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        bench.synchronize()
    for entry in sorted(profile.key_averages(), key=lambda one: -one.self_device_time_total)[:8]:
        bench.record(
            SECTION,
            f"kernel {entry.key[:40]}, {size} frames",
            launches=entry.count,
            us_per_frame=entry.self_device_time_total / size,
        )


def bench_methods(bench: Bench, backend: TorchBackend, problem: Problem, maps: torch.Tensor, config: Any) -> None:
    """Measure whole methods with roots and view counts, the network, and both one after the other."""
    size = len(maps)
    scene = problem.scene
    host = backend.host_array(scene.heatmaps[:size].shape, np.float32)
    host[...] = scene.heatmaps[:size]
    batch = FrameBatch(
        heatmaps=maps,
        locations=predicted_locations(maps),
        cameras=scene.cameras[:size],
        image_to_heatmap=scene.image_to_heatmap[:size],
        center=np.zeros((size, scene.heatmaps.shape[1], 2)),
        gt_world=scene.pose_world[:size],
        subject=np.zeros(size, int),
    )
    context = make_context(config, H36M_BODY, problem.prior, backend)
    learned = replace(context, learned=untrained(H36M_BODY.joint_names))
    predict = network_call(bench, config, 2 if bench.is_tiny else 32, size)
    calls = {
        "heatmaps to the device": lambda: backend.heatmaps(host),
        **{
            f"method {name}": lambda name=name: run_method(METHODS[name], [batch], context)
            for name in ("triangulate_robust", "rpsm", "rpsm+refine")
        },
        "method rpsm+learned": lambda: run_method(METHODS["rpsm+learned"], [batch], learned),
        "network and 2D locations alone": predict,
        "from images: network, 2D locations, rpsm": lambda: (predict(), run_method(METHODS["rpsm"], [batch], context)),
    }
    for name, work in calls.items():
        per_frame = bench.milliseconds(work, repeats=3) / size
        bench.record(SECTION, f"{name}, {size} frames", ms_per_frame=per_frame, frames_per_s=1e3 / per_frame)


def predicted_locations(maps: torch.Tensor) -> np.ndarray:
    """Return 2D locations (F, V, J, 3) of heatmaps (F, V, J, H, W); the boxes do not matter for the speed."""
    flat = maps.flatten(0, 1)
    boxes = np.zeros((len(flat), 2)), np.ones((len(flat), 2))
    return predict_locations(flat, *boxes, (256, 256)).reshape(*maps.shape[:3], 3)


def network_call(bench: Bench, config: Any, batch: int, size: int) -> Callable[[], None]:
    """Return a call that predicts `size` groups of crops in memory, `batch` at a time, and finds their peaks."""
    config.NETWORK.FUSION, config.NETWORK.FUSION_INIT = "learned", "zeros"
    model = build_model(config, 4).to(bench.device).eval()
    width, height = config.NETWORK.IMAGE_SIZE
    crops = torch.zeros((batch, 4, height, width, 3), dtype=torch.uint8)
    joints = [UNION_20.names.index(name) for name in H36M_BODY.joint_names]

    @torch.no_grad()
    def predict() -> None:
        for _ in range(-(-size // batch)):
            _, fused = model(network_images(crops, bench.device), None)
            predicted_locations(fused[:, :, joints])

    return predict
