"""Ablation of the learned refinement: which parts of rpsm+learned pay, and on which people it should be trained.

    python run/data/make_synthetic.py --root data/reliability --image-size 500 --subjects 21 22 23 24 25 26 27 28 29 \
        30 31 32 33 34 35 36 --groups-per-train 3 --rig 0 2 3 4 --occluders 0.5 --mpii-train 0 --mpii-valid 0 --seed 3
    python benchmarks/bench_refinement.py --weights RUN/model_best.pth.tar --train data/reliability=1 --test data/occ2=2

The heatmaps are the single-view ones of a trained network. Every training set gives one table per test set and number
of views. A number behind a data set is the step between its groups. Means and standard deviations over the seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np
from bench_reliability import CPU, LOST_MM, cells, root_and_step

from lib.core.config_io import load_config
from lib.core.pose3d.frames import FrameBatch, load_frames
from lib.core.pose3d.from_images import predict_frames
from lib.core.pose3d.make_prior import load_prior
from lib.core.pose3d.methods import METHODS, MethodContext, make_context, run_method
from lib.core.pose3d.train_refinement import Examples, TrainingSettings, collect_examples, of_views, train
from lib.core.runtime.machine import describe_machine
from lib.multiviews.body import H36M_BODY
from lib.multiviews.keypoints.heatmap_values import on_host
from lib.multiviews.pictorial.backend_torch import TorchBackend
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.multiviews.refinement.learned_refinement import NUM_OWN, NUM_PARTNER, LearnedRefinement
from lib.utils.tables import markdown_table

FULL = TrainingSettings()
PARTNER = slice(NUM_OWN, NUM_OWN + NUM_PARTNER)
HEADER = ("method", "MPJPE, mm", "median, mm", "lost, %")


class PlacesOnly(LearnedRefinement):
    """All views and joints count alike."""

    def predict(self, *arguments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places, error = super().predict(*arguments)
        return places, np.ones_like(error)


class OwnHeatmapOnly(LearnedRefinement):
    """The partner's heatmap does not count; the training must not have seen it."""

    def predict(self, *arguments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.weights["input"][PARTNER] = 0
        return super().predict(*arguments)


def variants(examples: list[Examples]) -> dict[str, tuple[list[Examples], TrainingSettings, type]]:
    """Return the name of each variant -> examples, settings and class of the network."""
    copies = len(FULL.jitter_mm) + FULL.fewer_views
    all_views = [one for index, one in enumerate(examples) if (index + 1) % copies]
    exact = examples[::copies]
    return {
        "full": (examples, FULL, LearnedRefinement),
        "without predicted errors": (examples, FULL, PlacesOnly),
        "without the partner's heatmap": ([_without_partner(one) for one in examples], FULL, OwnHeatmapOnly),
        "without the other joints": (examples, replace(FULL, left_out=("from_body",)), LearnedRefinement),
        "without fewer views": (all_views, FULL, LearnedRefinement),
        "without noise on the poses": (exact, replace(FULL, epochs=FULL.epochs * 3), LearnedRefinement),
    }


def _without_partner(examples: Examples) -> Examples:
    inputs = examples.inputs.clone()
    inputs[..., PARTNER] = 0
    return replace(examples, inputs=inputs)


def predicted(cfg: str, opts: list[str], root: Path, step: int, subset: str, occluded: bool) -> list[FrameBatch]:
    """Run the network on a data set."""
    opts = [*opts, "DATASET.ROOT", str(root), "DATASET.TEST_STEP", str(step), "DATASET.TEST_SUBSET", subset]
    config = load_config(cfg, opts)
    batches = predict_frames(config, Path(), load_frames(config), TorchBackend("cpu"), 64, occluded=occluded)
    return [replace(batch, heatmaps=on_host(batch.heatmaps)) for batch in batches]


def errors(batches: list[FrameBatch], context: MethodContext) -> list[float]:
    """Return mean and median error, mm, and the share of lost joints, %."""
    pose = run_method(METHODS["rpsm+learned" if context.learned else "rpsm+refine"], batches, context).pose_world
    error = np.linalg.norm(pose - np.concatenate([batch.gt_world for batch in batches]), axis=-1)
    return [float(error.mean()), float(np.median(error)), float(100 * (error > LOST_MM).mean())]


def test_sets(words: list[str], views: list[int], predict: Callable[..., list[FrameBatch]]) -> dict[str, list]:
    """Return title -> batches of each test set, with all views and with the first ones."""
    found = {}
    for word in words:
        batches = predict(*root_and_step(word), "validation", False)
        found[word] = batches
        found |= {f"{word}, {count} views": [of_views(one, np.arange(count)) for one in batches] for count in views}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", default="experiments-local/synthetic/resnet18/128_fusion.yaml")
    parser.add_argument("--weights", type=Path, required=True, help="model_best.pth.tar of the quick start")
    parser.add_argument("--train", nargs="+", required=True, metavar="ROOT=STEP", help="data sets of training subjects")
    parser.add_argument("--test", nargs="+", required=True, metavar="ROOT=STEP", help="data sets of test subjects")
    parser.add_argument("--views", type=int, nargs="*", default=[], help="also test with the first N views")
    parser.add_argument("--prior", default="data/synthetic/pict/pairwise.pkl", help="PICT_STRUCT.PAIRWISE_FILE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ablation", action="store_true", help="leave out parts of the method, one at a time")
    args = parser.parse_args()
    print(describe_machine(("torch",)), flush=True)
    opts = ["NETWORK.FUSION", "none", "TEST.MODEL_FILE", str(args.weights), "PICT_STRUCT.PAIRWISE_FILE", args.prior]
    opts += ["GPUS", "", "OUTPUT_DIR", "output/bench_refinement"]
    config = load_config(args.cfg, opts)
    context = make_context(config, H36M_BODY, load_prior(config.PICT_STRUCT), make_cpu_backend())

    def predict(*words: object) -> list[FrameBatch]:
        return predicted(args.cfg, opts, *words)

    tests = test_sets(args.test, args.views, predict)
    for word in args.train:
        training = predict(*root_and_step(word), "train", True)
        examples = collect_examples(training, context, FULL, config.SEED)
        print(f"\ntrained on {word}: {sum(map(len, training))} groups", flush=True)
        tables = {title: [("rpsm+refine", *cells([errors(batches, context)]))] for title, batches in tests.items()}
        for name, (chosen, settings, kind) in variants(examples).items():
            if name != "full" and not args.ablation:
                continue
            trained = [train(chosen, settings, seed, CPU) for seed in args.seeds]
            contexts = [replace(context, learned=kind(one, H36M_BODY.joint_names, "none")) for one in trained]
            for title, batches in tests.items():
                tables[title].append((f"rpsm+learned, {name}", *cells([errors(batches, one) for one in contexts])))
        for title, rows in tables.items():
            print(f"\n{title}\n\n{markdown_table(HEADER, rows)}", flush=True)


if __name__ == "__main__":
    main()
