from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from cvf_tests.annotations import load_h36m

from lib.core.build_data import build_dataset, build_loader
from lib.dataset.data_sets import DATA_SETS, build_parts, has_views
from lib.dataset.groups import group_views
from lib.dataset.sample import SampleSettings
from lib.dataset.storage.crop_cache import CropFile, write_crops
from lib.utils.errors import InputError
from lib.utils.joints import TOTALCAPTURE_16
from lib.utils.parallel.ranks import Ranks


@pytest.fixture
def build(tiny_config):
    """build(root, "train" | "test", "KEY", "VALUE", ...)"""

    def make(root, phase, *opts):
        config = tiny_config(root, *opts)
        return build_dataset(config, root, phase == "train")

    return make


def actual_names(dataset):
    return [[dataset.image_name(i) for i in dataset[index]["image_index"]] for index in range(len(dataset))]


def test_build_dataset_steps(tiny_root, build):
    root = tiny_root(frames=7, num_views=2, mpii=0)
    every = actual_names(build(root, "train"))
    assert len(every) == 7
    assert actual_names(build(root, "train", "DATASET.TRAIN_STEP", "3")) == every[::3]
    assert actual_names(build(root, "train", "DATASET.TEST_STEP", "3")) == every
    assert len(build(root, "test", "DATASET.TEST_STEP", "4")) == 2


def test_build_dataset_test_step_that_leaves_few_groups_warns(tiny_root, build, caplog):
    root = tiny_root(frames=52, num_views=2, mpii=0, formats=())
    build(root, "test")
    build(root, "test", "DATASET.TEST_STEP", "2")
    assert "TEST_STEP" not in caplog.text
    build(root, "test", "DATASET.TEST_STEP", "13")
    assert "DATASET.TEST_STEP 13 leaves 4 of 52 groups to evaluate, too few for a score; set it to 2" in caplog.text


def test_build_dataset_incomplete_groups(tiny_root, build, caplog):
    root = tiny_root(mpii=0, edit=lambda records: records[1:])
    with caplog.at_level(logging.WARNING):
        assert len(build(root, "train")) == 2
    assert "1 of 3 groups lack a view" in caplog.text
    with pytest.raises(InputError, match="1 of 3 groups lack a view"):
        build(root, "train", "DATASET.INCOMPLETE_GROUPS", "error")


def test_build_dataset_test_exclude(tiny_root, build):
    root = tiny_root(frames=6, mpii=0)  # actions 3 4 2 3 4 2
    every = actual_names(build(root, "test"))
    assert actual_names(build(root, "test", "DATASET.TEST_EXCLUDE", "[9-4-1]")) == [every[i] for i in (0, 2, 3, 5)]
    stepped = build(root, "test", "DATASET.TEST_EXCLUDE", "[9-4-1, damaged]", "DATASET.TEST_STEP", "2")
    assert actual_names(stepped) == [every[0], every[2]]  # out of 0, 2, 4
    assert len(build(root, "train", "DATASET.TEST_EXCLUDE", "[1-4-1]")) == 6


def subjects_of(dataset):
    labels = dataset.parts[0].annotations.labels3d
    return labels.subject[dataset.parts[0].groups].ravel().tolist()


@pytest.mark.parametrize("name", ["mixed", "h36m", "multiview_h36m"])
def test_build_dataset_held_out_subjects_are_validated_and_not_trained_on(tiny_root, tiny_config, name):
    root = tiny_root(num_views=2, subjects=((1, 5, 6), (9,)), frames=2, formats=(), mpii=2)
    opts = ("DATASET.TRAIN_DATASET", name, "DATASET.HELD_OUT_SUBJECTS", "[5, 1]")
    config = tiny_config(root, *opts)
    train, valid, test = (
        build_dataset(config, root, is_train, held_out=held_out)
        for is_train, held_out in ((True, False), (False, True), (False, False))
    )
    assert subjects_of(train) == [6] * 4
    assert subjects_of(valid) == [1] * 4 + [5] * 4
    assert subjects_of(test) == [9] * 4
    assert len(valid.parts) == 1  # no single images
    assert (valid.num_views, len(valid)) == ((1, 8) if name == "h36m" else (2, 4))
    everything = tiny_config(root, *opts[:2])
    assert subjects_of(build_dataset(everything, root, True)) == [1] * 4 + [5] * 4 + [6] * 4
    assert subjects_of(build_dataset(everything, root, False, held_out=True)) == [9] * 4


