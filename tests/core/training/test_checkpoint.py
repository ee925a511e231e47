from __future__ import annotations

import errno
import os
import shutil

import pytest
import torch
from cvf_tests.stubs import CPU
from torch import nn

from lib.core.training.checkpoint import CheckpointKeeper, Progress, save_training_state
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError


def test_save_training_state_has_the_entries_of_the_original_code(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    save_training_state(tmp_path / "a.pth.tar", "multiview_pose_resnet", model, optimizer, Progress())
    state = torch.load(tmp_path / "a.pth.tar", weights_only=True)
    assert state.keys() >= {"epoch", "model", "state_dict", "perf", "optimizer"}
    assert state["model"] == "multiview_pose_resnet"


@pytest.fixture
def keeper(tmp_path):
    """keeper(n) -> function that saves the state of an epoch and a step, and the directory."""

    def make(count):
        model = nn.Linear(2, 2)
        step = TrainStep(model, torch.optim.Adam(model.parameters(), fused=True), CPU)
        directory = tmp_path / "run"
        directory.mkdir(exist_ok=True)
        kept = CheckpointKeeper(directory, "multiview_pose_resnet", count)
        return lambda epoch, number: kept.save(step, model, Progress(epoch, number)), directory

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
