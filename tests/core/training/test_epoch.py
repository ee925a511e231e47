from __future__ import annotations

import numpy as np
import pytest
import torch
from cvf_tests.forked import run_ranks
from cvf_tests.stubs import CPU, Table, inputs_of

from lib.core.build_model import build_model
from lib.core.evaluation2d.validate import validate
from lib.core.evaluation2d.validation_settings import ValidationSettings
from lib.core.loss import Losses, LossSettings
from lib.core.training.epoch import EpochHooks, EpochMeters, EpochSettings, train_one_epoch
from lib.core.training.optimizer import build_optimizer
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError
from lib.utils.joints import UNION_20

OVERFIT = [
    "DATASET.TRAIN_DATASET",
    "mixed",
    "POSE_RESNET.NUM_DECONV_FILTERS",
    "[64, 64, 64]",
    "DATASET.TEST_SUBSET",
    "train",
    "TEST.JDR_THRESHOLD",
    "crop",
]


def make_step(config, num_views):
    torch.manual_seed(0)
    model = build_model(config, num_views, is_train=True)
    return TrainStep(model, build_optimizer(config.TRAIN, model), CPU)


def table_step(outputs, rate=0.0, **options):
    model = Table(outputs)
    return TrainStep(model, torch.optim.SGD(model.parameters(), lr=rate, fused=True), CPU, **options)


def settings_of(config, loader):
    return EpochSettings(loader.dataset.settings, CPU, config.PRINT_FREQ)


def train(step, loader, config, epoch=0, hooks=None, **words):
    return train_one_epoch(step, loader, EpochMeters(20, CPU), settings_of(config, loader), epoch, hooks, **words)


def zero_loss(loader):
    """Loss of heatmaps that are 0 everywhere, single-view and fused."""
    (inputs,) = inputs_of(loader)
    return 2 * inputs.target.square().mean((0, 3, 4)).sum().item()


def test_train_one_epoch_single_batch_is_learned(loaders):
    config, loader, _ = loaders(resnet=True, num_views=2, frames=1, mpii=2)(*OVERFIT)
    step = make_step(config, 2)
    losses = [train(step, loader, config, epoch)["loss"] for epoch in range(21)]
    assert losses[0] == pytest.approx(zero_loss(loader), rel=0.1)
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.slow
def test_train_one_epoch_single_batch_is_overfitted(loaders):
    config, loader, test_loader = loaders(resnet=True, num_views=2, frames=1, mpii=2)(*OVERFIT)
    step = make_step(config, 2)
    results = [train(step, loader, config, epoch) for epoch in range(120)]
    assert results[-1]["loss"] < 0.1 * zero_loss(loader)
    assert results[-1]["accuracy"] > 0.95
    assert validate(step.model, test_loader, ValidationSettings.from_config(config), CPU).perf > 0.9


def test_train_one_epoch_calls_hooks_at_print_freq(loaders):
    config, loader, _ = loaders(num_views=2, frames=5, mpii=0)("PRINT_FREQ", "2", "TRAIN.BATCH_SIZE", "2")
    step = make_step(config, 2)
    seen = []
    reports = []
    after = []

    def report(number, values, batch, result):
        routed = result.routed
        assert len(batch["crops"]) == len(routed) == len(result.single_view)
        seen.append((number, tuple(routed.shape), routed.requires_grad or result.single_view.requires_grad))
        reports.append((number, values))

    hooks = EpochHooks(report, after.append)
    result = train(step, loader, config, 4, hooks)
    assert seen == [(0, (2, 2, 20, 16, 16), False), (2, (1, 2, 20, 16, 16), False)]  # 5 groups: 2, 2, 1
    assert after == [1, 2, 3]
    assert [number for number, _ in reports] == [0, 2]
    for _, values in reports:
        assert all(np.isfinite(value) for value in values.values())
        assert values["loss"] == pytest.approx(values["loss_routed"] + values["loss_raw"])
        assert values.keys() >= {"accuracy", "groups_per_s", "data_seconds", "memory_mb", "mean_loss", "mean_accuracy"}
    assert reports[1][1]["mean_loss"] == pytest.approx(result["loss"])  # the last report comes after the last step
    assert result.keys() == {"loss", "loss_routed", "loss_raw", "accuracy", "groups_per_s"}
    assert {epoch for batch in loader.batch_sampler for epoch, _ in batch} == {4}
    assert step.model.training


