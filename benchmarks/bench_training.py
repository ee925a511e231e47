"""Speed of input, training step, validation and checkpoints, compared with lower bounds or a plain loop.

    python benchmarks/bench_training.py [--rounds 5] [--groups 48] [--only loader step validation checkpoint]

ResNet-50 with fusion, 256 px, on synthetic data with 4 views and images of 1000 px, as in Human3.6M. The contestants
alternate in rounds, and the median round is reported. On a busy machine use --cpu-time: one thread, and the CPU time of
this process. Needs 15 GB of memory and 9 GB of temporary disk space.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import cv2
import numpy as np
import torch
from plain_training import PlainTraining
from torch.utils.data import DataLoader

from lib.core.build_data import build_dataset, build_loader
from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.evaluation2d.metrics_2d import heatmap_hits
from lib.core.evaluation2d.validate import validate
from lib.core.evaluation2d.validation_settings import ValidationSettings
from lib.core.runtime.machine import describe_machine
from lib.core.training.checkpoint import Progress, save_training_state, training_state
from lib.core.training.epoch import EpochMeters
from lib.core.training.optimizer import build_optimizer
from lib.core.training.resume import load_training_state
from lib.core.training.step import TrainStep
from lib.dataset.data_sets import build_parts
from lib.dataset.multiview_dataset import MultiviewDataset
from lib.dataset.network_input import network_images, network_input
from lib.dataset.sample import SampleSettings
from lib.dataset.storage.crop_cache import CropFile, write_crops
from lib.dataset.synthetic.generate import SetSettings, make_dataset
from lib.dataset.synthetic.scene import WorldSettings
from lib.models.multiview_pose import MultiViewPose
from lib.utils.files.prediction_file import PredictionWriter
from lib.utils.joints import UNION_20, union_subset
from lib.utils.tables import markdown_table
from lib.utils.transforms import get_affine_transform

CPU = torch.device("cpu")
CFG = ROOT / "experiments-local/mixed/resnet50/256_fusion.yaml"
BATCH = 4  # groups per batch of input and validation
STEP_BATCH = 2  # groups per training step
STEP_ROUNDS_BF16 = 1
NUM_WORKERS = 2
LOSS_TOLERANCE = 1e-4  # relative difference of the losses

Contestants = dict[str, Callable[[], Any]]
Times = dict[str, list[float]]
Clock = Callable[[], float]
Row = list[str]


def make_data(root: Path, num_groups: int) -> Any:
    """Write the data set and return the configuration."""
    half = -(-num_groups // 2)  # two recordings per action
    settings = SetSettings(
        world=WorldSettings(image_size=1000),
        subjects=(1, 9),
        actions=(2,),
        train_groups=half,
        validation_groups=half,
        mpii_train=1,
        mpii_valid=1,
    )
    make_dataset(root, settings, NUM_WORKERS)
    return load_config(
        CFG,
        [
            "DATASET.ROOT",
            str(root),
            "DATASET.TRAIN_DATASET",
            "multiview_h36m",
            "DATASET.DATA_FORMAT",
            "jpg",
            "DATASET.TRAIN_STEP",
            "1",
            "DATASET.TEST_STEP",
            "1",
            "NETWORK.PRETRAINED",
            "",
            "NETWORK.INIT",
            "kaiming",
            "NETWORK.FUSION_INIT",
            "zeros",
            "TRAIN.BATCH_SIZE",
            str(BATCH),
            "TEST.BATCH_SIZE",
            str(BATCH),
            "WORKERS",
            "0",
        ],
    )


def take_turns(contestants: Contestants, num_rounds: int, clock: Clock) -> Times:
    """Return the seconds of each contestant per round, without the first round (warm-up)."""
    times: Times = {name: [] for name in contestants}
    for turn in range(num_rounds + 1):
        for name, run in contestants.items():
            start = clock()
            run()
            if turn:
                times[name].append(clock() - start)
    return times


def rows_of(what: str, times: Times, amount: float, unit: str, base: str) -> list[Row]:
    """Return the rows of the table; the last column is relative to `base`."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    return [
        [
            f"{what}: {name}",
            f"{median * 1e3:.0f}",
            f"{min(times[name]) * 1e3:.0f} to {max(times[name]) * 1e3:.0f}",
            f"{amount / median:.2f} {unit}",
            f"{median / medians[base]:.2f}",
        ]
        for name, median in medians.items()
    ]


