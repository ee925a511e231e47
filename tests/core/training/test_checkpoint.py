from __future__ import annotations

import errno
import logging
import os
import shutil
import threading

import pytest
import torch
from cvf_tests.stubs import CPU
from torch import nn

from lib.core.training.checkpoint import CheckpointKeeper, Progress, save_training_state, training_state
from lib.core.training.snapshot import Snapshot
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError
from lib.utils.files.torch_file import save_checkpoint


def test_save_training_state_has_the_entries_of_the_original_code(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    state = training_state("multiview_pose_resnet", model, optimizer, Progress())
    save_training_state(tmp_path / "a.pth.tar", state)
    state = torch.load(tmp_path / "a.pth.tar", weights_only=True)
    assert state.keys() >= {"epoch", "model", "state_dict", "perf", "optimizer"}
    assert state["model"] == "multiview_pose_resnet"


@pytest.fixture(params=[False, True], ids=["foreground", "background"])
def keeper(tmp_path, request):
    """keeper(n) -> function that saves the state of an epoch and a step, and the directory."""

    def make(count):
        model = nn.Linear(2, 2)
        step = TrainStep(model, torch.optim.Adam(model.parameters(), fused=True), CPU)
        directory = tmp_path / "run"
        directory.mkdir(exist_ok=True)
        kept = CheckpointKeeper(directory, "multiview_pose_resnet", count, in_background=request.param)

        def save(epoch, number):
            kept.save(step, model, Progress(epoch, number))
            kept.wait()

        return save, directory

    return make


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def position(path):
    state = torch.load(path, weights_only=True)
    return state["epoch"], state["step"]


def test_checkpoint_keeper_by_default_keeps_the_newest_only(keeper):
    save, directory = keeper(1)
    for place in ((0, 5), (1, 0), (1, 5)):
        save(*place)
    assert names(directory) == ["checkpoint.pth.tar"]
    assert position(directory / "checkpoint.pth.tar") == (1, 5)


def test_checkpoint_keeper_deletes_the_oldest(keeper):
    save, directory = keeper(2)
    for place in ((0, 5), (1, 0), (1, 500), (1, 500), (12, 3)):
        save(*place)
    older = "checkpoint_0001_000500.pth.tar"
    newest = "checkpoint_0012_000003.pth.tar"
    assert names(directory) == ["checkpoint.pth.tar", older, newest]
    assert position(directory / "checkpoint.pth.tar") == position(directory / newest) == (12, 3)
    assert position(directory / older) == (1, 500)


def test_checkpoint_keeper_deletes_files_of_an_earlier_training_first(keeper):
    save, directory = keeper(2)
    for place in ((9, 0), (10, 0), (1, 0), (2, 0)):  # the second training started again in the same directory
        save(*place)
    assert names(directory) == [
        "checkpoint.pth.tar",
        "checkpoint_0001_000000.pth.tar",
        "checkpoint_0002_000000.pth.tar",
    ]


def test_checkpoint_keeper_disk_without_hard_links_gets_copies(keeper, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as exFAT and some network disks do

    monkeypatch.setattr(os, "link", refuse)
    save, directory = keeper(2)
    for place in ((0, 5), (1, 0), (2, 0)):
        save(*place)
    kept = ["checkpoint_0001_000000.pth.tar", "checkpoint_0002_000000.pth.tar"]
    assert names(directory) == ["checkpoint.pth.tar", *kept]
    assert [position(directory / name) for name in kept] == [(1, 0), (2, 0)]


def test_checkpoint_keeper_full_disk_keeps_the_newest(keeper, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    save, directory = keeper(2)
    with pytest.raises(InputError, match=r"checkpoint_0001_000000\.pth\.tar: cannot be written \(No space left"):
        save(1, 0)
    assert names(directory) == ["checkpoint.pth.tar"]


class Network(nn.Module):
    """Layers with buffers, weights in channels-last format and a shared weight."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(4)
        self.again = nn.Conv2d(3, 4, 3)
        self.again.weight = self.conv.weight


@pytest.fixture
def step():
    torch.manual_seed(0)
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    network.norm(network.conv(torch.rand(2, 3, 8, 8)) + network.again(torch.rand(2, 3, 8, 8))).sum().backward()
    optimizer.step()
    return TrainStep(network, optimizer, CPU)


PROGRESS = Progress(3, 5, meters={"sums": torch.ones(4)}, history=[{"loss": 0.5}], config={"TRAIN": {"LR": 0.1}})


def test_checkpoint_keeper_in_background_writes_the_same_bytes(step, tmp_path):
    for name, in_background in (("foreground", False), ("background", True)):
        directory = tmp_path / name
        directory.mkdir()
        with CheckpointKeeper(directory, "m", 2, in_background) as keeper:
            keeper.save(step, step.model, PROGRESS, True, ["model_best.pth.tar"])
    found, expected = tmp_path / "background", tmp_path / "foreground"
    assert names(found) == names(expected)
    assert names(found) == ["checkpoint.pth.tar", "checkpoint_0003_000005.pth.tar", "model_best.pth.tar"]
    for name in names(found):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name


@pytest.fixture
def held_back(monkeypatch):
    """Hold back every write until .set() is called; .started tells that one waits."""
    released = threading.Event()
    released.started = threading.Event()

    def save(state, path):
        released.started.set()
        assert released.wait(60)
        save_checkpoint(state, path)

    monkeypatch.setattr("lib.core.training.checkpoint.save_checkpoint", save)
    yield released
    released.set()


def test_checkpoint_keeper_in_background_writes_the_state_of_the_call(step, tmp_path, held_back):
    progress = Progress(1, history=[{"loss": 0.5}])
    expected = {name: value.clone() for name, value in step.model.state_dict().items()}
    with CheckpointKeeper(tmp_path, "m", in_background=True) as keeper:
        keeper.save(step, step.model, progress)
        assert held_back.started.wait(60)  # save() has returned while the thread writes
        step.optimizer.step()
        step.model.norm(torch.rand(2, 4, 6, 6))
        progress.epoch = 2
        progress.history.append({"loss": 0.25})
        held_back.set()
    state = torch.load(tmp_path / "checkpoint.pth.tar", weights_only=True)
    assert (state["epoch"], state["history"]) == (1, [{"loss": 0.5}])
    for name, value in expected.items():
        assert torch.equal(state["state_dict"][name], value), name
    assert not torch.equal(state["state_dict"]["conv.weight"], step.model.conv.weight)
    assert state["optimizer"]["state"][0]["step"] == 1


def test_checkpoint_keeper_in_background_has_one_snapshot(step, tmp_path, held_back, monkeypatch):
    done = []

    def note(state, path):
        held_back.wait(60)
        done.append(path.name)

    def snapshot(state):
        assert len(done) in (0, 2)  # the weights and the checkpoint of the first call are written
        return Snapshot(state)

    monkeypatch.setattr("lib.core.training.checkpoint.save_checkpoint", note)
    monkeypatch.setattr("lib.core.training.checkpoint.Snapshot", snapshot)
    with CheckpointKeeper(tmp_path, "m", in_background=True) as keeper:
        keeper.save(step, step.model, Progress(1), True, ["model_best.pth.tar"])
        assert done == []
        threading.Timer(0.2, held_back.set).start()
        keeper.save(step, step.model, Progress(2))
    assert done == ["model_best.pth.tar", "checkpoint.pth.tar", "checkpoint.pth.tar"]


def test_checkpoint_keeper_in_background_reuses_an_unwritten_snapshot_of_the_same_weights(step, tmp_path, held_back):
    first = Progress(1, 5, meters={"sums": torch.ones(4)})
    for name, in_background in (("foreground", False), ("background", True)):
        directory = tmp_path / name
        directory.mkdir()
        if not in_background:
            held_back.set()
        with CheckpointKeeper(directory, "m", 2, in_background) as keeper:
            keeper.save(step, step.model, first, False)
            snapshot = keeper._snapshot
            keeper.save(step, step.model, PROGRESS, True, ["model_best.pth.tar"], True)  # does not wait
            if in_background:
                assert not (directory / "checkpoint.pth.tar").exists()
                shared = keeper._snapshot.wait()["state_dict"]["conv.weight"]
                assert shared is snapshot.wait()["state_dict"]["conv.weight"]
            held_back.set()
        held_back.clear()
    found, expected = tmp_path / "background", tmp_path / "foreground"
    assert names(found) == names(expected)
    for name in names(found):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name


def test_checkpoint_keeper_in_background_copies_weights_that_changed(step, tmp_path, held_back):
    with CheckpointKeeper(tmp_path, "m", in_background=True) as keeper:
        keeper.save(step, step.model, Progress(1))
        step.optimizer.step()
        threading.Timer(0.2, held_back.set).start()
        keeper.save(step, step.model, Progress(2))
    state = torch.load(tmp_path / "checkpoint.pth.tar", weights_only=True)
    assert torch.equal(state["state_dict"]["conv.weight"], step.model.conv.weight)


def refuse_to_write(state, path):
    raise InputError(f"{path}: cannot be written (No space left on device)")


@pytest.mark.parametrize("at", ["next save", "wait", "end"])
def test_checkpoint_keeper_in_background_raises_the_error_later(step, tmp_path, monkeypatch, at):
    monkeypatch.setattr("lib.core.training.checkpoint.save_checkpoint", refuse_to_write)
    keeper = CheckpointKeeper(tmp_path, "m", in_background=True)
    keeper.save(step, step.model, Progress(1))
    calls = {
        "next save": lambda: keeper.save(step, step.model, Progress(2)),
        "wait": keeper.wait,
        "end": lambda: keeper.__exit__(None, None, None),
    }
    with pytest.raises(InputError, match=r"checkpoint\.pth\.tar: cannot be written \(No space left"):
        calls[at]()
    keeper.wait()  # raised once


def test_checkpoint_keeper_in_background_refuses_weights_that_are_not_finite(step, tmp_path):
    with torch.no_grad():
        step.model.norm.weight[1] = float("nan")
    with (
        pytest.raises(InputError, match=r"not written, .*'state_dict\.norm\.weight' is not finite"),
        CheckpointKeeper(tmp_path, "m", in_background=True) as keeper,
    ):
        keeper.save(step, step.model, Progress(1), True, ["model_best.pth.tar"])
    assert names(tmp_path) == []


def test_checkpoint_keeper_in_background_does_not_hide_another_error(step, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("lib.core.training.checkpoint.save_checkpoint", refuse_to_write)

    def fail():
        with CheckpointKeeper(tmp_path, "m", in_background=True) as keeper:
            keeper.save(step, step.model, Progress(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "the last checkpoint is not written" in caplog.text
    assert "No space left" in caplog.text


def test_checkpoint_keeper_without_memory_for_a_snapshot_writes_at_once(step, tmp_path, monkeypatch, caplog):
    def refuse(state):
        raise torch.OutOfMemoryError("CUDA error: out of memory\nmore lines")

    monkeypatch.setattr("lib.core.training.checkpoint.Snapshot", refuse)
    with caplog.at_level(logging.WARNING), CheckpointKeeper(tmp_path, "m", in_background=True) as keeper:
        for epoch in (1, 2):
            keeper.save(step, step.model, Progress(epoch))
            assert position(tmp_path / "checkpoint.pth.tar") == (epoch, 0)
    (message,) = caplog.messages
    assert "not enough memory for a copy of the training state (CUDA error: out of memory);" in message