def test_train_one_epoch_report_is_the_mean_since_the_last_one(loaders):
    config, loader, _ = loaders(num_views=2, frames=6, mpii=0)(
        "PRINT_FREQ", "2", "TRAIN.SHUFFLE", "false", "TRAIN.BATCH_SIZE", "1"
    )
    targets = [inputs.target for inputs in inputs_of(loader)]
    losses = [target.square().mean((0, 3, 4)).sum().item() for target in targets]
    reports = []
    hooks = EpochHooks(report=lambda number, values, batch, result: reports.append(values["loss"]))
    train(table_step([(target * 0, None) for target in targets]), loader, config, hooks=hooks)
    assert reports == pytest.approx([losses[0], np.mean(losses[1:3]), np.mean(losses[3:5])])


def test_train_one_epoch_means_are_weighted_by_groups(loaders):
    config, loader, _ = loaders(num_views=2, frames=3, mpii=0)("TRAIN.SHUFFLE", "false")
    targets = [inputs.target for inputs in inputs_of(loader)]  # batches of 2 and 1
    result = train(table_step([(targets[0], None), (targets[1] * 0, None)]), loader, config)
    last = targets[1].square().mean((0, 3, 4)).sum().item()
    assert result["loss"] == pytest.approx(last / 3)
    assert result["accuracy"] == pytest.approx(2 / 3, abs=0.05)  # empty maps have their peak at (0, 0)


@pytest.mark.parametrize(("use_weight", "expected"), [("true", 0.0), ("false", 3.0)])
def test_train_one_epoch_target_weight_follows_the_configuration(loaders, use_weight, expected):
    config, loader, _ = loaders(num_views=2, frames=1, mpii=0)("LOSS.USE_TARGET_WEIGHT", use_weight)
    (inputs,) = inputs_of(loader)
    wrong = inputs.target.clone()
    wrong[:, 0, UNION_20.indices(["thorax", "upper neck", "head top"])] += 1  # not annotated in Human3.6M
    result = train(table_step([(wrong, None)], loss=LossSettings.from_config(config.LOSS)), loader, config)
    assert result["loss"] == pytest.approx(expected)
    assert result["accuracy"] == 1


@pytest.mark.parametrize("print_freq", [1, 100])
def test_train_one_epoch_loss_not_finite_names_the_images(loaders, print_freq):
    config, loader, _ = loaders(num_views=2, frames=5, mpii=0)("TRAIN.SHUFFLE", "false", "PRINT_FREQ", str(print_freq))
    outputs = [(inputs.target.clone() + 0.1, None) for inputs in inputs_of(loader)]
    outputs[1][0][0, 1, 2, 3, 4] = float("inf")
    step = table_step(outputs, rate=0.5)
    with pytest.raises(InputError) as caught:
        train(step, loader, config, 7)
    names = [loader.dataset.image_name(i) for i in (4, 5, 6, 7)]
    assert str(caught.value) == f"epoch 7, step 1: the loss is not finite; images of the batch: {', '.join(names)}"
    assert torch.isfinite(step.model.weight)


