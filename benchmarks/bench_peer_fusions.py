"""Fusions and triangulation of other papers on a frozen backbone, with epipolar_max and adaptive for comparison.

    python benchmarks/bench_peer_fusions.py --weights RUN/model_best.pth.tar \
        --train data/synthetic=4 data/reliability=2 --test data/synthetic

=4 means every fourth group. data/reliability, a training set of people that the backbone has not seen, is made by the
command in bench_reliability.py. The methods and their sources are in peer_fusions.py.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from bench_reliability import (
    CPU,
    LOST_MM,
    cells,
    errors_3d,
    frozen_config,
    frozen_outputs,
    peak_set,
    root_and_step,
    start_poses,
)
from peer_fusions import AdaFuse, Adaptive, AlgebraicTriangulation, Outputs, other_views
from torch import Tensor, nn

from lib.core.config_io import load_config
from lib.core.evaluation2d.decode import locations_in_images
from lib.core.evaluation2d.metrics_2d import jdr_threshold, joint_detection_rate, mean_rate
from lib.core.pose3d.frames import load_frames
from lib.core.pose3d.make_prior import load_prior
from lib.core.pose3d.methods import MethodContext, make_context
from lib.core.runtime.machine import describe_machine
from lib.dataset.network_input import crop_cameras
from lib.models.epipolar_fusion import EpipolarFusion
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import CropCameras
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.utils.joints import H36M_17, union_subset
from lib.utils.tables import markdown_table
from lib.utils.transforms import invert_affine, transform_points

BATCH_GROUPS = 16
OWN_WEIGHT = 0.4  # of epipolar_max
COLUMNS = ["JDR, %", "occluded, %"]
COLUMNS += [f"{name}, {unit}" for name in ("equal weights", "weighted", "rpsm+refine") for unit in ("mm", "lost %")]
TRAINED = {"adaptive": Adaptive, "AdaFuse": AdaFuse, "learnable triangulation": AlgebraicTriangulation}


def maxima_along_lines(maps: Tensor, cameras: CropCameras) -> Tensor:
    """Return (B, V, V-1, J, H, W), the maximum along the epipolar line of each pixel in every other view."""
    fuse = EpipolarFusion("max", self_weight=0)
    num_views = maps.shape[1]
    found: dict[tuple[int, int], Tensor] = {}
    for view in range(num_views):
        for other in range(view + 1, num_views):
            pair = [view, other]
            found[view, other], found[other, view] = fuse(maps[:, pair], cameras[:, pair]).unbind(1)
    by_view = [[found[view, other] for other in others] for view, others in enumerate(other_views(num_views))]
    return torch.stack([torch.stack(one, 1) for one in by_view], 1)


@torch.no_grad()
def collect(cfg: str, weights: Path, root: Path, subset: str, step: int) -> Outputs:
    """Run the frozen network on a data set. A third of the training images are occluded by pasted patches."""
    config = frozen_config(cfg, root, subset, step)
    maps, along, deep, columns = [], [], [], []
    for batch, found, features in frozen_outputs(config, weights):
        maps.append(found)
        along.append(maxima_along_lines(found, crop_cameras(batch, CPU)).half())
        deep.append(features.unflatten(0, found.shape[:2]).half())
        columns.append({key: value for key, value in batch.items() if key != "crops"})
    batch = {key: torch.cat([part[key] for part in columns]) for key in columns[0]}
    order = union_subset(H36M_17)
    single_views, lines, features = torch.cat(maps), torch.cat(along), torch.cat(deep)
    fused = OWN_WEIGHT * single_views + (1 - OWN_WEIGHT) * lines.mean(2, dtype=torch.float32)
    peaks = peak_set(load_frames(config), single_views, fused, features, config)
    joints_img = batch["joints_img"][:, :, order].double().numpy()
    sides = batch["person_side"].numpy()
    return Outputs(
        peaks=peaks,
        maps=single_views.half(),
        along=lines,
        deep=features,
        cameras=crop_cameras(batch, CPU),
        joints_hm=torch.from_numpy(transform_points(joints_img, peaks.to_heatmap)).float(),
        joints_img=joints_img,
        visible=batch["visible"][:, :, order],
        occluded=batch["occluded"][:, :, order].numpy(),
        threshold=jdr_threshold("crop", config.NETWORK.IMAGE_SIZE, sides, np.full(sides.shape, np.nan)),
    )


def train(method: type[nn.Module], data: Outputs, seed: int, factor: int = 1) -> nn.Module:
    """Train with Adam and one cycle of the learning rate, for `factor` times the epochs of the method."""
    torch.manual_seed(seed)
    model = method()
    optimizer = torch.optim.Adam(model.parameters(), method.rate)
    steps = [rows for _ in range(factor * method.epochs) for rows in torch.randperm(len(data)).split(BATCH_GROUPS)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, method.rate, total_steps=len(steps))
    for rows in steps:
        optimizer.zero_grad()
        model.loss(data, rows).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def in_batches(model: nn.Module, data: Outputs) -> list:
    """Return the outputs of a model for all groups, batch by batch."""
    return [model(data, rows) for rows in torch.arange(len(data)).split(BATCH_GROUPS)]


def detection_rates(data: Outputs, fused: np.ndarray) -> list[float]:
    """Return the JDR over all and over occluded joints, %, of the highest pixels of heatmaps (F, V, J, H, W)."""
    matrix = data.peaks.to_heatmap
    found = locations_in_images(fused.reshape(-1, *fused.shape[2:]), matrix.reshape(-1, 2, 3))[..., :2]
    visible = data.visible.numpy()
    rates = []
    for joints in (visible, visible & data.occluded):
        counted = joints.reshape(found.shape[:2])
        rates.append(joint_detection_rate(found, data.joints_img.reshape(found.shape), counted, data.threshold.ravel()))
    return [100 * mean_rate(rate) for rate in rates]


def triangulation_errors(data: Outputs, points_hm: np.ndarray, weights: np.ndarray) -> list[float]:
    """Return MPJPE, mm, and lost joints, %, of points (F, V, J, 2), with equal weights and with weights (F, V, J)."""
    frames = data.peaks.frames
    points = transform_points(np.nan_to_num(points_hm.astype(float)), invert_affine(data.peaks.to_heatmap))
    results = []
    for one in (np.ones(weights.shape), weights.clip(1e-6)):
        error = np.linalg.norm(triangulate(points, frames.cameras, one) - frames.gt_world, axis=-1)
        results += [float(error.mean()), float(100 * (error > LOST_MM).mean())]
    return results


def fusion_row(data: Outputs, fused: np.ndarray, context: MethodContext, image_wh: list[int]) -> list[float]:
    """Return COLUMNS of heatmaps (F, V, J, H, W); rpsm+refine uses them to choose, the single-view peaks to place."""
    peaks = replace(data.peaks, fused=fused)
    peaks.start = start_poses(peaks, context, image_wh)
    best = stacked_peaks(fused, 1, "log_quadratic")[..., 0, :]
    refined = errors_3d(peaks, np.ones(peaks.exists.shape), 2.0, context)[:2]
    return [*detection_rates(data, fused), *triangulation_errors(data, best[..., :2], best[..., 2]), *refined]


def triangulation_row(data: Outputs, found: list[tuple[Tensor, Tensor]]) -> list[float]:
    """Return COLUMNS of learnable triangulation from its batches; NaN where a column needs fused heatmaps."""
    points, weights = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return [np.nan, np.nan, *triangulation_errors(data, points, weights), np.nan, np.nan]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", default="experiments-local/synthetic/resnet18/128_fusion.yaml")
    parser.add_argument("--weights", type=Path, required=True, help="model_best.pth.tar of the quick start")
    sets = {"type": root_and_step, "nargs": "+", "required": True, "metavar": "ROOT=STEP"}
    parser.add_argument("--train", **sets, help="data sets with training subjects")
    parser.add_argument("--test", **sets, help="data sets with validation subjects")
    parser.add_argument("--prior", default="data/synthetic/pict/pairwise.pkl", help="PICT_STRUCT.PAIRWISE_FILE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epoch-factor", type=int, default=1, help="train so many times longer")
    args = parser.parse_args()
    print(describe_machine(("torch",)), flush=True)
    config = load_config(args.cfg, ["PICT_STRUCT.PAIRWISE_FILE", args.prior])
    context = make_context(config, H36M_BODY, load_prior(config.PICT_STRUCT, H36M_BODY), make_cpu_backend())
    adaptive, adafuse = Adaptive().eval(), AdaFuse().eval()
    for last in (adaptive.fusion.trust[-1], adafuse.weight[-1]):  # zeros give all views the same weight
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    models = {"adaptive, equal weights": [adaptive], "AdaFuse, equal weights": [adafuse]}
    for root, step in args.train:
        data = collect(args.cfg, args.weights, root, "train", step)
        print(f"{root}: {len(data)} training groups", flush=True)
        for name, method in TRAINED.items():
            models[f"{name}, {root.name}"] = [train(method, data, seed, args.epoch_factor) for seed in args.seeds]
    for root, step in args.test:
        data = collect(args.cfg, args.weights, root, "validation", step)
        image_wh = config.NETWORK.IMAGE_SIZE
        rows = [
            ("single_view", *cells([fusion_row(data, data.maps.float().numpy(), context, image_wh)])),
            ("epipolar_max", *cells([fusion_row(data, data.peaks.fused, context, image_wh)])),
        ]
        for name, seeds in models.items():
            found = [in_batches(model, data) for model in seeds]
            if isinstance(seeds[0], AlgebraicTriangulation):
                results = [triangulation_row(data, one) for one in found]
            else:
                results = [fusion_row(data, torch.cat(one).numpy(), context, image_wh) for one in found]
            rows.append((name, *cells(results)))
        print(f"\n{root}, {len(data)} groups\n\n{markdown_table(('method', *COLUMNS), rows)}", flush=True)


if __name__ == "__main__":
    main()
