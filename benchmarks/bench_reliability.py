"""Learned reliability of heatmap peaks: does appearance show which peak is wrong, and what does 3D gain?

    python run/data/make_synthetic.py --root data/reliability --image-size 500 --subjects 21 22 23 24 25 26 27 28 29 \
        30 31 32 33 34 35 36 --groups-per-train 3 --rig 0 2 3 4 --occluders 0.5 --mpii-train 0 --mpii-valid 0 --seed 3
    python benchmarks/bench_reliability.py --weights RUN/model_best.pth.tar --train data/reliability --test data/occ2

The network is frozen. A small head predicts for each of the highest peaks of a single-view heatmap whether it is within
2 px of the joint. It is trained on people that the network has not seen, with patches of other images pasted over a
third of the images. Inputs are scalars (height of the peak and of the second one, support of the other views), features
of the last stage of the ResNet at the peak, or both. In 3D, the probability replaces the weight of a peak by the fused
heatmap, in rpsm+refine behind epipolar_max and in triangulation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.core.build_data import build_dataset, build_loader
from lib.core.build_model import build_model
from lib.core.config_io import dataset_root, load_config
from lib.core.pose3d.frames import EvaluatedFrames, load_frames
from lib.core.pose3d.make_prior import load_prior
from lib.core.pose3d.methods import METHODS, MethodContext, make_context, run_method
from lib.core.pose3d.occluded_images import paste_patches
from lib.core.runtime.machine import describe_machine
from lib.dataset.network_input import crop_cameras, network_images
from lib.models.epipolar_fusion import EpipolarFusion
from lib.models.weights import load_model
from lib.multiviews.body import H36M_BODY
from lib.multiviews.geometry.epipolar_torch import sample_maps, to_places
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.multiviews.refinement.refine import RefineSettings, fit_frames, fit_persons, fitted_poses
from lib.utils.joints import H36M_17, union_subset
from lib.utils.tables import markdown_table
from lib.utils.transforms import image_to_heatmap_affine, invert_affine, transform_points

CPU = torch.device("cpu")
RIGHT_PX = 2.0  # heatmap px
LOST_MM = 150.0
INPUTS = {"scalars": ("scalars",), "features": ("features",), "both": ("scalars", "features")}
WIDTH = 48
JOINT_WIDTH = 16


@dataclass
class PeakSet:
    """Peaks of a data set with F frames of V views, J joints and K peaks per map.

    Attributes:
        frames: cameras and ground truth.
        fused: (F, V, J, H, W) heatmaps of epipolar_max.
        peaks: (F, V, J, K, 3) of the single-view heatmaps, see stacked_peaks().
        exists, right: (F, V, J, K) bool.
        inputs: name -> (F, V, J, K, C).
        to_heatmap: (F, V, 2, 3) image px -> heatmap px.
        start: (F, J, 3) poses of RPSM on the fused heatmaps, mm; None in the training set.
    """

    frames: EvaluatedFrames
    fused: np.ndarray
    peaks: np.ndarray
    exists: np.ndarray
    right: np.ndarray
    inputs: dict[str, Tensor]
    to_heatmap: np.ndarray
    start: np.ndarray | None = None


def frozen_config(cfg: str, root: Path, subset: str, step: int) -> Any:
    """Return the configuration of single-view heatmaps of a data set."""
    opts = ["NETWORK.FUSION", "none", "DATASET.ROOT", str(root), "DATASET.TEST_SUBSET", subset, "GPUS", ""]
    return load_config(cfg, [*opts, "DATASET.TEST_STEP", str(step)])


@torch.no_grad()
def frozen_outputs(config: Any, weights: Path) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
    """Run the frozen network on a data set. A third of the training images are occluded by pasted patches.

    Yields:
        Batch of the loader, single-view heatmaps (B, V, 17, H, W), and last stage of the ResNet (B*V, C, h, w).
    """
    data = build_dataset(config, dataset_root(config), is_train=False)
    model = build_model(config, data.num_views)
    load_model(model, weights)
    model.eval()
    deep: list[Tensor] = []
    model.backbone.layer4.register_forward_hook(lambda module, args, output: deep.append(output))
    rng = np.random.default_rng(0)
    for batch in build_loader(config, data, is_train=False):
        is_training = config.DATASET.TEST_SUBSET == "train"
        crops = paste_patches(batch["crops"], rng) if is_training else batch["crops"]
        maps = model(network_images(crops, CPU))[0][:, :, union_subset(H36M_17)]
        yield batch, maps, deep.pop()


@torch.no_grad()
def collect(cfg: str, weights: Path, root: Path, subset: str, step: int) -> PeakSet:
    """Run the frozen network on a data set, and collect the peaks."""
    config = frozen_config(cfg, root, subset, step)
    fuse = EpipolarFusion("max")
    single_views, fused, features = [], [], []
    for batch, maps, deep in frozen_outputs(config, weights):
        peaks = torch.from_numpy(np.nan_to_num(stacked_peaks(maps.numpy(), 3, "log_quadratic")[..., :2]))
        stride = maps.shape[-1] / deep.shape[-1]
        places = to_places((peaks + 0.5) / stride - 0.5, deep.shape[-2:]).clamp(-1, 1)
        found = sample_maps(deep, places.flatten(0, 1).flatten(1, 2)[:, :, None])[..., 0]  # (B*V, C, J*K)
        features.append(found.movedim(1, -1).reshape(*peaks.shape[:-1], -1).half())
        single_views.append(maps)
        fused.append(fuse(maps, crop_cameras(batch, CPU)))
    return peak_set(load_frames(config), torch.cat(single_views), torch.cat(fused), torch.cat(features), config)


def peak_set(frames: EvaluatedFrames, maps: Tensor, fused: Tensor, features: Tensor, config: object) -> PeakSet:
    """Compute the scalars of the peaks, and which peaks are right."""
    peaks = stacked_peaks(maps.numpy(), 3, "log_quadratic")
    value = torch.from_numpy(peaks[..., 2])
    places = torch.from_numpy(np.nan_to_num(peaks[..., :2]))
    size = tuple(maps.shape[-2:])
    at_peaks = _at(fused, to_places(places, size))
    agreement = at_peaks / fused.flatten(-2).amax(-1).clamp(min=1e-6)[..., None]
    others = (at_peaks - 0.4 * value) / 0.6  # mean over the other views of the maximum along the line
    usual = value[..., 0].amax(1).median(-1).values[:, None, None, None].clamp(min=1e-6)
    highest = value[..., :1].clamp(min=1e-6)
    second = (value[..., 1:2] / highest).expand_as(value)
    scalars = torch.stack([value, value / usual, value / highest, second, agreement, others, others / usual], -1)
    scale = (frames.center, frames.scale)
    to_heatmap = image_to_heatmap_affine(*scale, config.NETWORK.IMAGE_SIZE, (size[1], size[0]))
    joints_img = frames.annotations.joints_img[frames.groups][:, :, union_subset(H36M_17)].astype(float)
    gt = transform_points(joints_img, to_heatmap)[..., None, :]
    exists = peaks[..., 2] > 0
    right = exists & (np.linalg.norm(np.nan_to_num(peaks[..., :2]) - gt, axis=-1) < RIGHT_PX)
    inputs = {"scalars": scalars, "features": features}
    return PeakSet(frames, fused.numpy(), peaks, exists, right, inputs, to_heatmap)


def _at(maps: Tensor, places: Tensor) -> Tensor:
    """Interpolate maps (F, V, J, H, W) at places (F, V, J, K, 2) of each."""
    return sample_maps(maps.flatten(0, 2)[:, None], places.flatten(0, 2)[:, :, None])[:, 0, :, 0].reshape(
        places.shape[:-1]
    )


class Head(nn.Module):
    """Logit that a peak is right, from its inputs and its joint."""

    def __init__(self, examples: list[Tensor]) -> None:
        super().__init__()
        self.means = [one.mean(0) for one in examples]
        self.spreads = [one.std(0) + 1e-3 for one in examples]
        widths = [one.shape[-1] for one in examples]
        reduced = [min(width, 32) for width in widths]
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Dropout(0.1), nn.Linear(*pair)) if pair[0] > pair[1] else nn.Identity()
            for pair in zip(widths, reduced, strict=True)
        )
        self.joint = nn.Embedding(len(H36M_17), JOINT_WIDTH)
        first = nn.Linear(sum(reduced) + JOINT_WIDTH, WIDTH)
        self.rest = nn.Sequential(
            first, nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1), nn.Flatten(0)
        )

    def forward(self, inputs: list[Tensor], joint: Tensor) -> Tensor:
        """Inputs (T, C) each, joint (T,) -> (T,)."""
        parts = [
            reduce((one.float() - mean) / spread)
            for one, mean, spread, reduce in zip(inputs, self.means, self.spreads, self.reduce, strict=True)
        ]
        return self.rest(torch.cat([*parts, self.joint(joint)], -1))


def tokens(peaks: PeakSet, names: tuple[str, ...]) -> tuple[list[Tensor], Tensor]:
    """Return the inputs (T, C) and the joints (T,) of all peaks that exist."""
    exists = torch.from_numpy(peaks.exists)
    return [peaks.inputs[name][exists].float() for name in names], exists.nonzero()[:, 2]


def train(peaks: PeakSet, names: tuple[str, ...], seed: int, epochs: int) -> Head:
    """Train a head with AdamW and one cycle of the learning rate."""
    torch.manual_seed(seed)
    inputs, joint = tokens(peaks, names)
    target = torch.from_numpy(peaks.right[peaks.exists]).float()
    head = Head(inputs)
    optimizer = torch.optim.AdamW(head.parameters(), 2e-3, weight_decay=1e-2)
    steps = [rows for _ in range(epochs) for rows in torch.randperm(len(joint)).split(2560)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=len(steps))
    for rows in steps:
        logits = head([one[rows] for one in inputs], joint[rows])
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logits, target[rows]).backward()
        optimizer.step()
        schedule.step()
    return head.eval()


@torch.no_grad()
def probabilities(head: Head, peaks: PeakSet, names: tuple[str, ...]) -> np.ndarray:
    """Return the probability (F, V, J, K) that a peak is right; 0 for missing peaks."""
    found = np.zeros(peaks.exists.shape)
    found[peaks.exists] = torch.sigmoid(head(*tokens(peaks, names))).numpy()
    return found


def discrimination(peaks: PeakSet, probability: np.ndarray) -> tuple[float, float]:
    """Return the area under the ROC curve and the log loss."""
    right, p = peaks.right[peaks.exists], probability[peaks.exists].clip(1e-4, 1 - 1e-4)
    rank = np.empty(len(p))
    rank[np.argsort(p, kind="stable")] = np.arange(1, len(p) + 1)
    good, bad = right.sum(), (~right).sum()
    area = (rank[right].sum() - good * (good + 1) / 2) / (good * bad)
    return float(area), float(-np.where(right, np.log(p), np.log(1 - p)).mean())


def errors_3d(peaks: PeakSet, factor: np.ndarray, power: float, context: MethodContext) -> list[float]:
    """Return MPJPE, mm, and share of lost joints, %, of the refinement and of triangulation.

    Args:
        peaks: the frames.
        factor: (F, V, J, K) on the heights of the peaks.
        power: exponent of the fused heatmap at the peak, see RefineSettings.
        context: of make_context().
    """
    frames = peaks.frames
    weighted = peaks.peaks.copy()
    usual = np.median(weighted[..., 2].max((1, 3)), -1)[:, None, None, None]
    is_noise = weighted[..., 2] < RefineSettings.min_peak_share * usual  # as in the refinement, by the height alone
    weighted[..., 2] *= np.where(is_noise, 0.0, factor)
    pairs = [tuple(H36M_17.indices(pair)) for pair in H36M_17.flip_pairs]
    lengths, settings = context.prior.mean_lengths, RefineSettings(agreement_power=power, min_peak_share=0.0)
    arguments = (peaks.fused, frames.cameras, peaks.to_heatmap, peaks.start, lengths, H36M_BODY, context.backend)
    fitted = fit_frames(*arguments, settings, pairs, single_view_peaks=weighted)
    fitted = fit_persons(fitted, frames.subject, H36M_BODY, context.backend)
    best = weighted[..., 2].argmax(-1)[..., None, None]
    chosen = np.take_along_axis(weighted, best, 3)[..., 0, :].astype(float)
    points = np.nan_to_num(transform_points(chosen[..., :2], invert_affine(peaks.to_heatmap)))
    triangulated = triangulate(points, frames.cameras, chosen[..., 2].clip(1e-6))
    results = []
    for pose in (fitted_poses(fitted, H36M_BODY, context.backend), triangulated):
        error = np.linalg.norm(pose - frames.gt_world, axis=-1)
        results += [float(error.mean()), float(100 * (error > LOST_MM).mean())]
    return results


def start_poses(peaks: PeakSet, context: MethodContext, image_wh: list[int]) -> np.ndarray:
    """Run RPSM on the fused heatmaps."""
    count = len(peaks.frames) * peaks.fused.shape[1]
    maps = peaks.fused.reshape(count, *peaks.fused.shape[2:])
    order = np.argsort(peaks.frames.joint_order)  # batch() expects the order of the predictions
    batch = peaks.frames.batch(
        slice(0, len(peaks.frames)), maps[:, order], np.zeros((count, len(H36M_17), 3)), image_wh, "peaks"
    )
    return run_method(METHODS["rpsm"], [batch], context).pose_world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", default="experiments-local/synthetic/resnet18/128_fusion.yaml")
    parser.add_argument("--weights", type=Path, required=True, help="model_best.pth.tar of the quick start")
    parser.add_argument("--train", type=Path, required=True, help="data set with training subjects")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="data sets with validation subjects")
    parser.add_argument("--train-step", type=int, default=1, help="use every n-th training group")
    parser.add_argument("--test-step", type=int, default=1, help="use every n-th test group")
    parser.add_argument("--prior", default="data/synthetic/pict/pairwise.pkl", help="PICT_STRUCT.PAIRWISE_FILE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    print(describe_machine(("torch",)), flush=True)
    config = load_config(args.cfg, ["PICT_STRUCT.PAIRWISE_FILE", args.prior])
    prior = load_prior(config.PICT_STRUCT, H36M_BODY)
    context = make_context(config, H36M_BODY, prior, make_cpu_backend())
    training = collect(args.cfg, args.weights, args.train, "train", args.train_step)
    heads = {
        (name, seed): train(training, inputs, seed, args.epochs)
        for name, inputs in INPUTS.items()
        for seed in args.seeds
    }
    print(f"{len(training.frames)} training groups, {training.exists.sum()} peaks", flush=True)
    header = ("weight of a peak", "AUC", "log loss", "refined, mm", "lost, %", "triangulated, mm", "lost, %")
    for root in args.test:
        peaks = collect(args.cfg, args.weights, root, "validation", args.test_step)
        peaks.start = start_poses(peaks, context, config.NETWORK.IMAGE_SIZE)
        ones = np.ones(peaks.exists.shape)
        rows = [
            ("height", "-", "-", *cells([errors_3d(peaks, ones, 0.0, context)])),
            ("height, fused heatmap", "-", "-", *cells([errors_3d(peaks, ones, 2.0, context)])),
        ]
        for name, inputs in INPUTS.items():
            found = [probabilities(heads[name, seed], peaks, inputs) for seed in args.seeds]
            told = [discrimination(peaks, one) for one in found]
            gains = [errors_3d(peaks, one, 0.0, context) for one in found]
            rows.append((f"learned: {name}", *cells(told, 4), *cells(gains)))
        rows.append(("known", "1", "0", *cells([errors_3d(peaks, peaks.right.astype(float), 0.0, context)])))
        print(f"\n{root}, {len(peaks.frames)} groups\n\n{markdown_table(header, rows)}", flush=True)


def cells(values: list, digits: int = 2) -> list[str]:
    """Return mean, and with several seeds the standard deviation, of each column; "-" for NaN."""
    columns = np.array(values)
    spread = [f" ± {one:.{digits}f}" if len(columns) > 1 else "" for one in columns.std(0)]
    means = zip(columns.mean(0), spread, strict=True)
    return ["-" if np.isnan(mean) else f"{mean:.{digits}f}{one}" for mean, one in means]


def root_and_step(word: str) -> tuple[Path, int]:
    """Split ROOT=STEP; without a step it is 1."""
    root, _, step = word.partition("=")
    return Path(root), int(step or 1)


if __name__ == "__main__":
    main()
