"""One epoch of training: the loop over batches, its running sums, log lines and hooks."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from lib.core.evaluation2d.metrics_2d import heatmap_accuracy, heatmap_hits
from lib.core.loss import Losses
from lib.core.training.step import StepResult, TrainStep
from lib.dataset.network_input import network_input
from lib.dataset.sample import SampleSettings
from lib.utils.errors import InputError
from lib.utils.memory import peak_memory_mb
from lib.utils.parallel.distributed import min_over_ranks, sum_over_ranks
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)

_LOSSES = ("loss", "loss_routed", "loss_raw")  # names in metrics.jsonl and checkpoints; raw = single-view
_NEVER = 2**53 - 1  # later than any step, and exact in float64
_REPORT = (
    "%(place)s: loss %(loss).5f (%(mean_loss).5f) peak accuracy %(accuracy).3f (%(mean_accuracy).3f) | "
    "%(groups_per_s).1f groups/s, %(percent).0f %% waiting for data"
)


@dataclass(frozen=True)
class EpochSettings:
    """Settings of the epoch loop.

    Attributes:
        sample: sizes and targets of the training data.
        device: device of the model.
        print_freq: steps between two reports.
        channels_last: memory format of the images.
    """

    sample: SampleSettings
    device: torch.device
    print_freq: int = 100
    channels_last: bool = False


@dataclass
class EpochHooks:
    """Optional callbacks of the epoch loop.

    Attributes:
        report: every print_freq steps on rank 0: (step, values since the last report and of the epoch, batch, result).
        after_step: after every step on all ranks: (next step). It may raise to end the epoch.
    """

    report: Callable[[int, dict[str, float], dict[str, Tensor], StepResult], None] | None = None
    after_step: Callable[[int], None] | None = None


class EpochMeters:
    """Sums over an epoch and since the last report: losses weighted by groups, and heatmap hits.

    The sums stay on the device. Reading them makes the CPU wait for the GPU, so they are read rarely. All ranks must
    call read(), bad_step() and state() at the same step.
    """

    def __init__(self, num_joints: int, device: torch.device) -> None:
        self._sums = torch.zeros(2, len(_LOSSES) + 1, dtype=torch.float64, device=device)  # rows: epoch, last report
        self._hits = torch.zeros(2, 2, num_joints, dtype=torch.float64, device=device)
        self._first_bad_step = torch.full((1,), _NEVER, dtype=torch.int64, device=device)

    def update(self, losses: Losses, hits: Tensor, num_groups: int, step: int) -> None:
        """Add a step without reading from the device.

        Args:
            losses: means over the groups of this rank.
            hits: (2, J) of heatmap_hits().
            num_groups: groups of this rank.
            step: index of the step in the epoch.
        """
        self._sums += torch.stack([*losses, torch.ones_like(losses.total)]).double() * num_groups
        self._hits += hits
        is_first_bad = ~torch.isfinite(losses.total) & (self._first_bad_step == _NEVER)
        self._first_bad_step = torch.where(is_first_bad, step, self._first_bad_step)

    def bad_step(self) -> int:
        """Return the first step in which the loss of any rank was not finite, or -1."""
        return _step_or_minus_one(min_over_ranks(self._first_bad_step.clone()).item())

    def read(self) -> tuple[dict[str, float], dict[str, float], int]:
        """Read the sums over all ranks and restart the sums of the report.

        Returns:
            Means over the epoch, means since the last report (loss, loss_routed, loss_raw, accuracy, groups), and
            bad_step().
        """
        sums = sum_over_ranks(self._sums.clone())
        hits = sum_over_ranks(self._hits.clone())
        bad = min_over_ranks(self._first_bad_step.clone())
        means = sums[:, :-1] / sums[:, -1:].clamp(min=1)
        accuracy = torch.stack([heatmap_accuracy(part) for part in hits])
        everything = torch.cat([means, accuracy[:, None], sums[:, -1:]], 1)  # (2, 5)
        *values, bad_step = torch.cat([everything.flatten(), bad.double()]).tolist()
        self._sums[1] = 0
        self._hits[1] = 0
        names = (*_LOSSES, "accuracy", "groups")
        epoch, window = (dict(zip(names, values[i : i + 5], strict=True)) for i in (0, 5))
        return epoch, window, _step_or_minus_one(bad_step)

    def state(self) -> dict[str, Tensor]:
        """Return the sums of the epoch over all ranks, for a checkpoint."""
        sums = {"sums": self._sums[0], "hits": self._hits[0]}
        return {name: sum_over_ranks(values.clone()).cpu() for name, values in sums.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore the sums of a checkpoint. Call it on one rank only: they are the sums of all ranks."""
        self._sums[0] = state["sums"].to(self._sums)
        self._hits[0] = state["hits"].to(self._hits)


