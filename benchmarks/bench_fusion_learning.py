"""JDR of the fusions on simulated heatmaps, and the number of groups that the learned matrices need.

    python benchmarks/bench_fusion_learning.py [--groups 1200 4800] [--wrong 0.15]

Bodies, motions and rigs of the synthetic data, 4 cameras as in Human3.6M, crops that follow the person, 32x32 heatmaps.
Peaks have a jitter of 0.5 px, 4 % are missing, and a share `--wrong` of the heatmaps has a higher peak anywhere. The
matrices are trained on each group of subjects 1, 5, 6, 7 and 8 once. All fusions are tested on 600 groups of subjects 9
and 11.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np
import torch
from detections import NUM_VIEWS, TRAINING_SUBJECTS, Frames, gaussians, make_frames, with_wrong_peaks
from torch import Tensor, nn

from lib.core.evaluation2d.decode import get_max_preds
from lib.core.evaluation2d.metrics_2d import HEAD_SHARE, joint_detection_rate
from lib.core.runtime.machine import describe_machine
from lib.dataset.h36m import TEST_SUBJECTS
from lib.models.epipolar_fusion import AdaptiveFusion, EpipolarFusion
from lib.models.fusion import CrossViewFusion
from lib.multiviews.cameras import CropCameras
from lib.utils.tables import markdown_table

SIZE = 32
SIGMA_PX = 1.5
TEST_GROUPS = 600
BATCH = 8
LEARNING_RATE = 1e-3  # of Adam
DROPS_AT = (0.6, 0.85)  # shares of the training after which the learning rate is divided by 10

Fuse = Callable[[Tensor, CropCameras], Tensor]


def cameras_of(frames: Frames) -> CropCameras:
    """Return cameras and crops as tensors, leading axes (F, V)."""
    return CropCameras(frames.cameras, frames.image_to_heatmap).map(lambda x: torch.as_tensor(x, dtype=torch.float32))


def draw(frames: Frames, rng: np.random.Generator, wrong_share: float) -> Tensor:
    """Draw simulated network output (F, V, 17, SIZE, SIZE)."""
    return torch.as_tensor(with_wrong_peaks(frames, rng, wrong_share, SIZE, SIGMA_PX))


def rate(fuse: Fuse, maps: Tensor, frames: Frames) -> float:
    """Return the JDR in percent, with a threshold of 1/20 of the crop side length."""
    with torch.no_grad():
        fused = torch.cat(
            [fuse(maps[i : i + BATCH], cameras_of(frames[i : i + BATCH])) for i in range(0, len(frames), BATCH)]
        )
    found = get_max_preds(fused.flatten(0, 1).numpy())[0]
    gt = frames.joints_hm.reshape(found.shape)
    inside = np.ones(found.shape[:2], bool)
    return 100 * joint_detection_rate(found, gt, inside, np.full(len(found), SIZE * HEAD_SHARE / 2)).mean()


def learn(num_groups: int, wrong_share: float, seed: int) -> nn.Module:
    """Train the matrices, initialized with zeros, on groups in random order."""
    frames = make_frames(num_groups, seed + 1, TRAINING_SUBJECTS, SIZE)
    rng = np.random.default_rng(seed)
    order = rng.permutation(num_groups)
    frames = frames[order]
    fusion = CrossViewFusion(NUM_VIEWS, (SIZE, SIZE), init="zeros")
    optimizer = torch.optim.Adam(fusion.parameters(), LEARNING_RATE)
    steps = num_groups // BATCH
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [int(part * steps) for part in DROPS_AT])
    for step in range(steps):
        batch = frames[step * BATCH : (step + 1) * BATCH]
        target = torch.as_tensor(gaussians(batch.joints_hm, SIZE, SIGMA_PX))
        loss = (fusion(draw(batch, rng, wrong_share)) - target).square().mean((0, 3, 4)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return fusion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, nargs="+", default=[1200, 4800], help="training groups of the matrices")
    parser.add_argument("--wrong", type=float, default=0.15, help="share of the maps with a higher wrong peak")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(describe_machine(("torch",)))
    frames = make_frames(TEST_GROUPS, args.seed, TEST_SUBJECTS, SIZE)
    maps = draw(frames, np.random.default_rng(args.seed), args.wrong)
    fusions: dict[str, Fuse] = {
        "single view": lambda maps, views: maps,
        "sum along the epipolar line": EpipolarFusion("sum"),
        "max along the epipolar line": EpipolarFusion("max"),
        "adaptive, untrained": AdaptiveFusion(),
    }
    rows = [(name, f"{rate(fuse, maps, frames):.1f}", "-") for name, fuse in fusions.items()]
    for num_groups in args.groups:
        start = time.perf_counter()
        fusion = learn(num_groups, args.wrong, args.seed)
        rows.append(
            (f"learned, {num_groups} groups", f"{rate(fusion, maps, frames):.1f}", f"{time.perf_counter() - start:.0f}")
        )
    print(markdown_table(("fusion", "JDR (%)", "s of training"), rows))


if __name__ == "__main__":
    main()
