from __future__ import annotations

import errno
import os
import shutil

import pytest
import torch
from cvf_tests.stubs import CPU
from lib.core.training.checkpoint_files import CheckpointKeeper
from torch import nn

from lib.core.training.checkpoint import Progress
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError


@pytest.fixture
def keeper(tiny_root, tiny_config, tmp_path):
    """keeper(n) -> function that saves the state of an epoch and a step, and the directory."""
    root = tiny_root(frames=1, mpii=0)

    def make(count):
        config = tiny_config(root, "TRAIN.KEEP_CHECKPOINTS", str(count))
        model = nn.Linear(2, 2)
        step = TrainStep(model, torch.optim.Adam(model.parameters(), fused=True), config, CPU)
        directory = tmp_path / "run"
        directory.mkdir(exist_ok=True)
        kept = CheckpointKeeper(directory, config)
        return lambda epoch, number: kept.save(step, model, Progress(epoch, number)), directory

    return make


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def position(path):
    state = torch.load(path, weights_only=True)
    return state["epoch"], state["step"]


def test_by_default_the_newest_alone_is_kept(keeper):
    save, directory = keeper(1)
    for place in ((0, 5), (1, 0), (1, 5)):
        save(*place)
    assert names(directory) == ["checkpoint.pth.tar"]
    assert position(directory / "checkpoint.pth.tar") == (1, 5)


def test_older_ones_are_pruned(keeper):
    save, directory = keeper(2)
    for place in ((0, 5), (1, 0), (1, 500), (1, 500), (12, 3)):
        save(*place)
    older = "checkpoint_0001_000500.pth.tar"
    newest = "checkpoint_0012_000003.pth.tar"
    assert names(directory) == ["checkpoint.pth.tar", older, newest]
    assert position(directory / "checkpoint.pth.tar") == position(directory / newest) == (12, 3)
    assert position(directory / older) == (1, 500)


def test_what_an_earlier_training_left_goes_first(keeper):
    save, directory = keeper(2)
    for place in ((9, 0), (10, 0), (1, 0), (2, 0)):  # the second training began anew in the same place
        save(*place)
    assert names(directory) == [
        "checkpoint.pth.tar",
        "checkpoint_0001_000000.pth.tar",
        "checkpoint_0002_000000.pth.tar",
    ]


def test_a_disk_without_hard_links_gets_copies(keeper, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as exFAT and some network disks do

    monkeypatch.setattr(os, "link", refuse)
    save, directory = keeper(2)
    for place in ((0, 5), (1, 0), (2, 0)):
        save(*place)
    kept = ["checkpoint_0001_000000.pth.tar", "checkpoint_0002_000000.pth.tar"]
    assert names(directory) == ["checkpoint.pth.tar", *kept]
    assert [position(directory / name) for name in kept] == [(1, 0), (2, 0)]


def test_no_room_for_a_copy_is_one_line_and_leaves_the_newest(keeper, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    save, directory = keeper(2)
    with pytest.raises(InputError, match=r"checkpoint_0001_000000\.pth\.tar: cannot be written \(No space left"):
        save(1, 0)
    assert names(directory) == ["checkpoint.pth.tar"]