def _step_or_minus_one(first_bad: float) -> int:
    return -1 if first_bad == _NEVER else int(first_bad)


def train_one_epoch(
    train_step: TrainStep,
    loader: DataLoader,
    meters: EpochMeters,
    settings: EpochSettings,
    epoch: int,
    hooks: EpochHooks | None = None,
    first_step: int = 0,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, float]:
    """Train on every batch of an epoch once.

    Args:
        train_step: updates the model; its learning rate is already set.
        loader: loader of build_loader().
        meters: sums of the epoch; when resuming, with the sums of the steps before `first_step`.
        settings: see EpochSettings.
        epoch: index of the epoch, from 0.
        hooks: optional callbacks.
        first_step: step to start from.
        ranks: this process among the ones that train together.

    Returns:
        Means over the groups of the epoch: loss, loss_routed, loss_raw, accuracy. If a step was made, also
        groups_per_s: speed of this call, over all ranks.

    Raises:
        InputError: a loss is not finite; names the images of the batch.
    """
    hooks = hooks or EpochHooks()
    train_step.model.train()
    batches = loader.batch_sampler
    batches.set_epoch(epoch, first_step)
    start = time.perf_counter()
    report_start = start
    step_end = start
    waiting = 0.0
    bar = tqdm(
        loader,
        desc=f"epoch {epoch}",
        unit="batch",
        initial=first_step,
        total=len(batches),
        leave=False,
        disable=None if ranks.is_main else True,
    )
    for step, batch in enumerate(bar, first_step):
        waiting += time.perf_counter() - step_end
        shares = batches.shares(step)
        inputs = network_input(batch, settings.sample, settings.device, settings.channels_last)
        result = train_step(inputs, shares[ranks.rank] * ranks.world_size / sum(shares))
        hits = heatmap_hits(result.routed, inputs.target, inputs.weight)
        meters.update(result.losses, hits, len(inputs), step)
        if step % settings.print_freq == 0:
            epoch_means, values, bad_step = meters.read()
            check_finite(loader, epoch, bad_step)
            seconds = max(time.perf_counter() - report_start, 1e-9)
            values |= {
                "groups_per_s": values.pop("groups") / seconds,
                "mean_loss": epoch_means["loss"],
                "mean_accuracy": epoch_means["accuracy"],
                "data_seconds": waiting,
                "data_share": waiting / seconds,
                "memory_mb": peak_memory_mb(settings.device),
            }
            report_start = time.perf_counter()
            waiting = 0.0
            if ranks.is_main:
                place = f"epoch {epoch} step {step}/{len(batches)}"
                logger.info(_REPORT, {**values, "place": place, "percent": 100 * values["data_share"]})
                if hooks.report is not None:
                    hooks.report(step, values, batch, result)
                bar.set_postfix(loss=f"{values['loss']:.4f}", accuracy=f"{values['accuracy']:.3f}")
        if hooks.after_step is not None:
            hooks.after_step(step + 1)
        step_end = time.perf_counter()
    means, _, bad_step = meters.read()
    check_finite(loader, epoch, bad_step)
    del means["groups"]
    num_groups = batches.items_before(len(batches)) - batches.items_before(first_step)
    if num_groups:
        means["groups_per_s"] = num_groups / max(time.perf_counter() - start, 1e-9)
    return means


def check_finite(loader: DataLoader, epoch: int, bad_step: int) -> None:
    """Raise an InputError that names the images of `bad_step` (see EpochMeters.bad_step()), unless it is -1."""
    if bad_step < 0:
        return
    batches = loader.batch_sampler
    dataset = loader.dataset
    items = batches.batch(batches.order(), bad_step)
    names = ", ".join(dataset.image_name(int(image)) for item in items for image in dataset.images_of(epoch, int(item)))
    raise InputError(f"epoch {epoch}, step {bad_step}: the loss is not finite; images of the batch: {names}")
