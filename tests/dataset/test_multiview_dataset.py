from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lib.dataset.groups import group_singles, group_views
from lib.dataset.h36m import load_h36m
from lib.dataset.mpii import load_mpii
from lib.dataset.multiview_dataset import EpochBatches, MultiviewDataset, Part
from lib.dataset.sample import SampleSettings
from lib.utils.joints import H36M_17, MPII_16, UNION_20
from lib.utils.parallel.ranks import Ranks

PLAIN = SampleSettings((64, 64), (16, 16), 1.0)
AUGMENTED = SampleSettings((64, 64), (16, 16), 1.0, scale_factor=0.2, rot_factor=20)


@pytest.fixture
def parts(tiny_root):
    root = tiny_root(mpii=9)
    h36m, mpii = load_h36m(root, "train"), load_mpii(root, "train")
    return [Part(h36m, group_views(h36m), True), Part(mpii, group_singles(mpii), False)]


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[key], second[key], equal_nan=first[key].dtype.kind == "f") for key in first
    )


def test_groups_of_the_parts_follow_each_other(parts):
    dataset = MultiviewDataset(parts, PLAIN, augment=False)
    assert len(dataset) == 3 + 2
    assert dataset.num_views == 4
    h36m, mpii = parts[0].annotations, parts[1].annotations
    for index, (source, rows, is_multiview) in enumerate(
        [
            (h36m, [0, 1, 2, 3], True),
            (h36m, [4, 5, 6, 7], True),
            (h36m, [8, 9, 10, 11], True),
            (mpii, [0, 1, 2, 3], False),
            (mpii, [4, 5, 6, 7], False),
        ]
    ):
        item = dataset[index]
        assert item["is_multiview"] == is_multiview
        names = [dataset.image_name(i) for i in item["image_index"]]
        assert names == [source.image_name(row) for row in rows]
        np.testing.assert_array_equal(item["joints_img"], source.joints_img[rows])
        assert item["crops"].shape == (4, 64, 64, 3)
        assert item["crops"].dtype == np.uint8
        assert item["joints_crop"].shape == (4, 20, 2)
        np.testing.assert_array_equal(dataset.images_of(0, index), item["image_index"])
        assert item["center"].shape == item["scale"].shape == (4, 2)


def test_indices_beyond_the_end_are_errors(parts):
    dataset = MultiviewDataset(parts, PLAIN, augment=False)
    for index in (5, -1):
        with pytest.raises(IndexError):
            dataset[index]


def test_annotated_joints(parts):
    assert MultiviewDataset(parts[:1], PLAIN, False).joint_set is H36M_17
    assert MultiviewDataset(parts[1:], PLAIN, False).joint_set is MPII_16
    assert MultiviewDataset(parts, PLAIN, False).joint_set is UNION_20


def test_head_sizes_are_known_if_one_part_has_one(parts):
    assert not MultiviewDataset(parts, PLAIN, False).has_head_sizes
    sizes = np.full(9, np.nan, np.float32)
    nobody = Part(dataclasses.replace(parts[1].annotations, head_size=sizes), parts[1].groups, False)
    assert not MultiviewDataset([parts[0], nobody], PLAIN, False).has_head_sizes
    sizes[3] = 10
    assert MultiviewDataset([parts[0], nobody], PLAIN, False).has_head_sizes


def test_a_random_view_depends_on_epoch_and_index_alone(parts):
    part = Part(parts[0].annotations, parts[0].groups, False, random_view=True)
    dataset, again = MultiviewDataset([part], PLAIN, True, seed=1), MultiviewDataset([part], PLAIN, True, seed=1)
    assert dataset.num_views == 1
    rows = [int(dataset[epoch, 1]["image_index"][0]) for epoch in range(30)]
    assert rows == [int(again[epoch, 1]["image_index"][0]) for epoch in range(30)]
    assert rows == [int(dataset.images_of(epoch, 1)[0]) for epoch in range(30)]
    assert set(rows) == {4, 5, 6, 7}  # every view of the group comes, none of another group
    other_seed = MultiviewDataset([part], PLAIN, True, seed=2)
    assert rows != [int(other_seed[epoch, 1]["image_index"][0]) for epoch in range(30)]


def test_the_same_item_whatever_came_before(parts):
    dataset, fresh = MultiviewDataset(parts, AUGMENTED, True, seed=3), MultiviewDataset(parts, AUGMENTED, True, seed=3)
    before = dataset[2, 1]
    _ = dataset[2, 0], dataset[0, 3]
    assert same(dataset[2, 1], before)
    assert same(fresh[2, 1], before)


def test_epochs_indices_views_and_seeds_are_augmented_differently(parts):
    dataset = MultiviewDataset(parts, AUGMENTED, True, seed=3)
    scales = [
        dataset[0, 0]["scale"],
        dataset[1, 0]["scale"],
        dataset[0, 1]["scale"],
        MultiviewDataset(parts, AUGMENTED, True, seed=4)[0, 0]["scale"],
    ]
    values = np.stack(scales)[..., 0].ravel()
    assert np.mean(np.unique(values, return_counts=True)[1] == 1) > 0.5  # up to the clipped ones


def test_validation_is_not_augmented(parts):
    assert same(MultiviewDataset(parts, AUGMENTED, augment=False)[0], MultiviewDataset(parts, PLAIN, augment=True)[0])


def all_batches(*words, epoch=0, first_step=0, **options):
    batches = EpochBatches(*words, **options)
    batches.set_epoch(epoch, first_step)
    return list(batches)


def test_the_order_depends_on_seed_and_epoch_alone():
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
def test_the_shares_are_those_of_array_split(num_items, world_size):
    batches = EpochBatches(num_items, 3, False, ranks=Ranks(0, world_size))
    items = np.arange(num_items)
    size = 3 * world_size
    for step in range(len(batches)):
        rows = items[step * size : (step + 1) * size]
        assert batches.shares(step) == [len(part) for part in np.array_split(rows, world_size)]
        assert batches.items_before(step) == len(items[: step * size])


def test_a_share_does_not_cost_a_pass_over_the_data():
    batches = EpochBatches(10**15 + 5, 8, False, ranks=Ranks(1, 4))  # no memory holds their numbers
    assert batches.shares(10**7) == [8, 8, 8, 8]
    assert batches.shares(10**15 // 32) == [2, 1, 1, 1]


def test_an_epoch_can_begin_in_the_middle():
    assert all_batches(50, 4, True, 1, first_step=5) == all_batches(50, 4, True, 1)[5:]
    assert all_batches(50, 4, True, 1, first_step=13) == []


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("num_items", [48, 50, 49, 3])
def test_ranks_share_the_batches_of_one_process(num_items, world_size):
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


def test_every_item_is_evaluated_though_some_rank_has_none():
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