# --- input ------------------------------------------------------------------------------------------------------------


def crops_to_make(dataset: MultiviewDataset) -> list[list[tuple[str, np.ndarray]]]:
    """Return file and affine matrix of every image, per group."""
    (part,) = dataset.parts
    notes = part.annotations
    size = dataset.settings.image_wh
    return [
        [
            (
                str(notes.images_dir / notes.image_name(row)),
                get_affine_transform(notes.center[row], notes.scale[row], 0.0, size),
            )
            for row in rows
        ]
        for rows in part.groups
    ]


def decode_and_warp(group: list[tuple[str, np.ndarray]], size: tuple[int, int]) -> None:
    """Decode and warp with OpenCV only, the lower bound of the input."""
    for path, matrix in group:
        cv2.warpAffine(cv2.imread(path, cv2.IMREAD_COLOR), matrix, size, flags=cv2.INTER_LINEAR)


def read_all(loader: DataLoader, to_network: bool = False) -> None:
    """Run one pass over the loader, with or without computing images and targets."""
    for batch in loader:
        if to_network:
            network_input(batch, loader.dataset.settings, CPU)


def with_ready_crops(config: Any, root: Path) -> tuple[Any, MultiviewDataset]:
    """Write the crops of the training data; return a configuration and a data set that read them."""
    config = copy.deepcopy(config)
    config.DATASET.CROP_CACHE = str(root / "crops")
    for part in build_parts(config.DATASET, root, True):
        write_crops(CropFile.of_part(root / "crops", part, SampleSettings.from_config(config)), 1)
    return config, build_dataset(config, root, True)


def bench_loader(config: Any, root: Path, num_rounds: int, clock: Clock) -> Iterator[Row]:
    """Compare the loader with decode and warp, in one process and in several."""
    cv2.setNumThreads(0)  # as in the workers
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dataset = build_dataset(config, root, True)
    groups = crops_to_make(dataset)
    floor = partial(decode_and_warp, size=dataset.settings.image_wh)
    loader = build_loader(config, dataset, True)
    ready_config, ready = with_ready_crops(config, root)
    ready_loader = build_loader(ready_config, ready, True)
    name = "decode and warp only"
    times = take_turns(
        {
            name: lambda: [floor(group) for group in groups],
            "loader": partial(read_all, loader),
            "loader, normalized images and targets": partial(read_all, loader, True),
            "loader, ready crops": partial(read_all, ready_loader),
            "loader, ready crops, normalized images and targets": partial(read_all, ready_loader, True),
        },
        num_rounds,
        clock,
    )
    yield from rows_of("input", times, len(groups), "groups/s", name)
    if clock is not time.process_time:
        config = copy.deepcopy(config)
        config.WORKERS = ready_config.WORKERS = NUM_WORKERS
        name = f"decode and warp only, {NUM_WORKERS} processes"
        with ProcessPoolExecutor(NUM_WORKERS) as pool:
            times = take_turns(
                {
                    name: lambda: list(pool.map(floor, groups, chunksize=BATCH)),
                    f"loader, {NUM_WORKERS} processes": partial(read_all, build_loader(config, dataset, True)),
                    f"loader, ready crops, {NUM_WORKERS} processes": partial(
                        read_all, build_loader(ready_config, ready, True)
                    ),
                },
                num_rounds,
                clock,
            )
        yield from rows_of("input", times, len(groups), "groups/s", name)
    torch.set_num_threads(threads)


# --- step -------------------------------------------------------------------------------------------------------------


