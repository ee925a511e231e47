from __future__ import annotations

import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.dataset.loader import BatchLoader, EpochBatches, _warn_of_many_workers
from lib.utils.errors import InputError
from lib.utils.parallel.ranks import Ranks


def all_batches(*words, epoch=0, first_step=0, **options):
    batches = EpochBatches(*words, **options)
    batches.set_epoch(epoch, first_step)
    return list(batches)


def test_epoch_batches_order():
    orders = [
        [index for batch in all_batches(50, 4, True, 1, epoch=epoch) for _, index in batch] for epoch in (0, 1, 0)
    ]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert {epoch for batch in all_batches(50, 4, True, 1, epoch=7) for epoch, _ in batch} == {7}
    assert [index for batch in all_batches(50, 4, True, 2) for _, index in batch] != orders[0]
    assert all_batches(3, 2, False) == [[(0, 0), (0, 1)], [(0, 2)]]
    assert len(EpochBatches(50, 4, True)) == 13


@pytest.mark.parametrize("num_items", [0, 1, 4, 47, 48, 50])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_shares_equal_array_split(num_items, world_size):
    batches = EpochBatches(num_items, 3, False, ranks=Ranks(0, world_size))
    items = np.arange(num_items)
    size = 3 * world_size
    for step in range(len(batches)):
        rows = items[step * size : (step + 1) * size]
        assert batches.shares(step) == [len(part) for part in np.array_split(rows, world_size)]
        assert batches.items_before(step) == len(items[: step * size])


def test_shares_large_data_set():
    batches = EpochBatches(10**15 + 5, 8, False, ranks=Ranks(1, 4))  # no memory holds their numbers
    assert batches.shares(10**7) == [8, 8, 8, 8]
    assert batches.shares(10**15 // 32) == [2, 1, 1, 1]


def test_set_epoch_first_step():
    assert all_batches(50, 4, True, 1, first_step=5) == all_batches(50, 4, True, 1)[5:]
    assert all_batches(50, 4, True, 1, first_step=13) == []


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("num_items", [48, 50, 49, 3])
def test_epoch_batches_shared_by_ranks(num_items, world_size):
    size = 12 // world_size
    whole = all_batches(num_items, 12, True, 1)
    shares = [
        all_batches(num_items, size, True, 1, Ranks(rank, world_size), every_item=False) for rank in range(world_size)
    ]
    assert len({len(share) for share in shares}) == 1
    for step, parts in enumerate(zip(*shares, strict=True)):
        assert [item for part in parts for item in part] == whole[step]
        counts = EpochBatches(num_items, size, True, 1, Ranks(0, world_size)).shares(step)
        assert [len(part) for part in parts] == counts
        assert min(counts) > 0
    lost = num_items - sum(len(part) for share in shares for part in share)
    assert lost == (num_items % 12 if 0 < num_items % 12 < world_size else 0)


def test_epoch_batches_every_item():
    ranks = [Ranks(rank, 4) for rank in range(4)]
    shares = [all_batches(9, 2, False, 0, rank) for rank in ranks]
    assert [len(share) for share in shares] == [2] * 4
    counts = EpochBatches(9, 2, False, 0, ranks[0]).shares(1)
    assert counts == [1, 0, 0, 0]
    assert [share[1] for share in shares] == [[(0, 8)]] * 4  # those without one get the step's first item
    found = [
        index
        for step in range(2)
        for rank, share in enumerate(shares)
        for _, index in share[step][: EpochBatches(9, 2, False, 0, ranks[0]).shares(step)[rank]]
    ]
    assert found == list(range(9))


class Squares:
    """Data set of ready crops that remembers the threads that read it; item 13 cannot be read."""

    has_ready_crops = True

    def __init__(self):
        self.threads = []

    def __getitems__(self, keys):
        self.threads.append(threading.current_thread().name)
        if (0, 13) in keys:
            raise InputError("item 13")
        return {"square": np.array([index**2 for _, index in keys])}


@pytest.mark.parametrize("num_workers", [0, 1, 3, 9])
def test_batch_loader_of_ready_crops_keeps_the_order(num_workers):
    dataset = Squares()
    loader = BatchLoader(dataset, EpochBatches(12, 2, shuffle=False), num_workers)
    assert loader.num_workers == 0  # processes
    for _ in range(2):
        batches = list(loader)
        assert all(isinstance(batch["square"], torch.Tensor) for batch in batches)
        assert torch.cat([batch["square"] for batch in batches]).tolist() == [index**2 for index in range(12)]
    names = {name.startswith("read-ahead") for name in dataset.threads}
    assert names == {num_workers > 0}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batch_loader_of_ready_crops_raises_in_order_and_ends_its_threads(num_workers):
    loader = BatchLoader(Squares(), EpochBatches(40, 2, shuffle=False), num_workers)
    seen = []
    with pytest.raises(InputError, match="item 13"):
        seen.extend(batch["square"][0].item() for batch in loader)
    assert seen == [0, 4, 16, 36, 64, 100]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_batch_loader_of_ready_crops_left_early_ends_its_threads():
    dataset = Squares()
    batches = iter(BatchLoader(dataset, EpochBatches(10**6, 2, shuffle=False), 1))
    next(batches)
    batches.close()
    assert len(dataset.threads) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_batch_loader_many_processes_are_said_once(monkeypatch, caplog):
    monkeypatch.setattr("lib.dataset.loader.usable_processors", lambda: 2)
    _warn_of_many_workers.cache_clear()
    dataset = SimpleNamespace(has_ready_crops=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for num_workers in (2, 5, 5):
            BatchLoader(dataset, EpochBatches(12, 2, shuffle=False), num_workers)
    assert caplog.messages == ["WORKERS: 5 loading processes on 2 processors; set WORKERS 2"]


def test_batch_loader_too_little_shared_memory_is_refused(monkeypatch):
    """Docker's default of 64 MB holds no batches of 8 processes; they would end, or wait forever."""
    groups = 32
    dataset = SimpleNamespace(
        has_ready_crops=False, settings=SimpleNamespace(image_wh=(320, 320)), num_views=4, __len__=lambda: groups
    )
    loader = BatchLoader(dataset, EpochBatches(groups, 4, False), 8)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=64 * 2**20))
    with pytest.raises(InputError, match=r"WORKERS: expected 84 MB .*received 67 MB; start Docker with --shm-size=8g"):
        next(iter(loader))
