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
from dataclasses import dataclass, replace
from functools import cache
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
from lib.core.pose3d.train_choice import ChoiceExamples, ChoiceSettings, train_choice
from lib.core.pose3d.train_refinement import Examples, TrainingSettings, collect_examples, of_views, train
from lib.core.runtime.machine import describe_machine
from lib.multiviews.body import H36M_BODY
from lib.multiviews.keypoints.heatmap_values import on_host
from lib.multiviews.pictorial.backend_torch import TorchBackend
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.multiviews.refinement.learned_refinement import NUM_OWN, NUM_PARTNER, LearnedRefinement
from lib.multiviews.refinement.uncertainty import REGION_SHARES, coverage
from lib.multiviews.refinement.view_sampler import ViewSampler, project_to_maps
from lib.utils.joints import union_subset
from lib.utils.tables import markdown_table

FULL = TrainingSettings()
FULL_CHOICE = ChoiceSettings()
PARTNER = slice(NUM_OWN, NUM_OWN + NUM_PARTNER)
REGIONS = tuple(f"in {100 * share:.0f} % regions, %" for share in REGION_SHARES)
HEADER = ("method", "MPJPE, mm", "median, mm", "lost, %", "JDR of the projections, %", "occluded, %", *REGIONS)


class PlacesOnly(LearnedRefinement):
    """All views and joints count alike."""

    def predict(self, *arguments: object) -> tuple[np.ndarray, np.ndarray]:
        places, error = super().predict(*arguments)
        return places, np.ones_like(error)


class OwnHeatmapOnly(LearnedRefinement):
    """The partner's heatmap does not count; the training must not have seen it."""

    def predict(self, *arguments: object) -> tuple[np.ndarray, np.ndarray]:
        self.weights["input"][PARTNER] = 0
        return super().predict(*arguments)