def our_step(
    train_step: TrainStep, meters: EpochMeters, batch: dict, dataset: MultiviewDataset, channels_last: bool = False
) -> torch.Tensor:
    """Run a step of train_one_epoch() on a loader batch."""
    inputs = network_input(batch, dataset.settings, CPU, channels_last)
    result = train_step(inputs)
    meters.update(result.losses, heatmap_hits(result.routed, inputs.target, inputs.weight), len(inputs), 0)
    return result.losses.total


def bench_step(config: Any, root: Path, num_rounds: int, clock: Clock, with_bf16: bool) -> Iterator[Row]:
    """Compare our step with the plain step, which gets precomputed images and targets."""
    config = copy.deepcopy(config)
    config.TRAIN.BATCH_SIZE = STEP_BATCH
    dataset = build_dataset(config, root, True)
    batch = next(iter(build_loader(config, dataset, True)))
    inputs = network_input(batch, dataset.settings, CPU)
    torch.manual_seed(0)
    model = build_model(config, dataset.num_views).train()
    plain = PlainTraining(model, config.TRAIN.LR)
    meters = EpochMeters(len(UNION_20), CPU)
    optimizer = build_optimizer(config.TRAIN, model)
    train_step = TrainStep(model, optimizer, CPU)
    ready = inputs.images.contiguous(), inputs.target, inputs.weight, inputs.is_multiview
    losses: dict[str, list[float]] = {"plain loop": [], "ours": []}
    contestants: Contestants = {
        "plain loop": lambda: losses["plain loop"].append(plain.step(*ready)[0]),
        "ours": lambda: losses["ours"].append(our_step(train_step, meters, batch, dataset)),
    }
    times = take_turns(contestants, num_rounds, clock)
    first, second = (float(values[0]) for values in losses.values())
    if abs(first - second) > LOSS_TOLERANCE * abs(first):
        raise SystemExit(f"the losses of the first step disagree: {first} and {second}")
    yield from rows_of("step", times, STEP_BATCH, "groups/s", "plain loop")
    if with_bf16:
        short = TrainStep(model, optimizer, CPU, autocast=torch.bfloat16)
        bf16 = {"plain loop": times["plain loop"]}
        bf16 |= take_turns({"ours, bfloat16": lambda: our_step(short, meters, batch, dataset)}, STEP_ROUNDS_BF16, clock)
        model.backbone.to(memory_format=torch.channels_last)
        bf16 |= take_turns(
            {"ours, bfloat16, channels last": lambda: our_step(short, meters, batch, dataset, True)},
            STEP_ROUNDS_BF16,
            clock,
        )
        yield from rows_of("step", bf16, STEP_BATCH, "groups/s", "plain loop")[1:]


# --- validation -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def forward_all(model: MultiViewPose, batches: list[torch.Tensor]) -> None:
    """Run the network on precomputed images, the lower bound of validation."""
    for images in batches:
        model(images)


def validate_into(path: Path | None, model: MultiViewPose, loader: DataLoader, config: Any) -> None:
    """Run a pass of valid.py, with or without the HDF5 file."""
    if path is None:
        validate(model, loader, ValidationSettings.from_config(config), CPU)
        return
    dataset = loader.dataset
    names = [UNION_20.names[joint] for joint in union_subset(dataset.joint_set)]
    num_images = len(dataset) * dataset.num_views
    with PredictionWriter(path, num_images, names, config.NETWORK.HEATMAP_SIZE, dataset.num_views) as writer:
        validate(model, loader, ValidationSettings.from_config(config, output="heatmaps"), CPU, writer)


