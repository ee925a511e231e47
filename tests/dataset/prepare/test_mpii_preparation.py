from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
from cvf_tests.release import EMPTY, image, make_world, person, write_release

from lib.dataset.mpii import load_mpii
from lib.dataset.prepare import mpii_preparation
from lib.dataset.prepare.mpii_preparation import MpiiSettings, prepare_mpii
from lib.utils.errors import InputError
from lib.utils.files.json_file import read_json


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The synthetic world's ROOT and its records for training and validation."""
    root = tmp_path_factory.mktemp("world") / "synthetic"
    return root, *make_world(root, 6, 4)


@pytest.fixture
def settings(world, tmp_path):
    """A .mat of the world with four images for testing; three training images have a second person.

    The second ones have no position, no joint, or are too close (also their neighbors); the images lie in
    ROOT/mpii/images.
    """
    _, train, valid = world
    records = [*train, *valid]
    extra = {
        0: person(records[0], objpos=None),
        1: person(records[1], annopoints=EMPTY),
        2: person({**records[2], "center": [9.0, 9.0]}),
    }
    images = [
        image(
            record["image"],
            [person(record), *([extra[row]] if row in extra else [])],
            separate=[] if row == 2 else None,
        )
        for row, record in enumerate(records)
    ]
    for number in range(4):
        someone = person(records[number], annopoints=None, x1=None, x2=None)
        images.append(image(f"test_{number}.jpg", [someone, person(records[0], scale=EMPTY)], is_train=False))
    root = tmp_path / "root"
    (root / "mpii/images").mkdir(parents=True)
    for one in images:
        name = one["entry"]["image"][0, 0]["name"]
        (root / "mpii/images" / name).write_bytes(name.encode())
    return MpiiSettings(write_release(tmp_path / "mpii.mat", images), root)


def with_list(settings, content):
    path = settings.root.parent / "list"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return replace(settings, valid_list=path)


def annot(settings, name):
    return read_json(settings.root / "mpii/annot" / f"{name}.json")


def names(records):
    return [record["image"] for record in records]


def test_prepare_mpii_files_equal_the_synthetic_world(world, settings):
    root, train, valid = world
    prepare_mpii(with_list(settings, "\n".join(names(valid))))
    assert len(annot(settings, "train")) == 7
    for subset, expected in (("train", train), ("valid", valid), ("trainval", [*train, *valid])):
        records = [record for record in annot(settings, subset) if record["center"] != [9, 9]]
        assert names(records) == names(expected)
        for record, gt in zip(records, expected, strict=True):
            assert record["joints_vis"] == gt["joints_vis"]
            for key in ("joints", "center", "scale", "head_box"):
                np.testing.assert_allclose(record[key], gt[key], atol=1e-3)
    ours = load_mpii(settings.root, "valid")
    theirs = load_mpii(root, "valid")
    np.testing.assert_array_equal(ours.visible, theirs.visible)
    for key in ("joints_img", "center", "scale", "head_size"):
        np.testing.assert_allclose(getattr(ours, key), getattr(theirs, key), atol=1e-3)


def test_prepare_mpii_test_images_have_no_joints(settings):
    prepare_mpii(settings)
    records = annot(settings, "test")
    assert names(records) == [f"test_{number}.jpg" for number in range(4)]
    assert all(record.keys() == {"image", "center", "scale"} for record in records)
    assert not load_mpii(settings.root, "test").visible.any()


def test_prepare_mpii_gt_valid_follows_the_order_of_valid(world, settings):
    _, _, valid = world
    chosen = [valid[2], valid[0], valid[3]]
    prepare_mpii(with_list(settings, chosen))
    assert names(annot(settings, "valid")) == names(chosen)
    found = scipy.io.loadmat(settings.root / "mpii/annot/gt_valid.mat")
    np.testing.assert_allclose(found["pos_gt_src"][:, :, 1], valid[0]["joints"], atol=1e-3)
    np.testing.assert_array_equal(found["jnt_missing"][:, 2], 1 - np.array(valid[3]["joints_vis"]))
    np.testing.assert_allclose(found["headboxes_src"][:, :, 0].ravel(), valid[2]["head_box"], atol=1e-3)
    without = [
        {key: value for key, value in record.items() if key != "head_box"} for record in annot(settings, "valid")
    ]
    sizes = load_mpii(settings.root, "valid").head_size
    (settings.root / "mpii/annot/valid.json").write_text(json.dumps(without))
    np.testing.assert_allclose(load_mpii(settings.root, "valid").head_size, sizes, rtol=1e-5)