def test_train_one_epoch_resumed_equals_the_whole_epoch(loaders):
    config, loader, _ = loaders(num_views=2, frames=7, mpii=0)("TRAIN.BATCH_SIZE", "2")
    whole, parts = make_step(config, 2), make_step(config, 2)
    expected = train(whole, loader, config, 3)
    meters = EpochMeters(20, CPU)

    class Stop(Exception):
        pass

    def stop(number):
        if number == 2:
            raise Stop

    with pytest.raises(Stop):
        train_one_epoch(parts, loader, meters, settings_of(config, loader), 3, EpochHooks(after_step=stop))
    again = EpochMeters(20, CPU)
    again.load_state(meters.state())
    found = train_one_epoch(parts, loader, again, settings_of(config, loader), 3, first_step=2)
    for name in ("loss", "loss_routed", "loss_raw", "accuracy"):
        assert found[name] == expected[name]
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(one, other)


def losses(routed, raw=0.0):
    return Losses(*(torch.tensor(value) for value in (routed + raw, routed, raw)))


def hits(found, counted):
    return torch.tensor([found, counted], dtype=torch.float64)


def test_epoch_meters_means_equal_hand_computed_values():
    meters = EpochMeters(3, CPU)
    meters.update(losses(2.0, 1.0), hits([4, 0, 0], [4, 4, 0]), 4, 0)
    meters.update(losses(5.0, 0.0), hits([0, 1, 0], [1, 1, 0]), 1, 1)
    epoch, window, bad = meters.read()
    assert epoch == window
    assert epoch == pytest.approx(
        {"loss": 17 / 5, "loss_routed": 13 / 5, "loss_raw": 4 / 5, "groups": 5, "accuracy": (4 / 5 + 1 / 5) / 2}
    )
    assert bad == -1
    meters.update(losses(1.0), hits([1, 0, 0], [1, 1, 0]), 1, 2)
    epoch, window, _ = meters.read()
    assert window == pytest.approx({"loss": 1, "loss_routed": 1, "loss_raw": 0, "groups": 1, "accuracy": 0.5})
    assert epoch["loss"] == pytest.approx(18 / 6)


def test_epoch_meters_without_steps_are_zero():
    epoch, window, bad = EpochMeters(3, CPU).read()
    assert epoch == window == dict.fromkeys(epoch, 0.0)
    assert bad == -1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_epoch_meters_keep_the_first_bad_step(value):
    meters = EpochMeters(1, CPU)
    for step, loss in enumerate([1.0, value, 2.0, value]):
        meters.update(losses(loss), hits([0], [1]), 1, step)
    assert meters.read()[2] == 1


def test_epoch_meters_restored_sums_equal_uninterrupted_ones():
    whole, first = EpochMeters(2, CPU), EpochMeters(2, CPU)
    for step in range(4):
        for meters in (whole, first) if step < 2 else (whole,):
            meters.update(losses(0.1 * step, 0.3), hits([step, 1], [4, 4]), step + 1, step)
    second = EpochMeters(2, CPU)
    second.load_state(first.state())
    for step in (2, 3):
        second.update(losses(0.1 * step, 0.3), hits([step, 1], [4, 4]), step + 1, step)
    assert second.read()[0] == whole.read()[0]


TWO_PROCESSES = """
import sys, torch
from lib.core.training.epoch import EpochMeters
from lib.core.loss import Losses
from lib.utils.parallel.distributed import process_group
from lib.utils.parallel.ranks import ranks_from_environment

ranks, cpu = ranks_from_environment(), torch.device("cpu")
with process_group(ranks, cpu):
    meters = EpochMeters(1, cpu)
    print(meters.read()[2])
    for step in range(3):
        value = torch.tensor(float("nan") if (ranks.rank, step) in ((1, 1), (0, 2)) else 1.0)
        meters.update(Losses(value, value, value), torch.ones(2, 1, dtype=torch.float64), 1, step)
    print(meters.read()[2])
"""


def test_epoch_meters_bad_step_is_shared_by_all_ranks(tmp_path):
    script = tmp_path / "meters.py"
    script.write_text(TWO_PROCESSES)
    assert [out.split() for out in run_ranks(2, script, folder=tmp_path)] == [["-1", "1"], ["-1", "1"]]