@pytest.mark.parametrize(
    ("name", "subjects", "words"),
    [
        ("mixed", "[1, 5]", r"expected some of the training subjects \[1, 5\], but not all, received \[1, 5\]"),
        ("mixed", "[9]", r"but not all, received \[9\]"),
        ("mpii", "[1]", "mpii has no subjects; set it to"),
    ],
)
def test_build_dataset_wrong_held_out_subjects_are_refused(tiny_root, tiny_config, name, subjects, words):
    root = tiny_root(num_views=2, subjects=((1, 5), (9,)), frames=1, formats=(), mpii=2)
    config = tiny_config(root, "DATASET.TRAIN_DATASET", name, "DATASET.HELD_OUT_SUBJECTS", subjects)
    with pytest.raises(InputError, match=rf"DATASET\.HELD_OUT_SUBJECTS: .*{words}"):
        build_dataset(config, root, False, held_out=True)


def test_build_dataset_selected_cameras(tiny_root, build):
    dataset = build(tiny_root(mpii=8), "train", "DATASET.TRAIN_DATASET", "mixed", "DATASET.CAMERAS", "[3, 1]")
    assert dataset.num_views == 2
    assert [name.split("_ca_")[1][:2] for name in actual_names(dataset)[0]] == ["04", "02"]


def test_build_dataset_total_capture(tiny_totalcapture, build):
    root = tiny_totalcapture({"train": [(1, "ROM", 1), (3, 2, 3)], "validation": [(4, 5, 3), (4, "Walking", 2)]})
    opts = ["DATASET.CAMERAS", "[0, 2, 4, 6]"]
    opts += [word for phase in ("TRAIN", "TEST") for word in (f"DATASET.{phase}_DATASET", "multiview_totalcapture")]
    train = build(root, "train", *opts)
    assert (len(train), train.num_views, train.joint_set) == (2, 4, TOTALCAPTURE_16)
    assert [name.split("_ca_")[1][:2] for name in actual_names(train)[1]] == ["01", "03", "05", "07"]
    assert train[0]["visible"].sum(1).tolist() == [16] * 4
    (test,) = build(root, "test", *opts).parts
    assert test.annotations.labels3d.action[test.groups[:, 0]].tolist() == [5, 2]
    renumbered = ["DATASET.TOTALCAPTURE_ACTIONS", "[ROM, Freestyle, Acting, Running, Walking]"]
    (test,) = build(root, "test", *opts, *renumbered).parts
    assert test.annotations.labels3d.action[test.groups[:, 0]].tolist() == [2]  # what was 5 3 is Walking 3: no test


def test_build_dataset_mirrored_camera(tiny_root, build):
    def mirror(records):
        for record in records:
            if record["camera_id"] == 2:
                record["camera"] = record["camera"] | {"R": record["camera"]["R"] * [[-1], [1], [1]]}

    with pytest.raises(InputError, match=r"h36m: train: camera 2: R mirrors the world .*check\.py"):
        build(tiny_root(mpii=0, edit=mirror), "train")


def test_build_dataset_h36m_single_views(tiny_root, build):
    root = tiny_root(mpii=0)
    train = build(root, "train", "DATASET.TRAIN_DATASET", "h36m")
    assert (len(train), train.num_views) == (3, 1)
    annotations = load_h36m(root, "train")
    seen = {int(train[epoch, 0]["image_index"][0]) for epoch in range(40)}
    assert seen == set(group_views(annotations)[0])
    test = build(root, "test", "DATASET.TEST_DATASET", "h36m")
    assert (len(test), test.num_views) == (12, 1)
    assert [int(test[i]["image_index"][0]) for i in range(12)] == list(range(12))
    assert not test[0]["is_multiview"]