def test_prepare_mpii_list_of_images_or_people(world, settings):
    _, train, _ = world
    second = {"image": train[2]["image"], "center": [9.0, 9.0]}
    report = prepare_mpii(with_list(settings, [second]))
    assert [record["center"] for record in annot(settings, "valid")] == [[9, 9]]
    assert names(annot(settings, "train")).count(train[2]["image"]) == 1
    assert len(annot(settings, "train")) == 10
    assert "\n1 people of train.json are in images of valid.json" in report
    report = prepare_mpii(with_list(settings, [train[5]["image"], train[2]["image"]]))
    assert "in images of valid.json" not in report
    assert names(annot(settings, "valid")) == [train[5]["image"], train[2]["image"], train[2]["image"]]
    assert train[2]["image"] not in names(annot(settings, "train"))
    assert len(annot(settings, "trainval")) == 11


def test_prepare_mpii_people_left_out_are_counted(world, settings):
    _, train, _ = world
    report = prepare_mpii(with_list(settings, [train[2]["image"], train[4]["image"]]))
    assert (settings.root / "mpii/annot/prepare_mpii.md").read_text() == report + "\n"
    for line in (
        "| train.json    |      8 |      8 |          8 |",
        "| valid.json    |      3 |      2 |          3 |",
        "| trainval.json |     11 |     10 |         11 |",
        "| test.json     |      4 |      4 |          - |",
        "| no position or no scale |               1 |           4 |",
        "| no annotated joint      |               1 |           0 |",
        "Missing images: 0.",
    ):
        assert line in report.splitlines()


def test_prepare_mpii_annotated_joints_are_counted(world, settings):
    _, train, valid = world
    report = prepare_mpii(with_list(settings, names(valid)))
    (line,) = [line for line in report.splitlines() if line.startswith("| lwri ")]
    # in training the second person of image 2 comes on top
    train_count = sum(record["joints_vis"][15] for record in [*train, train[2]])
    valid_count = sum(record["joints_vis"][15] for record in valid)
    assert [int(cell) for cell in line.split("|")[2:5]] == [train_count, valid_count, train_count + valid_count]
    assert train_count > valid_count > 0


def test_prepare_mpii_single_person_keeps_separate_people(world, settings):
    _, train, valid = world
    chosen = with_list(replace(settings, single_person=True), [train[2]["image"], valid[0]["image"]])
    report = prepare_mpii(chosen)
    assert names(annot(settings, "valid")) == [valid[0]["image"]]
    assert len(annot(settings, "trainval")) == 9
    assert "| too close to others (--single-person) |               2 |           0 |" in report
    assert "2 of the 3 people on the validation list are left out below." in report


def test_prepare_mpii_without_list_there_is_no_split(settings):
    report = prepare_mpii(settings)
    files = {path.name for path in (settings.root / "mpii/annot").iterdir()}
    assert files == {"trainval.json", "test.json", "prepare_mpii.md"}
    assert "train.json, valid.json and gt_valid.mat were not written" in report
    assert "--valid-list" in report


def test_prepare_mpii_folder_in_capitals_is_found(settings):
    (settings.root / "mpii").rename(settings.root / "MPII")
    prepare_mpii(settings)
    assert len(load_mpii(settings.root, "trainval")) == 11
    assert [path.name for path in settings.root.iterdir()] == ["MPII"]


def test_prepare_mpii_missing_images_are_refused_or_left_out(world, settings):
    _, train, valid = world
    for name in (train[2]["image"], "test_3.jpg"):
        (settings.root / "mpii/images" / name).unlink()
    chosen = with_list(settings, [train[2]["image"], valid[0]["image"]])
    with pytest.raises(InputError, match=rf"/images: 2 of 14 images are missing, the first is '{train[2]['image']}'"):
        prepare_mpii(chosen)
    assert not (settings.root / "mpii/annot").exists()
    report = prepare_mpii(replace(chosen, allow_missing=True))
    assert names(annot(settings, "valid")) == [valid[0]["image"]]
    assert len(annot(settings, "train")) == 8
    assert names(annot(settings, "test")) == [f"test_{number}.jpg" for number in range(3)]
    assert "| image missing (--allow-missing) |               2 |           1 |" in report
    assert f"Missing images: 2, the first is {train[2]['image']}." in report


def test_prepare_mpii_empty_subset_is_refused(world, settings):
    _, train, valid = world
    with pytest.raises(InputError, match=r"mpii\.mat: no person is left for train\.json"):
        prepare_mpii(with_list(settings, names([*train, *valid])))
    with pytest.raises(InputError, match=r"no person is left for valid\.json"):
        prepare_mpii(with_list(replace(settings, single_person=True), [train[2]["image"]]))
    (settings.root / "mpii/images").rename(settings.root / "mpii/elsewhere")
    with pytest.raises(InputError, match="14 of 14 images are missing"):
        prepare_mpii(settings)
    with pytest.raises(InputError, match=r"no person is left for trainval\.json"):
        prepare_mpii(replace(settings, allow_missing=True))
    assert not (settings.root / "mpii/annot").exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_prepare_mpii_zip_holds_the_annotated_images(settings, elsewhere):
    folder = settings.root / "mpii/images"
    (folder / "further.jpg").write_bytes(b"unused")
    if elsewhere:
        folder = folder.rename(settings.root.parent / "pictures")
    prepare_mpii(replace(settings, as_zip=True, images=folder if elsewhere else None))
    with zipfile.ZipFile(settings.root / "mpii/images.zip") as archive:
        used = {*names(annot(settings, "trainval")), *names(annot(settings, "test"))}
        assert sorted(archive.namelist()) == sorted(f"images/{name}" for name in used)
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("images/test_2.jpg") == b"test_2.jpg"


