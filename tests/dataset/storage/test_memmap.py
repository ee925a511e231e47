from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import re
import shutil
from dataclasses import fields

import numpy as np
import pytest
from cvf_tests.annotations import load_h36m

from lib.dataset.annotations import Annotations
from lib.dataset.conventions import ORIGINAL_CONVENTIONS, Conventions
from lib.dataset.groups import group_views
from lib.dataset.h36m import h36m_file
from lib.dataset.protocol import HUMAN36M
from lib.dataset.storage import memmap, memmap_writer
from lib.dataset.storage.h36m_pickle import load_records, to_annotations
from lib.dataset.storage.memmap import open_compact
from lib.dataset.storage.memmap_writer import compact_writer, save_compact
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17, MPII_16, to_union


@pytest.fixture
def stored(tiny_root):
    """(path of the pickle, annotations read from it, folder of arrays)."""
    root = tiny_root(mpii=0)
    file = h36m_file(root, "train")
    annotations = file.read()
    save_compact(annotations, file)
    return file.path, annotations, file.compact_folder


def reload(path, conventions=ORIGINAL_CONVENTIONS) -> Annotations:
    return load_h36m(path.parents[2], "train", True, conventions)


def assert_same(first: Annotations, second: Annotations) -> None:
    for name in ("image", "joints_img", "visible", "center", "scale"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), strict=True)
    for field in fields(first.labels3d):
        if field.name != "cameras":
            one, other = getattr(first.labels3d, field.name), getattr(second.labels3d, field.name)
            np.testing.assert_array_equal(one, other, strict=True)
    for field in fields(first.labels3d.cameras):
        np.testing.assert_array_equal(
            getattr(first.labels3d.cameras, field.name), getattr(second.labels3d.cameras, field.name), strict=True
        )
    assert (first.source, first.joint_set, first.images_dir) == (second.source, second.joint_set, second.images_dir)


def test_open_compact_optional_arrays(tiny_root):
    hidden = np.zeros(17, bool)
    hidden[3] = True

    def edit(records):
        return [record | {"joints_occluded": hidden if row == 2 else ~hidden} for row, record in enumerate(records)]

    file = h36m_file(tiny_root(mpii=0, edit=edit), "train")
    annotations = file.read()
    assert annotations.occluded.shape == (12, 20)
    np.testing.assert_array_equal(annotations.occluded[2], to_union(hidden[None], H36M_17)[0])
    save_compact(annotations, file)
    np.testing.assert_array_equal(reload(file.path).occluded, annotations.occluded, strict=True)
    plain = h36m_file(tiny_root(mpii=0, edit=lambda records: edit(records)[:-1] + records[-1:]), "train")
    assert plain.read().occluded is None  # not all records note it
    save_compact(plain.read(), plain)
    assert reload(plain.path).occluded is None


def test_open_compact_equals_pickle(stored):
    path, annotations, folder = stored
    assert folder == path.parent / "h36m_train.arrays"
    opened = reload(path)
    assert_same(opened, annotations)
    assert not opened.joints_img.flags.owndata  # mapped, not read
    assert not opened.joints_img.flags.writeable
    np.testing.assert_array_equal(group_views(opened), group_views(annotations))


def test_open_annotations_without_pickle(stored):
    path, annotations, _ = stored
    path.unlink()
    assert_same(load_h36m(path.parents[2], "train"), annotations)


def _joints_of(annotations: Annotations) -> tuple[np.ndarray, bool]:
    return annotations.joints_img[:3].copy(), annotations.joints_img.flags.writeable


def test_open_compact_pickled_by_path(stored):
    path, annotations, _ = stored
    opened = reload(path)
    assert len(pickle.dumps(opened)) < 2000 < len(pickle.dumps(annotations))
    assert_same(pickle.loads(pickle.dumps(opened)), annotations)
    assert_same(pickle.loads(pickle.dumps(annotations)), annotations)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        joints, writeable = pool.apply(_joints_of, (opened,))
    np.testing.assert_array_equal(joints, annotations.joints_img[:3])
    assert not writeable


def test_open_annotations_new_pickle(stored, caplog):
    path, _, _ = stored
    records = pickle.loads(path.read_bytes())
    records[0]["joints_2d"] = records[0]["joints_2d"] + 5
    path.write_bytes(pickle.dumps(records))
    with caplog.at_level(logging.WARNING):
        assert reload(path).joints_img[0, 0, 0] == pytest.approx(records[0]["joints_2d"][0, 0])
    assert "h36m_train.arrays does not belong to h36m_train.pkl" in caplog.text


def test_open_annotations_copied_pickle(stored, tmp_path):
    path, annotations, _ = stored
    shutil.copytree(path.parents[2], tmp_path / "copy", copy_function=shutil.copyfile)  # new times
    (tmp_path / "copy/h36m/images").mkdir(exist_ok=True)
    assert load_h36m(tmp_path / "copy", "train").reopen is not None
    np.testing.assert_array_equal(load_h36m(tmp_path / "copy", "train").image, annotations.image)


def test_open_annotations_copied_pickle_digest_once(stored, monkeypatch):
    path, _, folder = stored
    os.utime(path, ns=(1, 1))
    assert reload(path).reopen is not None
    assert json.loads((folder / "meta.json").read_text())["pickle"]["mtime_ns"] == 1
    monkeypatch.setattr(memmap, "file_fingerprint", None)
    assert reload(path).reopen is not None


