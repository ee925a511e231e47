from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cvf_tests.annotations import load_h36m

from lib.dataset.groups import Part, group_singles, group_views
from lib.dataset.mpii import load_mpii
from lib.dataset.multiview_dataset import MultiviewDataset
from lib.dataset.sample import SampleSettings
from lib.utils.joints import H36M_17, MPII_16, UNION_20

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


def test_items_concatenate_parts(parts):
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


def test_getitem_out_of_range(parts):
    dataset = MultiviewDataset(parts, PLAIN, augment=False)
    for index in (5, -1):
        with pytest.raises(IndexError):
            dataset[index]


def test_contents_counts_pseudo_groups_apart(parts):
    text = "3 groups of 4 views, 2 pseudo-groups of 4 single images"
    assert MultiviewDataset(parts, PLAIN, False).contents() == text
    random_view = Part(parts[0].annotations, parts[0].groups, False, random_view=True)
    assert MultiviewDataset([random_view], PLAIN, False).contents() == "3 images"


def test_joint_set_of_parts(parts):
    assert MultiviewDataset(parts[:1], PLAIN, False).joint_set is H36M_17
    assert MultiviewDataset(parts[1:], PLAIN, False).joint_set is MPII_16
    assert MultiviewDataset(parts, PLAIN, False).joint_set is UNION_20


def test_has_head_sizes_of_parts(parts):
    assert not MultiviewDataset(parts, PLAIN, False).has_head_sizes
    sizes = np.full(9, np.nan, np.float32)
    mpii = Part(dataclasses.replace(parts[1].annotations, head_size=sizes), parts[1].groups, False)
    assert not MultiviewDataset([parts[0], mpii], PLAIN, False).has_head_sizes
    sizes[3] = 10
    assert MultiviewDataset([parts[0], mpii], PLAIN, False).has_head_sizes


def test_random_view_reproducible(parts):
    part = Part(parts[0].annotations, parts[0].groups, False, random_view=True)
    dataset, again = MultiviewDataset([part], PLAIN, True, seed=1), MultiviewDataset([part], PLAIN, True, seed=1)
    assert dataset.num_views == 1
    rows = [int(dataset[epoch, 1]["image_index"][0]) for epoch in range(30)]
    assert rows == [int(again[epoch, 1]["image_index"][0]) for epoch in range(30)]
    assert rows == [int(dataset.images_of(epoch, 1)[0]) for epoch in range(30)]
    assert set(rows) == {4, 5, 6, 7}  # every view of the group comes, none of another group
    other_seed = MultiviewDataset([part], PLAIN, True, seed=2)
    assert rows != [int(other_seed[epoch, 1]["image_index"][0]) for epoch in range(30)]


def test_getitem_reproducible(parts):
    dataset, fresh = MultiviewDataset(parts, AUGMENTED, True, seed=3), MultiviewDataset(parts, AUGMENTED, True, seed=3)
    before = dataset[2, 1]
    _ = dataset[2, 0], dataset[0, 3]
    assert same(dataset[2, 1], before)
    assert same(fresh[2, 1], before)


def test_getitem_augmentation_varies(parts):
    dataset = MultiviewDataset(parts, AUGMENTED, True, seed=3)
    scales = [
        dataset[0, 0]["scale"],
        dataset[1, 0]["scale"],
        dataset[0, 1]["scale"],
        MultiviewDataset(parts, AUGMENTED, True, seed=4)[0, 0]["scale"],
    ]
    values = np.stack(scales)[..., 0].ravel()
    assert np.mean(np.unique(values, return_counts=True)[1] == 1) > 0.5  # up to the clipped ones


def test_getitem_validation_not_augmented(parts):
    assert same(MultiviewDataset(parts, AUGMENTED, augment=False)[0], MultiviewDataset(parts, PLAIN, augment=True)[0])


class Numbered:
    """Ready crops filled with the row of the image."""

    def read(self, rows, out):
        for row, crop in zip(rows, out, strict=True):
            crop[...] = row


def test_getitems_with_ready_crops_of_two_parts(parts):
    dataset = MultiviewDataset(parts, PLAIN, augment=True, caches=[Numbered(), Numbered()])
    keys = [(3, 4), (3, 0), (3, 3), (3, 2)]
    batch = dataset.__getitems__(keys)
    rows = np.array([[4, 5, 6, 7], [0, 1, 2, 3], [0, 1, 2, 3], [8, 9, 10, 11]])
    assert (batch["crops"] == rows[..., None, None, None]).all()
    plain = MultiviewDataset(parts, PLAIN, augment=True)
    for place, key in enumerate(keys):
        item = plain[key]
        assert item.keys() == batch.keys()
        for name in item.keys() - {"crops"}:
            np.testing.assert_array_equal(batch[name][place], item[name])


def test_ready_crops_of_augmented_images_are_refused(parts):
    with pytest.raises(ValueError, match="ready crops have no random scale"):
        MultiviewDataset(parts, AUGMENTED, augment=True, caches=[Numbered(), Numbered()])
