"""Sections "input", "validation" and "checkpoint" of bench_gpu.py: what happens around the training step."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from gpu_harness import Bench

from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.evaluation2d.validate import validate
from lib.core.evaluation2d.validation_settings import ValidationSettings
from lib.core.training.checkpoint import CheckpointKeeper, Progress
from lib.core.training.optimizer import build_optimizer
from lib.core.training.step import TrainStep
from lib.dataset.annotations import Annotations
from lib.dataset.groups import Part
from lib.dataset.loader import BatchLoader, EpochBatches
from lib.dataset.multiview_dataset import MultiviewDataset
from lib.dataset.network_input import crop_cameras, network_images, network_input
from lib.dataset.sample import SampleSettings, read_crops
from lib.dataset.storage.crop_cache import CropFile, open_caches, write_crops
from lib.utils.files.prediction_file import PredictionWriter
from lib.utils.joints import H36M_17, UNION_20, union_subset
from lib.utils.transforms import SCALE_UNIT_PX, get_affine_transform

CFG = Path(__file__).resolve().parents[1] / "experiments-local/mixed/resnet50/256_fusion.yaml"
OPTS = (
    *("NETWORK.PRETRAINED", "", "NETWORK.INIT", "kaiming", "NETWORK.FUSION_INIT", "zeros"),
    *("DATASET.DATA_FORMAT", "jpg", "TRAIN.AMP", "off"),
)
TINY_OPTS = (
    *("NETWORK.IMAGE_SIZE", "64", "NETWORK.HEATMAP_SIZE", "16", "POSE_RESNET.NUM_LAYERS", "18"),
    *("POSE_RESNET.NUM_DECONV_FILTERS", "[8, 8, 8]"),
)
NUM_VIEWS = 4
EPOCH_GROUPS = 200_000  # more than a measurement needs


@dataclass(frozen=True)
class InputSizes:
    """Sizes of the measurements."""

    num_groups: int = 64  # different groups; an epoch repeats them
    side_px: int = 1000  # of an image, as in Human3.6M
    batch: int = 32  # groups
    seconds: float = 2.0  # of a measurement of the loader
    validation_batches: int = 12


TINY = InputSizes(num_groups=4, side_px=200, batch=2, seconds=0.2, validation_batches=2)


def _config(bench: Bench) -> Any:
    return load_config(CFG, [*OPTS, *(TINY_OPTS if bench.is_tiny else ())])


def _annotations(folder: Path, sizes: InputSizes) -> Annotations:
    """Write JPEGs of smooth noise with grain and return annotations of boxes of 60 % of their side."""
    rng = np.random.default_rng(0)
    num_images = sizes.num_groups * NUM_VIEWS
    names = [f"{number:05d}.jpg" for number in range(num_images)]
    (folder / "images").mkdir(parents=True)
    for name in names:
        smooth = cv2.resize(rng.integers(0, 256, (40, 40, 3), np.uint8), (sizes.side_px,) * 2)
        grain = rng.integers(0, 12, (sizes.side_px, sizes.side_px, 1), np.uint8)
        cv2.imwrite(str(folder / "images" / name), cv2.add(smooth, np.repeat(grain, 3, 2)))
    joints = rng.uniform(0.3, 0.7, (num_images, len(UNION_20), 2)) * sizes.side_px
    return Annotations(
        source="bench",
        joint_set=H36M_17,
        images_dir=folder / "images",
        image=np.array([name.encode() for name in names]),
        joints_img=joints.astype(np.float32),
        visible=np.ones((num_images, len(UNION_20)), bool),
        center=np.full((num_images, 2), sizes.side_px / 2, np.float32),
        scale=np.full((num_images, 2), 0.6 * sizes.side_px / SCALE_UNIT_PX, np.float32),
    )


def _part(annotations: Annotations, num_groups: int) -> Part:
    """Return groups of 4 images, repeated up to a number."""
    groups = np.arange(len(annotations)).reshape(-1, NUM_VIEWS)
    return Part(annotations, np.resize(groups, (num_groups, NUM_VIEWS)), is_multiview=True)


def _rate(
    batches: Iterator[dict[str, torch.Tensor]], use: Callable[[dict], Any], bench: Bench, seconds: float
) -> float:
    """Return the groups per second that a loader feeds, after its first batch."""
    use(next(batches))
    bench.synchronize()
    start = time.perf_counter()
    count = 0
    while (elapsed := time.perf_counter() - start) < seconds:
        batch = next(batches)
        use(batch)
        count += len(batch["crops"])
    bench.synchronize()
    return count / elapsed


def bench_input(bench: Bench) -> None:
    """Measure the loader by number of workers: images and ready crops, alone and with network input on the device."""
    sizes = TINY if bench.is_tiny else InputSizes()
    settings = SampleSettings.from_config(_config(bench))
    with tempfile.TemporaryDirectory() as name:
        annotations = _annotations(Path(name), sizes)
        part = _part(annotations, EPOCH_GROUPS)
        start = time.perf_counter()
        write_crops(CropFile.of_part(Path(name) / "crops", _part(annotations, sizes.num_groups), settings), 1)
        seconds = time.perf_counter() - start
        cores = os.cpu_count() or 1
        bench.record("input", "write ready crops, one process", groups_per_s=sizes.num_groups / seconds)
        bench.record("input", "decode and warp alone, one process", groups_per_s=_decoding_rate(annotations, settings))
        caches = open_caches(Path(name) / "crops", [part], settings)
        for kind, of_parts in (("images", ()), ("ready crops", caches)):
            dataset = MultiviewDataset([part], settings, augment=False, caches=of_parts)
            for workers in sorted({0, 1, 4, max(1, cores - 2)} & set(range(cores + 1))):
                for what, use in (
                    ("loader", lambda batch: None),
                    ("network input", lambda batch: network_input(batch, settings, bench.device)),
                ):
                    loader = BatchLoader(dataset, EpochBatches(len(dataset), sizes.batch, shuffle=False), workers)
                    batches = iter(loader)
                    rate = _rate(batches, use, bench, sizes.seconds)
                    bench.record("input", f"{kind}, {what}", workers=workers, groups_per_s=rate)
                    batches.close()


def _decoding_rate(annotations: Annotations, settings: SampleSettings) -> float:
    names = [annotations.image_name(row) for row in range(len(annotations))]
    matrix = get_affine_transform(annotations.center, annotations.scale, 0.0, settings.image_wh)
    crops = np.empty((len(names), *settings.image_wh[::-1], 3), np.uint8)
    start = time.perf_counter()
    read_crops(annotations.images_dir, names, matrix, settings, crops)
    return len(names) / NUM_VIEWS / (time.perf_counter() - start)


def bench_validation(bench: Bench) -> None:
    """Compare validate() on ready crops, with and without a file of heatmaps, with the network alone."""
    sizes = TINY if bench.is_tiny else InputSizes()
    config = _config(bench)
    settings = SampleSettings.from_config(config)
    model = build_model(config, NUM_VIEWS).to(bench.device).eval()
    num_groups = sizes.validation_batches * sizes.batch
    with tempfile.TemporaryDirectory() as name:
        part = _part(_annotations(Path(name), sizes), num_groups)
        write_crops(CropFile.of_part(Path(name) / "crops", part, settings), 1)
        caches = open_caches(Path(name) / "crops", [part], settings)
        dataset = MultiviewDataset([part], settings, augment=False, caches=caches)
        loader = BatchLoader(dataset, EpochBatches(num_groups, sizes.batch, shuffle=False), 1)
        batch = next(iter(loader))
        images, views = network_images(batch["crops"], bench.device), crop_cameras(batch, bench.device)
        with torch.no_grad():
            network = bench.milliseconds(lambda: model(images, views)) * sizes.validation_batches

        def run(output: str) -> None:
            if output == "nothing":
                validate(model, loader, ValidationSettings.from_config(config), bench.device)
                return
            names = [UNION_20.names[joint] for joint in union_subset(H36M_17)]
            size = settings.heatmap_wh
            with PredictionWriter(Path(name) / "p.h5", num_groups * NUM_VIEWS, names, size, NUM_VIEWS) as writer:
                validate(model, loader, ValidationSettings.from_config(config, output=output), bench.device, writer)

        whole = {"without a file": "nothing", "heatmaps into HDF5": "heatmaps"}
        times = {what: bench.milliseconds(lambda o=output: run(o), 1, 1) for what, output in whole.items()}
    for what, milliseconds in {"network alone": network, **times}.items():
        rate = 1e3 * num_groups / milliseconds
        bench.record("validation", what, ms=milliseconds, groups_per_s=rate, times_network=milliseconds / network)


def bench_checkpoint(bench: Bench) -> None:
    """Measure for how long a checkpoint stops the training, and when its file is complete."""
    config = _config(bench)
    model = build_model(config, NUM_VIEWS, is_train=True).to(bench.device)
    optimizer = build_optimizer(config.TRAIN, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    step = TrainStep(model, optimizer, bench.device)
    with tempfile.TemporaryDirectory() as name:
        for kind, in_background in (("in the background", True), ("in the foreground", False)):
            with CheckpointKeeper(Path(name), config.MODEL, in_background=in_background) as keeper:
                for which in ("first", "second", "third"):  # the first one allocates pinned memory
                    stall, written = _save(keeper, step, bench)
                    size = sum(file.stat().st_size for file in Path(name).iterdir()) / 1e9
                    bench.record("checkpoint", f"{which}, {kind}", stall_s=stall, written_s=written, gb=size)
                keeper.save(step, model, Progress())  # as at an epoch's end, with a validation in between
                stall, written = _save(keeper, step, bench, is_unchanged=True)
                bench.record(
                    "checkpoint", f"while the same weights are written, {kind}", stall_s=stall, written_s=written
                )


def _save(keeper: CheckpointKeeper, step: TrainStep, bench: Bench, is_unchanged: bool = False) -> tuple[float, float]:
    """Return the seconds until training can continue and until the file is complete."""
    bench.synchronize()
    start = time.perf_counter()
    keeper.save(step, step.model, Progress(), is_unchanged=is_unchanged)
    bench.synchronize()
    stall = time.perf_counter() - start
    keeper.wait()
    return stall, time.perf_counter() - start
