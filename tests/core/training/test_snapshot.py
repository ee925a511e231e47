from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from lib.core.training.snapshot import Snapshot

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_snapshot_does_not_change_with_the_state(device):
    weight = torch.arange(24.0, device=device).view(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    state = {"w": weight, "list": [weight, {"n": torch.tensor(3, device=device)}], "history": [{"loss": 0.5}], "x": "a"}
    expected = weight.cpu().clone()
    snapshot = Snapshot(state)
    weight.zero_()
    state["history"].append({})
    copy = snapshot.wait()
    assert torch.equal(copy["w"], expected)
    assert copy["w"].is_contiguous(memory_format=torch.channels_last)
    assert copy["list"][0] is copy["w"]
    assert copy["w"].device.type == copy["list"][1]["n"].device.type == "cpu"
    assert (copy["list"][1]["n"], copy["history"], copy["x"]) == (3, [{"loss": 0.5}], "a")


def test_snapshot_keeps_the_metadata_of_a_state_dict():
    state = nn.BatchNorm1d(2).state_dict()
    copy = Snapshot({"state_dict": state}).wait()["state_dict"]
    assert isinstance(copy, OrderedDict)
    assert list(copy) == list(state)
    assert copy._metadata == state._metadata
