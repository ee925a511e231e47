from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal

import pytest
import torch
from cvf_tests.stubs import CPU

from lib.core.build_data import build_dataset
from lib.core.build_model import build_fusion, build_model
from lib.core.config_io import plain_config
from lib.core.training.checkpoint import CheckpointKeeper, Progress
from lib.core.training.epoch import EpochSettings
from lib.core.training.loop import Training, check_training
from lib.core.training.optimizer import build_optimizer
from lib.core.training.resume import resume
from lib.core.training.step import TrainStep
from lib.dataset.fingerprint import data_fingerprint
from lib.utils.errors import InputError, Interrupted
from lib.utils.parallel.ranks import SINGLE_PROCESS


class WatchedStep(TrainStep):
    """Step that calls at(number of the call, inputs) -> inputs first."""

    number = 0
    at = staticmethod(lambda number, inputs: inputs)

    def __call__(self, inputs, share=1.0):
        inputs = self.at(self.number, inputs)
        self.number += 1
        return super().__call__(inputs, share)


def keeper_in_background(*words, in_background):
    return CheckpointKeeper(*words, in_background=True)


@pytest.fixture(params=["foreground", "background"])
def training(loaders, tmp_path, monkeypatch, request):
    """training(*opts, at=..., again=False) makes a training of 5 groups; `again` resumes."""
    if request.param == "background":  # as on CUDA
        monkeypatch.setattr("lib.core.training.loop.CheckpointKeeper", keeper_in_background)
    with_opts = loaders(num_views=2, frames=5, mpii=0)
    directory = tmp_path / "output/run"
    directory.mkdir(parents=True)
    monkeypatch.setattr("lib.core.training.loop.save_curves", lambda *words, **options: None)

    def make(*opts, at=None, again=False, max_steps=None):
        config, *both = with_opts("TRAIN.BATCH_SIZE", "1", "TRAIN.END_EPOCH", "1", *opts)
        torch.manual_seed(0)
        model = build_model(config, 2, is_train=True)
        step = WatchedStep(model, build_optimizer(config.TRAIN, model), CPU)
        step.at = at or step.at
        data = data_fingerprint(both[0].dataset)
        progress = Progress(data=data)
        if again:
            path = directory / "checkpoint.pth.tar"
            batches = both[0].batch_sampler
            progress = resume(path, config.MODEL, directory, model, step, batches, data, plain_config(config))
        settings = EpochSettings(both[0].dataset.settings, CPU, config.PRINT_FREQ)
        return Training(config, directory, model, step, both, progress, settings, SINGLE_PROCESS, max_steps)

    make.directory = directory
    return make


def state_of(directory):
    return torch.load(directory / "checkpoint.pth.tar", weights_only=True)


def metrics(directory, kind):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def corrupt(at):
    """Make the inputs of one step not finite; batch norm keeps them in its statistics."""
    factors = {at: float("nan")}
    return lambda number, inputs: dataclasses.replace(inputs, images=inputs.images * factors.get(number, 1))


def test_training_loss_not_finite_keeps_the_last_checkpoint(training):
    with pytest.raises(InputError, match="epoch 0, step 2: the loss is not finite; images of the batch: s_01"):
        training("TRAIN.CHECKPOINT_STEPS", "1", at=corrupt(2)).run()
    state = state_of(training.directory)
    assert state["step"] == 2
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values())
    assert torch.isfinite(state["meters"]["sums"]).all()


def test_training_signal_after_loss_not_finite_writes_nothing(training):
    def at(number, inputs):
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return corrupt(1)(number, inputs)

    with pytest.raises(InputError, match="epoch 0, step 1: the loss is not finite"):
        training(at=at).run()
    assert not (training.directory / "checkpoint.pth.tar").exists()


def refuse(*words, **options):
    raise InputError("an image of the test set is missing")


