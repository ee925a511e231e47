"""Accuracy of the 3D methods on heatmaps of three simulated detectors, checked against targets.

    python benchmarks/bench_accuracy.py [--frames 300] [--seed 0]

Ten subjects of the synthetic data in all actions, 4 cameras as in Human3.6M, 64x64 heatmaps of crops of 2000 mm. The
limb prior has the mean lengths of five other subjects. "true": ground-truth root and limb lengths, as in the original
code. "prior": triangulated root and limb lengths of the prior. A missed target gives exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np
from detections import DETECTORS, HEATMAP_PX, INPUT_PX, Frames, make_frames, training_prior

from lib.core.config_io import load_config
from lib.core.evaluation2d.decode import predict_locations
from lib.core.pose3d.frames import FrameBatch
from lib.core.pose3d.make_prior import pictorial_settings
from lib.core.pose3d.methods import METHODS, make_context, run_method
from lib.core.runtime.machine import describe_machine
from lib.multiviews.pictorial.backend_numpy import Backend, NumpyBackend
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.utils.tables import markdown_table

BATCH = 64  # frames, as estimate.py
TRUE = ("PICT_STRUCT.ROOT_SOURCE", "ground_truth", "PICT_STRUCT.LIMB_LENGTH_SOURCE", "ground_truth")
PERFECT, JITTER, MIXTURE = DETECTORS


@dataclass(frozen=True)
class Row:
    """A method and its settings."""

    label: str
    method: str
    opts: tuple[str, ...] = ()


RPSM_TRUE = Row("RPSM, true", "rpsm", TRUE)
RPSM_PRIOR = Row("RPSM, prior", "rpsm")
REFINE_TRUE = Row("RPSM + refine, true", "rpsm+refine", TRUE)
REFINE_PRIOR = Row("RPSM + refine, prior", "rpsm+refine")
ROWS = (
    Row("triangulation", "triangulate"),
    Row("robust triangulation", "triangulate_robust"),
    Row("PSM, prior", "psm"),
    RPSM_TRUE,
    RPSM_PRIOR,
    REFINE_TRUE,
    Row("RPSM + refine, prior, independent frames", "rpsm+refine", ("PICT_STRUCT.REFINE_PERSON", "false")),
    REFINE_PRIOR,
)

Errors = dict[tuple[Row, str], np.ndarray]  # (F, 17) mm per row and detector


@dataclass(frozen=True)
class Target:
    """Upper limit of a row's mean error, in mm or relative to another row.

    Attributes:
        detector: name of the detector.
        row: measured row.
        bound: limit, mm; a ratio if `base` is given.
        base: row to compare with.
    """

    detector: str
    row: Row
    bound: float
    base: Row | None = None

    def check(self, errors: Errors) -> tuple[bool, str]:
        """Return whether the target is met, and a line for the report."""
        value = errors[self.row, self.detector].mean()
        what = f"{self.detector}: {self.row.label}"
        unit = " mm"
        if self.base is not None:
            value /= errors[self.base, self.detector].mean()
            what = f"{what} / {self.base.label}"
            unit = ""
        met = bool(value <= self.bound)
        return met, f"- {what}: {value:.3f}{unit}, at most {self.bound:g}{unit}: {'met' if met else 'NOT MET'}"


TARGETS = (
    Target(PERFECT, REFINE_TRUE, 0.5),
    Target(PERFECT, REFINE_PRIOR, 0.5),
    Target(JITTER, REFINE_TRUE, 0.8, RPSM_TRUE),
    Target(JITTER, REFINE_PRIOR, 0.8, RPSM_PRIOR),
    Target(MIXTURE, REFINE_PRIOR, 0.75, RPSM_TRUE),
)


def make_config(opts: Sequence[str]) -> Any:
    """Return the default configuration with overrides."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "defaults.yaml"
        path.write_text("")
        return load_config(path, list(opts))


def make_batch(frames: Frames, heatmaps: np.ndarray) -> FrameBatch:
    """Return frames as the 3D scripts read them."""
    locations = predict_locations(
        heatmaps.reshape(-1, *heatmaps.shape[2:]),
        frames.center.reshape(-1, 2),
        frames.scale.reshape(-1, 2),
        (INPUT_PX, INPUT_PX),
    )
    return FrameBatch(
        heatmaps=heatmaps,
        locations=locations.reshape(*heatmaps.shape[:3], 3),
        cameras=frames.cameras,
        image_to_heatmap=frames.image_to_heatmap,
        center=frames.center,
        gt_world=frames.pose_world,
        subject=frames.subject,
    )


def measure(frames: Frames, prior: LimbPrior, backend: Backend, seed: int) -> Errors:
    """Run every method on the heatmaps of every detector."""
    configs = {row: make_config(row.opts) for row in ROWS}
    errors = {}
    for number, (detector, draw) in enumerate(DETECTORS.items()):
        batches = []
        for start in range(0, len(frames), BATCH):
            chosen = frames[start : start + BATCH]
            batches.append(make_batch(chosen, draw(chosen, np.random.default_rng([seed, number, start]))))
        for row in ROWS:
            context = make_context(configs[row], prior.body, prior, backend)
            pose = run_method(METHODS[row.method], batches, context).pose_world
            errors[row, detector] = np.linalg.norm(pose - frames.pose_world, axis=-1)
    return errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300, help="frames (300)")
    parser.add_argument("--seed", type=int, default=0, help="seed of persons, motion and detectors (0)")
    args = parser.parse_args()
    machine = describe_machine(("numpy", "scipy"))
    begin = time.perf_counter()
    frames = make_frames(args.frames, args.seed)
    prior = training_prior(pictorial_settings(make_config(()).PICT_STRUCT), args.seed)
    errors = measure(frames, prior, NumpyBackend(), args.seed)

    print(
        f"{len(frames)} frames, {HEATMAP_PX}x{HEATMAP_PX} maps, seed {args.seed}; "
        f"{time.perf_counter() - begin:.0f} s on {machine}\n\nMPJPE in mm; in brackets the 95th percentile of the "
        "joint errors\n"
    )
    print(
        markdown_table(
            ["", *DETECTORS],
            [
                [
                    row.label,
                    *(
                        f"{errors[row, name].mean():.2f} ({np.percentile(errors[row, name], 95):.1f})"
                        for name in DETECTORS
                    ),
                ]
                for row in ROWS
            ],
        )
    )
    checks = [target.check(errors) for target in TARGETS]
    print("\n" + "\n".join(line for _, line in checks))
    return 0 if all(met for met, _ in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