@pytest.mark.parametrize("num_views", [2, 3, 4, 5])
def test_build_dataset_mixed_number_of_views(tiny_root, build, num_views):
    root = tiny_root(num_views=num_views, frames=1, mpii=11)
    dataset = build(root, "train", "DATASET.TRAIN_DATASET", "mixed")
    assert dataset.num_views == num_views
    assert [bool(dataset[i]["is_multiview"]) for i in range(len(dataset))] == [True] + [False] * (11 // num_views)
    assert dataset[len(dataset) - 1]["crops"].shape[0] == num_views


def test_build_dataset_mixed_subset(tiny_root, build):
    root = tiny_root(mpii=8)
    for subset in ("validation", "valid"):
        mixed = build(root, "test", "DATASET.TEST_DATASET", "mixed", "DATASET.TEST_SUBSET", subset)
        assert [Path(part.annotations.images_dir).parent.name for part in mixed.parts] == ["h36m", "mpii"]
        assert len(mixed) == 3 + 2


@pytest.mark.parametrize(("name", "groups", "views"), [("mpii", 10, 1), ("multiview_mpii", 2, 4)])
@pytest.mark.parametrize("folder", ["mpii", "MPII"])
def test_build_dataset_mpii(tiny_root, build, name, groups, views, folder):
    root = tiny_root(frames=1, mpii=10, mpii_name=folder)
    dataset = build(root, "train", "DATASET.TRAIN_DATASET", name)
    assert (len(dataset), dataset.num_views) == (groups, views)
    assert dataset[0]["crops"].shape == (views, 64, 64, 3)


@pytest.mark.parametrize("name", ["multiview_mpii", "mixed"])
@pytest.mark.parametrize("num_images", [3, 8, 10])
def test_build_dataset_remainder_of_singles(tiny_root, build, name, num_images):
    root = tiny_root(frames=1, mpii=num_images)
    others = 4 if name == "mixed" else 0  # of Human3.6M
    test = build(root, "test", "DATASET.TEST_DATASET", name)
    seen = np.concatenate([test[index]["image_index"] for index in range(len(test))])
    assert len(seen) == others + 4 * -(-num_images // 4)
    assert seen[: others + num_images].tolist() == list(range(others + num_images))
    assert seen[others + num_images :].tolist() == [others + i for i in range(len(seen) - others - num_images)]
    if num_images < 4:
        with pytest.raises(InputError, match="expected at least 4 images, received 3"):
            build(root, "train", "DATASET.TRAIN_DATASET", name)
    else:
        assert len(build(root, "train", "DATASET.TRAIN_DATASET", name)) == others // 4 + num_images // 4


def test_build_dataset_mixed_head_sizes(tiny_root, tiny_config):
    root = tiny_root(frames=1, mpii=4, mpii_head_px=11.0)
    config = tiny_config(root, "DATASET.TEST_DATASET", "mixed", "TEST.JDR_THRESHOLD", "head")
    (batch,) = build_loader(config, build_dataset(config, root, False), False)
    assert torch.isnan(batch["head_size"][0]).all()
    torch.testing.assert_close(batch["head_size"][1], torch.full((4,), 11.0))


@pytest.mark.parametrize("name", ["mpii", "multiview_mpii", "mixed"])
def test_build_dataset_without_head_boxes(tiny_root, build, name, caplog):
    root = tiny_root(frames=1, mpii=4)
    with caplog.at_level(logging.INFO):
        build(root, "train", "DATASET.TRAIN_DATASET", name)
        assert not caplog.messages
        build(root, "test", "DATASET.TEST_DATASET", name)
    (message,) = caplog.messages
    assert message.startswith("no PCKh")
    assert "prepare_mpii.py" in message
    with pytest.raises(InputError, match=r"TEST\.JDR_THRESHOLD head: .*/mpii/annot: no head_box"):
        build(root, "test", "DATASET.TEST_DATASET", name, "TEST.JDR_THRESHOLD", "head")


def test_build_dataset_head_threshold_human36m(tiny_root, build, caplog):
    root = tiny_root(frames=1, mpii=0)
    with caplog.at_level(logging.INFO):
        build(root, "test")
    assert not caplog.messages
    with pytest.raises(InputError, match=r"TEST\.JDR_THRESHOLD head: multiview_h36m has no head boxes"):
        build(root, "test", "TEST.JDR_THRESHOLD", "head")
    build(root, "train", "TEST.JDR_THRESHOLD", "head")


def test_build_dataset_zip_equals_folder(tiny_root, build):
    root = tiny_root(frames=1, formats=("jpg", "zip"), mpii=4)
    opts = ["DATASET.TRAIN_DATASET", "mixed"]
    folder = build(root, "train", *opts)
    archive = build(root, "train", *opts, "DATASET.DATA_FORMAT", "zip")
    for index in range(2):
        for key, value in folder[index].items():
            np.testing.assert_array_equal(value, archive[index][key])


def test_build_dataset_uncropped(tiny_root, build):
    root = tiny_root(frames=1, mpii=0)
    item = build(root, "train", "DATASET.CROP", "false")[0]
    np.testing.assert_allclose(
        item["joints_crop"][item["visible"]], item["joints_img"][item["visible"]] * 64 / 200, atol=1e-4
    )


def test_build_dataset_unknown_name_or_missing_root(tiny_root, tiny_config, tmp_path):
    config = tiny_config(tiny_root(frames=1, mpii=0))
    with pytest.raises(InputError, match=r"no such folder; DATASET\.ROOT"):
        build_dataset(config, tmp_path / "none", True)
    config.DATASET.TRAIN_DATASET = "multiview_h36"
    with pytest.raises(InputError, match="did you mean 'multiview_h36m'"):
        build_dataset(config, tmp_path, True)


def test_build_dataset_every_registered_name(tiny_root, tiny_totalcapture, tiny_config):
    for name in DATA_SETS:
        root = tiny_totalcapture() if name == "multiview_totalcapture" else tiny_root(mpii=8)
        config = tiny_config(root, "DATASET.TRAIN_DATASET", name, "DATASET.CAMERAS", "[0, 1]")
        sources = [part.annotations.source for part in build_dataset(config, root, True).parts]
        assert ("mpii" in sources) == DATA_SETS[name].has_mpii
        assert bool({"h36m", "totalcapture"} & set(sources)) == has_views(name)


def batches(config, root, workers, epochs=(0, 1)):
    config.WORKERS = workers
    loader = build_loader(config, build_dataset(config, root, True), True)
    found = []
    for epoch in epochs:
        loader.batch_sampler.set_epoch(epoch)
        found += list(loader)
    return found


def test_build_loader_independent_of_workers(tiny_root, tiny_config):
    root = tiny_root(num_views=2, frames=5, formats=("zip",), mpii=4)
    opts = {"TRAIN_DATASET": "mixed", "SCALE_FACTOR": "0.2", "ROT_FACTOR": "30", "DATA_FORMAT": "zip"}
    config = tiny_config(root, *[text for key, value in opts.items() for text in (f"DATASET.{key}", value)])
    alone = batches(config, root, 0)
    shared = batches(config, root, 2)
    assert len(alone) == len(shared) == 2 * 4  # 5 + 2 groups, 2 per batch, the last one is kept
    for one, other in zip(alone, shared, strict=True):
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=0, equal_nan=True, msg=key)
    second = batches(config, root, 0, epochs=(1,))
    assert torch.equal(second[0]["crops"], alone[4]["crops"])  # an epoch does not need the ones before it
    assert not torch.equal(alone[0]["image_index"], second[0]["image_index"])


@pytest.mark.parametrize(("workers", "each"), [(0, 0), (1, 1), (2, 1), (5, 2)])
def test_build_loader_workers_per_rank(tiny_root, tiny_config, workers, each):
    root = tiny_root(num_views=2, frames=1, mpii=0)
    config = tiny_config(root, "WORKERS", str(workers))
    for is_train in (True, False):
        dataset = build_dataset(config, root, is_train)
        assert build_loader(config, dataset, is_train, Ranks(1, 8, 1, 4)).num_workers == each


def test_build_loader_batch_keys_and_shapes(tiny_root, tiny_config):
    root = tiny_root(num_views=3, frames=2, mpii=3)
    config = tiny_config(root, "DATASET.TRAIN_DATASET", "mixed", "TRAIN.BATCH_SIZE", "3", "TRAIN.SHUFFLE", "false")
    (batch,) = build_loader(config, build_dataset(config, root, True), True)
    shapes = {
        "crops": (3, 3, 64, 64, 3),
        "joints_crop": (3, 3, 20, 2),
        "center": (3, 3, 2),
        "scale": (3, 3, 2),
        "image_index": (3, 3),
        "joints_img": (3, 3, 20, 2),
        "visible": (3, 3, 20),
        "head_size": (3, 3),
        "person_side": (3, 3),
        "is_multiview": (3,),
        "occluded": (3, 3, 20),
        "image_to_heatmap": (3, 3, 2, 3),
        "camera_R": (3, 3, 3, 3),
        "camera_T": (3, 3, 3),
        "camera_f": (3, 3, 2),
        "camera_c": (3, 3, 2),
        "camera_k": (3, 3, 3),
        "camera_p": (3, 3, 2),
    }
    assert {key: tuple(value.shape) for key, value in batch.items()} == shapes
    assert batch["crops"].dtype == torch.uint8
    for key in ("joints_crop", "joints_img", "head_size"):
        assert batch[key].dtype == torch.float32
    assert batch["is_multiview"].tolist() == [True, True, False]
    assert batch["is_multiview"].dtype == torch.bool


def test_build_loader_validation_order(tiny_root, tiny_config):
    root = tiny_root(num_views=2, frames=5, mpii=0)
    config = tiny_config(root)
    loader = build_loader(config, build_dataset(config, root, False), False)
    assert torch.cat([batch["image_index"] for batch in loader]).ravel().tolist() == list(range(10))


def test_build_loader_unreadable_image(tiny_root, tiny_config):
    root = tiny_root(num_views=2, frames=1, mpii=0)
    next((root / "h36m/images").rglob("s_01*.jpg")).write_bytes(b"<html>")
    config = tiny_config(root, "WORKERS", "1", "DATASET.TEST_SUBSET", "train")
    for is_train in (True, False):
        loader = build_loader(config, build_dataset(config, root, is_train), is_train)
        with pytest.raises(InputError, match="not an image") as caught:
            list(loader)
        traceback.clear_frames(caught.tb)
        del loader  # here: the garbage collector would wait 5 s for the worker


@pytest.fixture
def cached(tiny_config, tmp_path):
    """Write the crops of an experiment and return its configuration with them: cached(root, *opts)."""

    def make(root, *opts):
        config = tiny_config(root, "DATASET.CROP_CACHE", str(tmp_path / "crops"), *opts)
        for is_train in (True, False):
            for part in build_parts(config.DATASET, root, is_train):
                write_crops(CropFile.of_part(tmp_path / "crops", part, SampleSettings.from_config(config)), 1)
        return config

    return make


def remove_images(root):
    """Empty all images, so that only ready crops can be loaded; their size and time stay."""
    for path in root.rglob("*.jpg"):
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def equal_batches(first, second):
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=0, equal_nan=True, msg=key)