def test_training_failing_validation_keeps_the_epoch(training, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lib.core.training.loop.validate", refuse)
        with pytest.raises(InputError, match="of the test set"):
            training().run()
    assert state_of(training.directory)["step"] == 5
    again = training(again=True, at=refuse)
    again.run()  # validates without training
    state = state_of(training.directory)
    assert (state["epoch"], state["step"]) == (1, 0)
    (row,) = state["history"]
    assert row["loss"] > 0
    assert row["jdr"] >= 0
    assert "groups_per_s" not in row  # no step was made
    assert "groups_per_s" not in metrics(training.directory, "epoch")[0]


def test_training_epoch_logged_but_not_saved_is_logged_once(training, monkeypatch):
    """A kill between logging and saving; the checkpoint was written before the validation."""
    save = CheckpointKeeper.save
    calls = []

    def once(self, *words):
        calls.append(words)
        if len(calls) == 2:
            raise InputError("no space left")
        save(self, *words)

    monkeypatch.setattr(CheckpointKeeper, "save", once)
    with pytest.raises(InputError, match="no space left"):
        training().run()
    training(again=True, at=refuse).run()
    assert [line["step"] for line in metrics(training.directory, "epoch")] == [5]


def test_training_keeps_one_checkpoint_per_epoch(training):
    training("TRAIN.END_EPOCH", "2", "TRAIN.KEEP_CHECKPOINTS", "5").run()
    names = sorted(path.name for path in training.directory.glob("checkpoint_*"))
    assert names == ["checkpoint_0001_000000.pth.tar", "checkpoint_0002_000000.pth.tar"]


def interrupt(at):
    def send(number, inputs):
        if number == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return inputs

    return send


def test_training_resumed_with_another_batch_size_continues_after_the_groups_done(training):
    """metrics.jsonl keeps its lines; steps are counted as they were made."""
    seen = []

    def note(number, inputs):
        seen.append(len(inputs))
        return inputs

    with pytest.raises(Interrupted, match="interrupted at epoch 1, step 3;"):
        training("TRAIN.END_EPOCH", "2", "PRINT_FREQ", "1", at=interrupt(7)).run()
    assert state_of(training.directory)["groups"] == 3
    with pytest.raises(Interrupted, match="interrupted at epoch 2, step 1;"):
        training("TRAIN.END_EPOCH", "3", "PRINT_FREQ", "1", "TRAIN.BATCH_SIZE", "3", at=interrupt(1), again=True).run()
    training("TRAIN.END_EPOCH", "3", "PRINT_FREQ", "1", "TRAIN.BATCH_SIZE", "1", at=note, again=True).run()
    assert seen == [1, 1]
    assert [line["step"] for line in metrics(training.directory, "train")] == list(range(1, 13))
    assert [line["step"] for line in metrics(training.directory, "epoch")] == [5, 9, 12]
    assert [line["epoch"] for line in metrics(training.directory, "epoch")] == [0, 1, 2]


def test_training_resumed_within_a_batch_repeats_groups_and_warns(training, caplog):
    with pytest.raises(Interrupted):
        training(at=interrupt(2)).run()
    sizes = []

    def note(number, inputs):
        sizes.append(len(inputs))
        return inputs

    training("TRAIN.BATCH_SIZE", "2", at=note, again=True).run()
    assert sizes == [2, 1]
    text = "3 groups of epoch 0 are done, which is no multiple of the batch of 2: 1 groups are repeated"
    assert [message for message in caplog.messages if "repeated" in message] == [text]


@pytest.fixture
def check(tiny_root, tiny_config):
    """check(*opts) of a training with 4 views of 17 joints, and MPII data."""
    root = tiny_root(frames=1)

    def run(*opts):
        config = tiny_config(root, *opts)
        train_set, test_set = (build_dataset(config, root, is_train) for is_train in (True, False))
        check_training(config, build_fusion(config.NETWORK, train_set.num_views), test_set)

    return run


@pytest.mark.parametrize(
    ("fusion", "wanted"), [("learned", 4), ("epipolar_sum", 2), ("epipolar_max", 2), ("adaptive", 2)]
)
def test_check_training_test_set_without_enough_views_is_refused(check, fusion, wanted):
    check("NETWORK.FUSION", fusion)
    with pytest.raises(InputError, match=rf"TEST_DATASET mpii: expected {wanted} views, .* received 1; use another"):
        check("NETWORK.FUSION", fusion, "DATASET.TEST_DATASET", "mpii")
    check("NETWORK.FUSION", "none", "DATASET.TEST_DATASET", "mpii")


def test_check_training_unknown_joint_is_refused(check):
    check("TEST.JOINTS", "[nose, rank]")
    with pytest.raises(InputError, match=r"unknown joint 'rankle' in TEST\.JOINTS; did you mean 'rank'"):
        check("TEST.JOINTS", "[nose, rankle]")


@pytest.mark.parametrize("key", ["ROT_FACTOR", "SCALE_FACTOR", "SHIFT_FACTOR"])
def test_check_training_augmentation_with_learned_fusion_warns(check, caplog, key):
    with caplog.at_level(logging.WARNING):
        check(f"DATASET.{key}", "0.25", "NETWORK.FUSION", "adaptive")
        check(f"DATASET.{key}", "0.25", "NETWORK.FUSION", "none")
        check()
        assert caplog.messages == []
        check(f"DATASET.{key}", "0.25")
    (message,) = caplog.messages
    assert message.startswith(f"DATASET.{key} 0.25: NETWORK.FUSION learned assumes fixed crops")


def test_check_training_flip_with_learned_fusion_is_refused(check):
    check("DATASET.FLIP", "true", "NETWORK.FUSION", "epipolar_max")
    with pytest.raises(InputError, match=r"DATASET\.FLIP true: expected another fusion than NETWORK\.FUSION learned"):
        check("DATASET.FLIP", "true")


def test_training_logs_validation_loss_and_selection(training, caplog):
    with caplog.at_level(logging.INFO):
        training("TRAIN.END_EPOCH", "2").run()
    first, last = metrics(training.directory, "epoch")
    line = (
        f"epoch 0, validation on 10 images: loss {first['valid_loss']:.5f}, JDR (%): fused {100 * first['jdr']:.1f}; "
    )
    assert any(message.startswith(line) and "\n" not in message for message in caplog.messages)
    assert f"epoch 1, validation on 10 images: loss {last['valid_loss']:.5f}\n| JDR (%)" in caplog.text
    text = "model_best.pth.tar: weights with the best JDR on the test set multiview_h36m, as in the original code"
    assert text in caplog.text


def test_training_full_disk_ends_with_the_error(training, monkeypatch):
    def refuse_to_write(state, path):
        raise InputError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("lib.core.training.checkpoint.save_checkpoint", refuse_to_write)
    with pytest.raises(InputError, match="No space left on device"):
        training("TRAIN.END_EPOCH", "3").run()
    assert len(metrics(training.directory, "epoch")) < 2  # at the latest at the second epoch's end


def test_training_that_does_not_learn_is_said_once_and_at_the_end(training, caplog):
    diverging = lambda number, inputs: dataclasses.replace(inputs, target=inputs.target + 100)  # noqa: E731
    training("TRAIN.END_EPOCH", "3", "TRAIN.LR", "0", at=diverging).run()
    found = [message for message in caplog.messages if "does not learn" in message]
    assert [message[:8] for message in found] == ["epoch 0:", "epoch 2:"]
    assert "times that of empty heatmaps" in found[0]


@pytest.mark.parametrize("resumes", ["true", "false"])
def test_training_ended_names_the_command_that_continues(resumes, training, caplog):
    with caplog.at_level(logging.INFO):
        training("TRAIN.END_EPOCH", "2", "TRAIN.RESUME", resumes, max_steps=1).run()
    (end,) = [message for message in caplog.messages if message.startswith("ended after")]
    assert ("TRAIN.RESUME" in end) == (resumes == "false")


def test_training_max_steps_resumes_to_the_uninterrupted_weights(training, caplog):
    two_epochs = ("TRAIN.END_EPOCH", "2")
    training(*two_epochs).run()
    whole = state_of(training.directory)
    with caplog.at_level(logging.INFO):
        for max_steps, place in ((3, (0, 3)), (5, (1, 0)), (7, (1, 2))):  # within an epoch, at its end, in the next one
            training(*two_epochs, again=max_steps > 3, max_steps=max_steps).run()
            state = state_of(training.directory)
            assert (state["epoch"], state["step"]) == place
    ends = [message for message in caplog.messages if message.startswith("ended after")]
    assert [message.split()[2] for message in ends] == ["3", "5", "7"]
    assert sum("validation on" in message for message in caplog.messages) == 3
    training(*two_epochs, again=True).run()
    for name, value in state_of(training.directory)["state_dict"].items():
        assert torch.equal(value, whole["state_dict"][name]), name