def test_open_annotations_changed_byte(stored, caplog):
    path, _, _ = stored
    content = path.read_bytes()
    middle = content.index(b".jpg", len(content) // 2)
    path.write_bytes(content[:middle] + b".jpx" + content[middle + 4 :])
    with caplog.at_level(logging.WARNING):
        assert reload(path).reopen is None
    assert "h36m_train.arrays does not belong to h36m_train.pkl" in caplog.text


def test_open_annotations_former_spelling_of_center(stored, caplog):
    path, annotations, folder = stored
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["made_with"]["camera_t"] == "center"
    meta["made_with"]["camera_t"] = "centre"
    (folder / "meta.json").write_text(json.dumps(meta))
    path.unlink()
    assert_same(reload(path), annotations)
    assert not caplog.messages


def test_open_annotations_other_conventions(stored, caplog):
    path, annotations, _ = stored
    message = r"h36m_train.arrays: settings: expected .*'m'.* received .*'mm'"
    with caplog.at_level(logging.WARNING):  # the pickle is there: it serves any convention
        meters = reload(path, Conventions("m"))
    assert re.search(message, caplog.text)
    np.testing.assert_allclose(meters.labels3d.pose_cam, 1000 * annotations.labels3d.pose_cam)
    path.unlink()
    with pytest.raises(InputError, match=message):
        reload(path, Conventions("m"))


def test_compact_writer_in_parts(stored, tmp_path):
    path, annotations, folder = stored
    root = tmp_path / "parts"
    shutil.copytree(path.parents[2], root, ignore=shutil.ignore_patterns("*.arrays"))
    file = h36m_file(root, "train")
    records = load_records(file.path)
    with compact_writer(file, len(records)) as append:
        for part in (records[:5], records[5:6], records[6:]):
            append(to_annotations(part, file.path, "h36m", H36M_17, ORIGINAL_CONVENTIONS))
    for name in ("joints_img", "image", "camera_idx", "camera_R"):
        assert (file.compact_folder / f"{name}.npy").read_bytes() == (folder / f"{name}.npy").read_bytes()
    opened = load_h36m(root, "train")
    assert opened.reopen is not None
    np.testing.assert_array_equal(
        opened.labels3d.pose_world(np.arange(len(records))), annotations.labels3d.pose_world(np.arange(len(records)))
    )


@pytest.mark.parametrize("name", ["joints_img.npy", "camera_R.npy", "subject.npy", "meta.json"])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_open_annotations_damaged_arrays(stored, name, damage):
    path, annotations, folder = stored
    damage(folder / name)
    assert_same(reload(path), annotations)  # of the pickle
    path.unlink()
    with pytest.raises(
        InputError, match=rf"h36m_train\.arrays/{name}: .*(truncated|no such file|not a JSON)"
    ) as caught:
        reload(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", ["num_images", "source"])
def test_open_annotations_incomplete_meta(stored, lost):
    path, annotations, folder = stored
    meta = json.loads((folder / "meta.json").read_text())
    del meta[lost]
    (folder / "meta.json").write_text(json.dumps(meta))
    assert_same(reload(path), annotations)  # of the pickle
    path.unlink()
    with pytest.raises(InputError, match=r"meta\.json: 'num_images' or 'source' is missing; recreate"):
        reload(path)


@pytest.mark.parametrize("optional", [None, 3, ["../meta"], "occluded"])
def test_open_annotations_wrong_optional(stored, optional):
    path, annotations, folder = stored
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"optional": optional}))
    assert_same(reload(path), annotations)  # of the pickle
    path.unlink()
    with pytest.raises(InputError, match=r"meta\.json: 'optional': expected some of occluded, received .*recreate"):
        reload(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("subject", lambda array: np.array(3)),
        ("camera_R", lambda array: np.array(3.0)),
        ("joints_img", lambda array: array[:, :17]),
        ("pose_cam", lambda array: array[..., :2]),
        ("camera_id", lambda array: array.astype(float)),
        ("visible", lambda array: array.astype(np.float32)),
        ("image", lambda array: array.astype(str)),
        ("camera_f", lambda array: array[:, 0]),
    ],
)
def test_open_annotations_wrong_shape_or_type(stored, name, change):
    path, annotations, folder = stored
    np.save(folder / f"{name}.npy", change(np.load(folder / f"{name}.npy")))
    assert_same(reload(path), annotations)  # of the pickle
    path.unlink()
    with pytest.raises(
        InputError, match=rf"{name}\.npy: expected rows of shape .* and type '.', received .*; recreate"
    ):
        reload(path)


def test_open_compact_32_bit_frames(stored):
    path, annotations, folder = stored
    assert annotations.labels3d.frame.dtype == np.int64
    np.save(folder / "frame.npy", annotations.labels3d.frame.astype(np.int32))
    path.unlink()
    np.testing.assert_array_equal(reload(path).labels3d.frame, annotations.labels3d.frame)


def test_open_annotations_wrong_length_version_or_joints(stored):
    path, annotations, folder = stored
    path.unlink()
    np.save(folder / "center.npy", annotations.center[:5])
    with pytest.raises(InputError, match=r"center\.npy: expected 12 rows, received 5"):
        reload(path)
    with pytest.raises(InputError, match=r"joints: expected .*'rkne', 'rhip'.* received .*'rank', 'lhip'"):
        open_compact(folder, MPII_16, HUMAN36M)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"version": 0}))
    with pytest.raises(InputError, match=r"version: expected 2, .*recreate"):
        reload(path)


def test_save_compact_failure_keeps_old_arrays(stored, monkeypatch):
    path, annotations, folder = stored
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(memmap_writer._ArrayFile, "append", full)
    with pytest.raises(InputError, match="No space left"):
        save_compact(annotations, h36m_file(path.parents[2], "train"))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert {entry.name for entry in folder.parent.iterdir() if "arrays" in entry.name} == {folder.name}