@pytest.mark.parametrize("name", ["h36m", "multiview_h36m", "mpii", "multiview_mpii", "mixed"])
@pytest.mark.parametrize("workers", [0, 2])
def test_build_loader_with_ready_crops_equals_images(tiny_root, cached, name, workers):
    root = tiny_root(num_views=3, frames=5, mpii=7)
    config = cached(root, "DATASET.TRAIN_DATASET", name, "DATASET.TEST_DATASET", name)

    def all_batches():
        return batches(config, root, workers) + list(build_loader(config, build_dataset(config, root, False), False))

    folder = config.DATASET.CROP_CACHE
    config.DATASET.CROP_CACHE = ""
    expected = all_batches()
    config.DATASET.CROP_CACHE = folder
    remove_images(root)
    equal_batches(all_batches(), expected)


def test_build_loader_with_ready_crops_of_an_archive(tiny_root, cached):
    root = tiny_root(num_views=2, frames=3, mpii=4, formats=("zip",))
    config = cached(root, "DATASET.TRAIN_DATASET", "mixed", "DATASET.DATA_FORMAT", "zip")
    ready = batches(config, root, 2)
    config.DATASET.CROP_CACHE = ""
    equal_batches(ready, batches(config, root, 0))


def test_build_loader_with_ready_crops_resumes_within_an_epoch(tiny_root, cached):
    root = tiny_root(num_views=2, frames=7, mpii=0)
    config = cached(root)
    dataset = build_dataset(config, root, True)
    loader = build_loader(config, dataset, True)
    loader.batch_sampler.set_epoch(1)
    whole = list(loader)
    loader.batch_sampler.set_epoch(1, 2)
    equal_batches(list(loader), whole[2:])


def test_build_dataset_flip_uses_ready_crops(tiny_root, cached):
    root = tiny_root(num_views=2, frames=4, mpii=0)
    config = cached(root, "DATASET.FLIP", "true")
    ready = build_dataset(config, root, True)
    assert ready.has_ready_crops
    config.DATASET.CROP_CACHE = ""
    from_images = build_dataset(config, root, True)
    for index in range(4):
        one, other = ready[1, index], from_images[1, index]
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_build_dataset_augmented_training_does_not_use_ready_crops(tiny_root, cached, caplog):
    root = tiny_root(num_views=2, frames=2, mpii=0)
    config = cached(root, "DATASET.ROT_FACTOR", "20")
    with caplog.at_level(logging.INFO):
        train = build_dataset(config, root, True)
    assert caplog.messages == ["DATASET.CROP_CACHE: not used for training, whose scale, rotation or shift is random"]
    first, second = train[0, 0]["crops"], train[1, 0]["crops"]
    assert not np.array_equal(first, second)
    remove_images(root)
    assert build_dataset(config, root, False)[0]["crops"].any()  # validation has no augmentation
