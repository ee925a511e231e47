from __future__ import annotations

import contextlib

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lib.utils.memory import MemoryLedger

MODES = pytest.mark.parametrize("mode", [contextlib.nullcontext, FakeTensorMode], ids=["real", "fake"])


@MODES
def test_memory_ledger_storages_count_once_while_they_live(mode):
    with mode(), MemoryLedger("rest") as ledger:
        first = torch.zeros(1000)  # 4000 bytes
        view = first[10:].view(9, 110)
        view.add_(1)
        second = torch.zeros(10, dtype=torch.float64)  # + 80
        del first
        third = torch.zeros(500, dtype=torch.bool)  # + 500: the view keeps the first
        del view, third
        fourth = torch.zeros(1500, dtype=torch.int16)  # 80 + 3000
    assert ledger.peak() == {"rest": 4580}
    del second, fourth


@MODES
def test_memory_ledger_first_label_of_a_storage_counts(mode):
    with mode(), MemoryLedger("rest") as ledger:
        weights = torch.zeros(100)
        ledger.label("weights", [weights])
        ledger.label("kept", [weights.view(10, 10)])
        passing = torch.zeros(1000)
        del passing
        kept = torch.zeros(700)
        result = torch.zeros(600)
        ledger.label("kept", [kept])  # after its allocation
    assert ledger.peak() == {"weights": 400, "kept": 2800, "rest": 2400}
    del result


@MODES
def test_memory_ledger_counts_storages_of_autograd(mode):
    with mode():
        weight = torch.zeros(50, 50, requires_grad=True)
        with MemoryLedger("rest") as ledger:
            ledger.label("weights", [weight])
            loss = (weight @ weight).exp().sum()  # exp keeps its result, 10000 bytes; the product is freed
            assert ledger.peak() == {"weights": 10000, "rest": 20000}
            loss.backward()
            ledger.label("gradients", [weight.grad])
    peak = ledger.peak()
    assert sum(peak.values()) > 30000
    assert loss.ndim == 0


def test_memory_ledger_reused_id_is_a_new_storage():
    with MemoryLedger("rest") as ledger:
        ledger.label("one", [torch.zeros(1000)])  # freed at once; the next storage may reuse its id
        for _ in range(20):
            torch.zeros(1001)
    assert ledger.peak() == {"one": 0, "rest": 4004}