def test_prepare_mpii_packed_images_are_found(settings):
    prepare_mpii(replace(settings, as_zip=True))
    folder = settings.root / "mpii/images"
    folder.rename(settings.root / "gone")
    prepare_mpii(settings)
    with pytest.raises(InputError, match="mpii/images: 14 of 14 images are missing"):
        prepare_mpii(replace(settings, as_zip=True))  # it would be packed into itself
    (settings.root / "mpii/images.zip").write_bytes(b"PK cut")
    with pytest.raises(InputError, match=r"images\.zip: not a zip archive, or truncated"):
        prepare_mpii(settings)


def test_prepare_mpii_images_without_zip_is_refused(settings, tmp_path):
    with pytest.raises(InputError, match=r"--images: valid only with --zip; .*mpii/images"):
        prepare_mpii(replace(settings, images=tmp_path))


def test_prepare_mpii_single_person_unknown_is_refused(world, tmp_path):
    _, train, _ = world
    path = write_release(tmp_path / "a.mat", [image(train[0]["image"], [person(train[0])])], single_person=None)
    with pytest.raises(InputError, match=r"--single-person: the file has no RELEASE\.single_person"):
        prepare_mpii(MpiiSettings(path, tmp_path, single_person=True))


def contents(settings):
    return {
        path.name: path.read_bytes()
        for path in (settings.root / "mpii").rglob("*")
        if path.suffix != ".jpg" and path.is_file()
    }


@pytest.mark.parametrize("name", ["annot/gt_valid.mat", "images.zip", "annot/other.json"])
def test_prepare_mpii_foreign_files_need_force(world, settings, name):
    chosen = replace(with_list(settings, names(world[2])), as_zip=True)
    (settings.root / "mpii/annot").mkdir()
    (settings.root / "mpii" / name).write_bytes(b"precious")
    before = contents(settings)
    with pytest.raises(InputError, match=f"{name}: exists and was not made by this script; .*--force"):
        prepare_mpii(chosen)
    assert contents(settings) == before
    prepare_mpii(replace(chosen, force=True))
    assert ((settings.root / "mpii" / name).read_bytes() == b"precious") == (name == "annot/other.json")
    prepare_mpii(chosen)  # by now the others are ours


def test_prepare_mpii_foreign_archive_needs_force(settings):
    prepare_mpii(settings)
    with zipfile.ZipFile(settings.root / "mpii/images.zip", "w") as archive:
        archive.writestr("images/a.jpg", b"precious")
    prepare_mpii(settings)
    with pytest.raises(InputError, match=r"images\.zip: exists and was not made by this"):
        prepare_mpii(replace(settings, as_zip=True))


def test_prepare_mpii_outdated_split_needs_force(world, settings):
    prepare_mpii(with_list(settings, names(world[2])))
    before = contents(settings)
    other = replace(settings, single_person=True)
    with pytest.raises(InputError, match=r"train\.json: made by an earlier .*remove .*, valid\.json, gt_valid\.mat"):
        prepare_mpii(other)
    assert contents(settings) == before
    report = prepare_mpii(replace(other, force=True))
    assert "train.json, valid.json and gt_valid.mat were not written" in report
    assert sorted(contents(settings)) == ["prepare_mpii.md", "test.json", "trainval.json"]
    assert len(annot(settings, "trainval")) == 9


@pytest.mark.parametrize("damage", ["mat", "list", "image", "zip"])
def test_prepare_mpii_bad_input_changes_no_file(world, settings, monkeypatch, damage):
    _, train, valid = world
    chosen = replace(with_list(settings, names(valid)), as_zip=True)
    prepare_mpii(chosen)
    files = [path for path in (settings.root / "mpii").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    if damage == "mat":
        settings.mat.write_bytes(settings.mat.read_bytes()[:2000])
    elif damage == "list":
        with_list(settings, ["none.jpg"])
    elif damage == "image":
        path = settings.root / "mpii/images" / train[0]["image"]
        del before[path]
        path.unlink()
    else:  # an image cannot be read when others are packed
        read = mpii_preparation.read_bytes
        monkeypatch.setattr(
            mpii_preparation, "read_bytes", lambda path: read(path) if "test" not in path.name else fail(path)
        )
    with pytest.raises(InputError):
        prepare_mpii(chosen)
    assert {path: path.read_bytes() for path in (settings.root / "mpii").rglob("*") if path.is_file()} == before


def fail(path):
    raise InputError(f"{path}: cannot be read")
