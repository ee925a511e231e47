from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import shutil
from collections import namedtuple

import numpy as np
import pytest
from cvf_tests.annotations import load_h36m

from lib.dataset.groups import Part, group_singles, group_views
from lib.dataset.mpii import load_mpii
from lib.dataset.sample import SampleSettings, load_samples
from lib.dataset.storage.crop_cache import CropFile, open_caches, write_crops
from lib.utils.errors import InputError

SETTINGS = SampleSettings((64, 48), (16, 12), 1.0)


@pytest.fixture
def root(tiny_root):
    return tiny_root(mpii=9, formats=("jpg", "zip"))


@pytest.fixture
def parts(root):
    h36m, mpii = load_h36m(root, "train"), load_mpii(root, "train")
    return [Part(h36m, group_views(h36m)[1:], True), Part(mpii, group_singles(mpii), False)]


def file_of(tmp_path, part, settings=SETTINGS):
    return CropFile.of_part(tmp_path / "crops", part, settings)


@pytest.mark.parametrize("data_format", ["jpg", "zip"])
@pytest.mark.parametrize("workers", [1, 2])
def test_write_crops_equal_the_images(parts, tmp_path, data_format, workers, monkeypatch):
    monkeypatch.setattr("lib.dataset.storage.crop_cache._CROPS_PER_TASK", 3)
    settings = dataclasses.replace(SETTINGS, data_format=data_format)
    for part in parts:
        file = file_of(tmp_path, part, settings)
        write_crops(file, workers)
        rows = part.groups[::-1].ravel()
        expected, found = np.zeros((2, len(rows), 48, 64, 3), np.uint8)
        load_samples(part.annotations, rows, settings, expected)
        file.open().read(rows, found)
        np.testing.assert_array_equal(found, expected)
        assert file.path.stat().st_size == file.num_bytes + 128  # the header
    assert not list((tmp_path / "crops").glob(".*"))


def test_crop_file_has_the_images_of_the_groups_once(parts, tmp_path):
    assert file_of(tmp_path, parts[0]).rows.tolist() == list(range(4, 12))
    twice = dataclasses.replace(parts[1], groups=np.array([[5, 1], [1, 3]]))
    assert file_of(tmp_path, twice).rows.tolist() == [1, 3, 5]


def test_crop_file_name_does_not_depend_on_the_order_of_the_groups(parts, tmp_path):
    shuffled = dataclasses.replace(parts[0], groups=parts[0].groups[::-1].reshape(-1, 1), random_view=True)
    assert file_of(tmp_path, shuffled).path == file_of(tmp_path, parts[0]).path


def other_boxes(annotations):
    scale = annotations.scale.copy()
    scale[5] *= 1.001
    return dataclasses.replace(annotations, scale=scale)


def other_names(annotations):
    image = annotations.image.copy()
    image[5] = image[6]
    return dataclasses.replace(annotations, image=image)


def later_image(annotations):
    path = annotations.images_dir / annotations.image_name(5)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    return annotations


def missing_image(annotations):
    (annotations.images_dir / annotations.image_name(5)).unlink()
    return annotations


@pytest.mark.parametrize("change", [other_boxes, other_names, later_image, missing_image])
def test_crop_file_name_depends_on_images_and_boxes(parts, tmp_path, change):
    before = file_of(tmp_path, parts[0]).path
    assert file_of(tmp_path, parts[0]).path == before
    changed = dataclasses.replace(parts[0], annotations=change(parts[0].annotations))
    assert file_of(tmp_path, changed).path != before


@pytest.mark.parametrize("values", [{"image_wh": (64, 64)}, {"data_format": "zip"}])
def test_crop_file_name_depends_on_settings(parts, tmp_path, values):
    changed = file_of(tmp_path, parts[0], dataclasses.replace(SETTINGS, **values))
    assert changed.path != file_of(tmp_path, parts[0]).path


def test_crop_file_name_does_not_depend_on_targets(parts, tmp_path):
    changed = dataclasses.replace(SETTINGS, heatmap_wh=(8, 6), sigma=3.0, rot_factor=20)
    assert file_of(tmp_path, parts[0], changed).path == file_of(tmp_path, parts[0]).path


def test_crop_file_name_depends_on_the_archive(parts, tmp_path):
    settings = dataclasses.replace(SETTINGS, data_format="zip")
    before = file_of(tmp_path, parts[0], settings).path
    os.utime(f"{parts[0].annotations.images_dir}.zip", ns=(0, 0))
    assert file_of(tmp_path, parts[0], settings).path != before


def test_crop_cache_pickled_opens_the_file_again(parts, tmp_path):
    file = file_of(tmp_path, parts[0])
    write_crops(file, 1)
    cache = file.open()
    data = pickle.dumps(cache)
    assert len(data) < file.num_bytes / 10
    crops, again = np.empty((2, 1, 48, 64, 3), np.uint8)
    cache.read(np.array([7]), crops)
    pickle.loads(data).read(np.array([7]), again)
    np.testing.assert_array_equal(crops, again)


def test_open_caches_of_all_parts(parts, tmp_path, caplog):
    for part in parts:
        write_crops(file_of(tmp_path, part), 1)
    with caplog.at_level(logging.INFO):
        caches = open_caches(tmp_path / "crops", parts, SETTINGS)
    assert [cache.path for cache in caches] == [file_of(tmp_path, part).path for part in parts]
    assert caplog.messages[0].startswith("8 crops of h36m, 64 x 48 px, 0.00 GB, read from ")


def test_open_caches_without_one_file_reads_the_images_and_warns(parts, tmp_path, caplog):
    write_crops(file_of(tmp_path, parts[0]), 1)
    assert open_caches(tmp_path / "crops", parts, SETTINGS) == []
    (message,) = caplog.messages
    assert "crops: no file of the present 8 crops of mpii" in message
    assert "the images are read instead; run/data/cache_crops.py" in message


def test_open_caches_truncated_file_reads_the_images_and_warns(parts, tmp_path, caplog):
    file = file_of(tmp_path, parts[0])
    write_crops(file, 1)
    os.truncate(file.path, file.num_bytes // 2)
    assert open_caches(tmp_path / "crops", parts[:1], SETTINGS) == []
    assert f"{file.path}: not a file of crops, or truncated" in caplog.text


def test_write_crops_needs_the_space_first(parts, tmp_path, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(InputError, match=r"crops: expected 0\.00 GB of free disk for 8 crops of h36m, .*, received"):
        write_crops(file_of(tmp_path, parts[0]), 1)
    assert not list((tmp_path / "crops").iterdir())


def test_write_crops_of_a_damaged_image_leaves_nothing(parts, tmp_path):
    annotations = parts[0].annotations
    (annotations.images_dir / annotations.image_name(9)).write_bytes(b"<html>")
    with pytest.raises(InputError, match="not an image"):
        write_crops(file_of(tmp_path, parts[0]), 1)
    assert not list((tmp_path / "crops").iterdir())


def test_write_crops_removes_the_file_of_a_killed_process(parts, tmp_path):
    file = file_of(tmp_path, parts[0])
    file.path.parent.mkdir()
    left = file.path.parent / f".{file.path.stem}.{2**22 + 1}.tmp.npy"  # above the largest process id of Linux
    left.write_bytes(b"half")
    write_crops(file, 1)
    assert [path.name for path in file.path.parent.iterdir()] == [file.path.name]