def bench_validation(config: Any, root: Path, num_rounds: int, clock: Clock, num_groups: int) -> Iterator[Row]:
    """Compare validate() with the network only."""
    config = copy.deepcopy(config)
    config.WORKERS = 0 if clock is time.process_time else 1
    dataset = build_dataset(config, root, False)
    (part,) = dataset.parts
    dataset = MultiviewDataset([replace(part, groups=part.groups[:num_groups])], dataset.settings, augment=False)
    loader = build_loader(config, dataset, False)
    model = build_model(config, dataset.num_views).eval()
    ready = [network_images(batch["crops"], CPU) for batch in loader]
    file = root / "predicted_heatmaps.h5"
    times = take_turns(
        {
            "network only": partial(forward_all, model, ready),
            "with heatmaps in HDF5": partial(validate_into, file, model, loader, config),
            "without heatmaps": partial(validate_into, None, model, loader, config),
        },
        num_rounds,
        clock,
    )
    yield from rows_of("validation", times, len(dataset), "groups/s", "network only")


# --- checkpoint -------------------------------------------------------------------------------------------------------


def write_bytes(path: Path, content: memoryview) -> None:
    """Write bytes to a file, the lower bound of a checkpoint."""
    with open(path, "wb") as file:
        file.write(content)


def bench_checkpoint(config: Any, root: Path, num_rounds: int, clock: Clock) -> Iterator[Row]:
    """Compare writing and reading a training state with writing its bytes, and with torch.save and torch.load."""
    model = build_model(config, 4, is_train=True)
    optimizer = build_optimizer(config.TRAIN, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    ours, plain, raw = (root / name for name in ("checkpoint.pth.tar", "plain.pth", "bytes"))

    def save() -> None:
        save_training_state(ours, training_state(config.MODEL, model, optimizer, Progress()))

    def save_plain() -> None:
        torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, plain)

    def load_plain() -> None:
        state = torch.load(plain, weights_only=True)
        model.load_state_dict(state["state_dict"])
        optimizer.load_state_dict(state["optimizer"])

    save()
    size = ours.stat().st_size
    content = memoryview(bytes(ours.stat().st_size))
    writing = take_turns(
        {"bytes only": partial(write_bytes, raw, content), "torch.save": save_plain, "ours, atomic": save},
        num_rounds,
        clock,
    )
    raw.unlink()
    del content
    yield from rows_of(f"checkpoint of {size / 1e9:.2f} GB", writing, size / 1e9, "GB/s", "bytes only")
    reading = take_turns(
        {"torch.load": load_plain, "resume, ours": lambda: load_training_state(ours, config.MODEL, model, optimizer)},
        num_rounds,
        clock,
    )
    yield from rows_of(f"checkpoint of {size / 1e9:.2f} GB", reading, size / 1e9, "GB/s", "torch.load")


SECTIONS = ("loader", "step", "validation", "checkpoint")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; the median is reported (5)")
    parser.add_argument("--groups", type=int, default=48, help="groups of 4 images to load (48)")
    parser.add_argument("--validation-groups", type=int, default=16, help="groups to validate (16)")
    parser.add_argument("--bf16", action="store_true", help="also run the step in bfloat16, even if it is emulated")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections to run")
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU time, with one thread and one process")
    args = parser.parse_args()
    clock: Clock = time.process_time if args.cpu_time else time.perf_counter
    if args.cpu_time:
        torch.set_num_threads(1)
    print(
        describe_machine(("torch", "numpy", "h5py")) + f", {torch.get_num_threads()} threads"
        f"{', CPU time' if args.cpu_time else ''}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        config = make_data(root, max(args.groups, args.validation_groups))
        sections = {
            "loader": lambda: bench_loader(config, root, args.rounds, clock),
            "step": lambda: bench_step(config, root, args.rounds, clock, args.bf16),
            "validation": lambda: bench_validation(config, root, args.rounds, clock, args.validation_groups),
            "checkpoint": lambda: bench_checkpoint(config, root, args.rounds, clock),
        }
        print(markdown_table(["", "ms", "all rounds", "speed", "times the first"], []))
        for name in args.only:
            for row in sections[name]():
                print(f"| {' | '.join(row)} |", flush=True)
    if hasattr(os, "getloadavg"):
        print(f"\nLoad after the run: {os.getloadavg()[0]:.1f} (1 minute).")


if __name__ == "__main__":
    main()
