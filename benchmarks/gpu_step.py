"""Section "step" of bench_gpu.py: the training step and its parts, with floors and ratios."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cvf_tests.operations import OperationCounter
from gpu_harness import Bench
from plain_training import PlainTraining
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.evaluation2d.metrics_2d import heatmap_hits
from lib.core.runtime.device import autocast_dtype, prepare_model, uses_channels_last
from lib.core.training.epoch import EpochMeters
from lib.core.training.optimizer import build_optimizer
from lib.core.training.step import TrainStep
from lib.dataset.network_input import network_input
from lib.dataset.sample import SampleSettings
from lib.models.training_pass import one_pass_norms, train_all_views
from lib.utils.joints import UNION_20
from lib.utils.parallel.ranks import SINGLE_PROCESS

CFG = Path(__file__).resolve().parents[1] / "experiments-local/mixed/resnet50/256_fusion.yaml"
OPTS = ["NETWORK.PRETRAINED", "", "NETWORK.INIT", "kaiming", "NETWORK.FUSION_INIT", "zeros"]
TINY = ["NETWORK.IMAGE_SIZE", "64", "NETWORK.HEATMAP_SIZE", "16", "POSE_RESNET.NUM_LAYERS", "18"]
TINY += ["POSE_RESNET.NUM_DECONV_FILTERS", "[8, 8, 8]"]
VIEWS = 4
GROUPS = (8, 32)
WARM_UP = 4
# The floor of a bf16 step on an H200: products at 500 TFLOP/s, weights at 4.8 TB/s.
FLOP_PER_IMAGE = 72e9  # ResNet-50, 256 px, forward and backward
FLOP_PER_S = 500e12
ADAM_BYTES = 28  # per weight: reads weight, gradient and two moments, writes three of them
FUSION_BYTES = 24  # per weight: three passes in bf16, each after reading float32 or before writing it
BYTES_PER_S = 4.8e12
# name -> (keys, groups per step)
STEPS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "fp32": ((), GROUPS),
    "fp32, TF32 all": (("TRAIN.TF32", "all"), GROUPS),
    "bf16": (("TRAIN.AMP", "bf16"), GROUPS),
    "bf16, COMPILE false": (("TRAIN.AMP", "bf16", "TRAIN.COMPILE", "false"), GROUPS),
}


class Step:
    """One training step as train.py makes it, from a batch in pinned memory, without a loader."""

    def __init__(self, bench: Bench, groups: int, opts: tuple[str, ...]) -> None:
        """
        Args:
            bench: device and size.
            groups: groups per step.
            opts: KEY VALUE pairs.
        """
        tiny = TINY if bench.is_tiny else []
        self.config = load_config(CFG, [*OPTS, *tiny, "TRAIN.BATCH_SIZE", str(groups), *opts])
        self.device = bench.device
        torch.manual_seed(0)
        self.model = build_model(self.config, VIEWS, is_train=True).train()
        self.channels_last = uses_channels_last(self.config.TRAIN, self.device)
        wrapped = prepare_model(self.model, self.config.TRAIN, self.device, SINGLE_PROCESS)
        self.autocast = autocast_dtype(self.config.TRAIN.AMP, self.device)
        self.optimizer = build_optimizer(self.config.TRAIN, self.model)
        self.step = TrainStep(wrapped, self.optimizer, self.device, autocast=self.autocast)
        self.meters = EpochMeters(len(UNION_20), self.device)
        self.settings = SampleSettings.from_config(self.config)
        self.batch = {
            name: value.pin_memory() if self.device.type == "cuda" else value
            for name, value in make_batch(groups, self.settings.image_wh).items()
        }

    def inputs(self) -> Any:
        """Return the NetworkInput of the batch."""
        return network_input(self.batch, self.settings, self.device, self.channels_last)

    def __call__(self) -> None:
        inputs = self.inputs()
        result = self.step(inputs)
        self.meters.update(result.losses, heatmap_hits(result.routed, inputs.target, inputs.weight), len(inputs), 0)


def make_batch(groups: int, image_wh: tuple[int, int]) -> dict[str, Tensor]:
    """Return a batch of random values with the keys of the loader that network_input() reads."""
    width, height = image_wh
    shape = (groups, VIEWS)
    joints = len(UNION_20)
    return {
        "crops": torch.randint(256, (*shape, height, width, 3), dtype=torch.uint8),
        "joints_crop": torch.rand(*shape, joints, 2) * torch.tensor(image_wh),
        "visible": torch.ones(*shape, joints, dtype=torch.bool),
        "is_multiview": torch.ones(groups, dtype=torch.bool),
        "image_to_heatmap": torch.eye(2, 3).repeat(*shape, 1, 1),
        "camera_R": torch.eye(3).repeat(*shape, 1, 1),
        **{
            f"camera_{name}": torch.ones(*shape, size)
            for name, size in {"T": 3, "f": 2, "c": 2, "k": 3, "p": 2}.items()
        },
    }


def bench_step(bench: Bench) -> None:
    """Measure the training step of ResNet-50 with learned fusion, and its parts alone."""
    groups = (2,) if bench.is_tiny else GROUPS
    _release(bench)
    _plain_loop(bench, groups[0])
    _release(bench)
    for name, (opts, sizes) in STEPS.items():
        for size in groups if bench.is_tiny else sizes:
            _whole_step(bench, name, size, opts)
            _release(bench)
    for size in groups:
        _parts(bench, size)
        _release(bench)


def _plain_loop(bench: Bench, groups: int) -> None:
    step = Step(bench, groups, ("TRAIN.COMPILE", "false"))
    plain = PlainTraining(step.model, step.config.TRAIN.LR)
    inputs = step.inputs()
    ready = inputs.images.contiguous(), inputs.target, inputs.weight, inputs.is_multiview
    step.optimizer.zero_grad(set_to_none=True)
    milliseconds = bench.milliseconds(lambda: plain.step(*ready), repeats=5)
    _record(bench, "plain loop, fp32", groups, milliseconds)


def _whole_step(bench: Bench, name: str, groups: int, opts: tuple[str, ...]) -> None:
    step = Step(bench, groups, opts)
    start = time.perf_counter()
    for _ in range(1 if bench.is_tiny else WARM_UP):
        step()
    bench.synchronize()
    warm_up = time.perf_counter() - start
    milliseconds = bench.milliseconds(step, repeats=20, warm_up=0)
    values = {"floor_ms": _floor(step.model, groups), "warm_up_s": warm_up, **_launches(bench, step)}
    if bench.device.type == "cuda":
        values["peak_gib"] = torch.cuda.max_memory_allocated(bench.device) / 2**30
        values["reserved_gib"] = torch.cuda.max_memory_reserved(bench.device) / 2**30
    _record(bench, name, groups, milliseconds, **values)


def _parts(bench: Bench, groups: int) -> None:
    """Measure backbone, fusion and optimizer alone in bf16, and the whole step as a multiple of their sum."""
    step = Step(bench, groups, ("TRAIN.AMP", "bf16"))
    model = step.model
    whole = bench.milliseconds(step, repeats=20, warm_up=WARM_UP)
    inputs = step.inputs()
    images = inputs.images.transpose(0, 1).flatten(0, 1)
    weights = list(model.backbone.parameters())
    norms = one_pass_norms(model.backbone)

    def products() -> Any:
        return torch.autocast(bench.device.type, step.autocast, enabled=step.autocast is not None)

    with torch.no_grad():
        heatmaps = torch.rand_like(inputs.target)

    def backbone() -> None:
        with products():
            output = train_all_views(model.backbone, norms, images, VIEWS, model.compiled)
        torch.autograd.grad(output.float().square().mean(), weights)

    def fusion() -> None:
        source = heatmaps.requires_grad_()
        with products():
            output = model.fusion(source)
        torch.autograd.grad(output.float().square().mean(), [source, model.fusion.weight])

    parts: dict[str, Callable[[], Any]] = {"backbone, one pass": backbone, "fusion": fusion}
    times = {name: bench.milliseconds(work) for name, work in parts.items()}
    step()  # its gradients stay for the optimizer; another pass would overwrite them
    times["fused Adam"] = bench.milliseconds(step.optimizer.step)
    for name, milliseconds in times.items():
        _record(bench, f"part: {name}, bf16", groups, milliseconds)
    total = sum(times.values())
    _record(bench, "sum of the parts", groups, total)
    _record(bench, "bf16 step, times the sum of the parts", groups, whole, ratio=whole / total)


def _record(bench: Bench, name: str, groups: int, milliseconds: float, **values: Any) -> None:
    speed = 1e3 * groups / milliseconds
    if "floor_ms" in values:
        values["times_floor"] = milliseconds / values["floor_ms"]
    bench.record("step", name, groups=groups, ms=milliseconds, groups_per_s=speed, **values)


def _floor(model: torch.nn.Module, groups: int) -> float:
    """Return the floor of a bf16 step on an H200 in ms, for ResNet-50 at 256 px."""
    weights = sum(weight.numel() for weight in model.parameters())
    moved = ADAM_BYTES * weights + FUSION_BYTES * model.fusion.weight.numel()
    return 1e3 * (groups * VIEWS * FLOP_PER_IMAGE / FLOP_PER_S + moved / BYTES_PER_S)


def _launches(bench: Bench, step: Callable[[], None]) -> dict[str, float]:
    """Return launches per step and time of the GPU; on a CPU, the operations that would start kernels."""
    if bench.device.type != "cuda":
        with OperationCounter() as counter:
            step()
        return {"operations": counter.count}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")  # the CPU should never wait for the GPU
        step()
        torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchroniz" in str(warning.message) for warning in caught)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        step()
        bench.synchronize()
    averages = profiler.key_averages()
    launches = sum(entry.count for entry in averages if "Launch" in entry.key and entry.key.startswith("cu"))
    # The time of a kernel is also that of the operation that launched it, so only the kernels are summed.
    kernels = [entry for entry in averages if entry.device_type != DeviceType.CPU and not entry.is_user_annotation]
    device_ms = sum(entry.self_device_time_total for entry in kernels) / 1e3
    return {"launches": launches, "device_ms": device_ms, "waits": waits}


def _release(bench: Bench) -> None:
    """Free the previous step's memory and compiled code."""
    torch._dynamo.reset()
    gc.collect()
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(bench.device)