class ChoiceOnly(LearnedRefinement):
    """The chosen candidates are not moved: every place is the projection."""

    def predict(self, views: ViewSampler, pose_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        projection = views.project(pose_world)
        return projection, np.ones(projection.shape[:-1])


@dataclass(frozen=True)
class Variant:
    """One form of the method.

    Attributes:
        places: examples of the predicted places.
        settings: of their training.
        choice: of the training of the choice; None = no choice.
        kind: class of the networks.
    """

    places: list[Examples]
    settings: TrainingSettings = FULL
    choice: ChoiceSettings | None = FULL_CHOICE
    kind: type = LearnedRefinement


def variants(places: list[Examples]) -> dict[str, Variant]:
    """Return the variants by name."""
    copies = len(FULL.jitter_mm) + (FULL.fewer_views if places[0].inputs.shape[1] > 2 else 0)
    all_views = [one for index, one in enumerate(places) if index % copies < len(FULL.jitter_mm)]
    exact = places[::copies]

    def choice_without(*names: str) -> Variant:
        return Variant(places, choice=ChoiceSettings(left_out=names))

    return {
        "full": Variant(places),
        "places without the choice": Variant(places, choice=None),
        "choice without the places": Variant(places, kind=ChoiceOnly),
        "choice without heatmaps at the candidates": choice_without("pooled", "pooled_joint"),
        "choice without the candidate's place": choice_without("place"),
        "choice without the pose around it": choice_without("pose_joint"),
        "places without predicted errors": Variant(places, kind=PlacesOnly),
        "places without the partner's heatmap": Variant([_without_partner(one) for one in places], kind=OwnHeatmapOnly),
        "places without the other joints": Variant(places, replace(FULL, left_out=("from_body",))),
        "places without fewer views": Variant(all_views),
        "places without noise on the poses": Variant(exact, replace(FULL, epochs=FULL.epochs * 3)),
    }


def _without_partner(examples: Examples) -> Examples:
    inputs = examples.inputs.clone()
    inputs[..., PARTNER] = 0
    return replace(examples, inputs=inputs)


@dataclass(frozen=True)
class FrameSet:
    """Frames with heatmaps.

    Attributes:
        batches: the frames.
        occluded: (F, V, J) bool, joints that are hidden in a view.
    """

    batches: list[FrameBatch]
    occluded: np.ndarray

    def of_views(self, views: np.ndarray) -> FrameSet:
        """Select views."""
        return FrameSet([of_views(batch, views) for batch in self.batches], self.occluded[:, views])


def predicted(cfg: str, opts: list[str], root: Path, step: int, subset: str, occluded: bool) -> FrameSet:
    """Run the network on a data set."""
    opts = [*opts, "DATASET.ROOT", str(root), "DATASET.TEST_STEP", str(step), "DATASET.TEST_SUBSET", subset]
    config = load_config(cfg, opts)
    frames = load_frames(config)
    batches = predict_frames(config, Path(), frames, TorchBackend("cpu"), 64, occluded=occluded)
    hidden = frames.annotations.occluded[frames.groups][..., union_subset(frames.joint_set)]
    return FrameSet([replace(batch, heatmaps=on_host(batch.heatmaps)) for batch in batches], hidden)


def errors(frames: FrameSet, context: MethodContext) -> list[float]:
    """Return the columns of HEADER behind the name: errors in mm, shares in %."""
    method = METHODS["rpsm+learned" if context.learned else "rpsm+refine"]
    poses = run_method(method, frames.batches, context)
    gt = np.concatenate([batch.gt_world for batch in frames.batches])
    error = np.linalg.norm(poses.pose_world - gt, axis=-1)
    of_batches = np.split(poses.pose_world, np.cumsum([len(batch) for batch in frames.batches])[:-1])
    found = np.concatenate([projection_hits(*pair) for pair in zip(frames.batches, of_batches, strict=True)])
    inside = coverage(poses.pose_world, gt, poses.covariance, poses.degrees_of_freedom)
    shares = [np.mean(error > LOST_MM), found.mean(), found[frames.occluded].mean(), *inside.values()]
    return [float(error.mean()), float(np.median(error)), *(100 * float(share) for share in shares)]


def projection_hits(batch: FrameBatch, pose_world: np.ndarray) -> np.ndarray:
    """Return which projections (F, V, J) of poses lie within 1/20 of the crop side length of the ground truth."""
    where = (batch.cameras, batch.image_to_heatmap, batch.heatmaps.shape)
    distance = np.linalg.norm(project_to_maps(pose_world, *where) - project_to_maps(batch.gt_world, *where), axis=-1)
    return distance <= batch.heatmaps.shape[-1] / 20


def test_sets(words: list[str], views: list[int], predict: Callable[..., FrameSet]) -> dict[str, FrameSet]:
    """Return title -> each test set, with all views and with the first ones."""
    found = {}
    for word in words:
        frames = predict(*root_and_step(word), "validation", False)
        found[word] = frames
        found |= {f"{word}, {count} views": frames.of_views(np.arange(count)) for count in views}
    return found


def rows_of_variants(
    places: list[Examples],
    choices: list[ChoiceExamples],
    tests: dict[str, FrameSet],
    context: MethodContext,
    seeds: list[int],
    ablation: bool,
) -> dict[str, list[tuple]]:
    """Train all variants, or the full one; return title -> rows of each test set."""

    @cache
    def trained_choice(settings: ChoiceSettings | None, seed: int) -> dict[str, np.ndarray]:
        return {} if settings is None else train_choice(choices, settings, seed, CPU)

    trained = {}  # (examples, settings, seed) -> weights of the places

    def trained_places(variant: Variant, seed: int) -> dict[str, np.ndarray]:
        key = (id(variant.places), variant.settings, seed)
        if key not in trained:
            trained[key] = train(variant.places, variant.settings, seed, CPU)
        return dict(trained[key])

    forms = variants(places)
    rows = {title: [("rpsm+refine", *cells([errors(frames, context)]))] for title, frames in tests.items()}
    for name, variant in forms.items():
        if name != "full" and not ablation:
            continue
        contexts = []
        for seed in seeds:
            weights, choice = trained_places(variant, seed), trained_choice(variant.choice, seed)
            learned = variant.kind(weights, H36M_BODY.joint_names, "none", choice=choice)
            contexts.append(replace(context, learned=learned))
        for title, frames in tests.items():
            rows[title].append((f"rpsm+learned, {name}", *cells([errors(frames, one) for one in contexts])))
    return rows


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

    def predict(*words: object) -> FrameSet:
        return predicted(args.cfg, opts, *words)

    tests = test_sets(args.test, args.views, predict)
    for word in args.train:
        training = predict(*root_and_step(word), "train", True).batches
        print(f"\ntrained on {word}: {sum(map(len, training))} groups", flush=True)
        examples = collect_examples(training, context, FULL, config.SEED)
        for title, rows in rows_of_variants(*examples, tests, context, args.seeds, args.ablation).items():
            print(f"\n{title}\n\n{markdown_table(HEADER, rows)}", flush=True)


if __name__ == "__main__":
    main()
