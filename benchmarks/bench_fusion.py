"""Time per group of heatmap fusion, with the sizes of Human3.6M: 4 views, 20 joints, 64x64 heatmaps.

    python benchmarks/bench_fusion.py

The lower bound of epipolar_max is the same lookups and maxima with precomputed places.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch
from cvf_tests.scenes import make_scene

from lib.core.runtime.machine import describe_machine
from lib.models.epipolar_fusion import AdaptiveFusion, EpipolarFusion
from lib.models.fusion import CrossViewFusion
from lib.multiviews.cameras import CropCameras
from lib.multiviews.geometry.epipolar_torch import HeatmapRays, sample_maps
from lib.utils.tables import markdown_table

VIEWS = 4
JOINTS = 20
SIZE = 64


def milliseconds(work: Callable[[], object], num_groups: int, repeats: int) -> float:
    """Return the median time per group."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[1:]) / num_groups


def lookups(maps: torch.Tensor, places: dict[tuple[int, int], torch.Tensor]) -> None:
    """Sample the heatmaps along precomputed lines, and take the maximum."""
    for (_, other), one in places.items():
        sample_maps(maps[:, other], one).amax(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=2, help="groups in a batch")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(describe_machine(("torch",)))
    scene = make_scene(args.groups, VIEWS, (SIZE, SIZE))
    views = CropCameras(scene.cameras, scene.image_to_heatmap).map(lambda x: torch.as_tensor(x, dtype=torch.float32))
    maps = torch.rand(args.groups, VIEWS, JOINTS, SIZE, SIZE)
    with torch.no_grad():
        rays = HeatmapRays(views, (SIZE, SIZE))
        places = {
            (view, other): rays.lines(view, other) for view in range(VIEWS) for other in range(VIEWS) if view != other
        }
        works = {
            "learned matrices": lambda: learned(maps),
            "lookups and maximum only (lower bound)": lambda: lookups(maps, places),
            "epipolar_max": lambda: largest(maps, views),
            "epipolar_sum": lambda: summed(maps, views),
            "adaptive": lambda: adaptive(maps, views),
        }
        learned = CrossViewFusion(VIEWS, (SIZE, SIZE), init="zeros")
        adaptive = AdaptiveFusion()
        largest, summed = EpipolarFusion("max"), EpipolarFusion("sum")
        rows = [(name, f"{milliseconds(work, args.groups, args.repeats):.0f}") for name, work in works.items()]
    print(markdown_table(("fusion", "ms per group"), rows))


if __name__ == "__main__":
    main()
