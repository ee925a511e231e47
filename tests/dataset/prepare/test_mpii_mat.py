from __future__ import annotations

import numpy as np
import pytest
import scipy.io
from cvf_tests.release import EMPTY, image, make_world, person, struct_array, write_release

from lib.dataset.prepare.mpii_mat import read_release
from lib.utils.errors import InputError

RECORD = {
    "joints": [[10.0 + joint, 20.5 + joint] for joint in range(16)],
    "joints_vis": [int(joint != 3) for joint in range(16)],
    "head_box": [5.0, 6.0, 25.0, 36.0],
    "scale": 2.5,
    "center": [100.0, 120.0],
}


@pytest.fixture
def read(tmp_path):
    """read(images, **parts of RELEASE) writes the file and reads it."""
    return lambda images, **changes: read_release(write_release(tmp_path / "mpii.mat", images, **changes))


def test_read_release_equals_the_synthetic_world(tmp_path, read):
    train, valid = make_world(tmp_path / "world", 3, 2)
    records = [*train, *valid]
    found = read([image(record["image"], [person(record)]) for record in records])
    assert [one.name for one in found] == [record["image"] for record in records]
    for one, record in zip(found, records, strict=True):
        (someone,) = one.people
        assert one.is_train
        assert (someone.image, someone.number, someone.is_separate) == (record["image"], 0, True)
        np.testing.assert_allclose(someone.center, record["center"], atol=1e-9)
        assert someone.scale == pytest.approx(record["scale"])
        np.testing.assert_allclose(someone.head_box, record["head_box"], atol=1e-9)
        seen = np.array(record["joints_vis"]) == 1
        np.testing.assert_array_equal(someone.annotated, seen)
        np.testing.assert_allclose(someone.joints[seen], np.array(record["joints"])[seen], atol=1e-9)
        assert np.isnan(someone.joints[~seen]).all()


def test_read_release_empty_or_absent_fields_are_none(read):
    half = struct_array([{"x": 1.0}])
    people = [
        person(RECORD),
        person(RECORD, objpos=None),
        person(RECORD, objpos=EMPTY),
        person(RECORD, objpos=half),
        person(RECORD, scale=EMPTY),
        person(RECORD, scale=0.0),
        person(RECORD, annopoints=EMPTY),
        person(RECORD, annopoints=struct_array([{"point": EMPTY}])),
        person(RECORD, x1=EMPTY),
        person(RECORD, x2=5.0, y2=6.0),
    ]
    alone = person({**RECORD, "joints_vis": [0] * 16}, scale=None, objpos=None, x1=None, annopoints=None)
    first, second, third, empty = read(
        [image("a.jpg", people), image("b.jpg", [alone]), image("c.jpg", [person(RECORD)]), image("d.jpg", [])]
    )
    assert [someone.center is None for someone in first.people] == [False] + 3 * [True] + 6 * [False]
    assert [someone.scale is None for someone in first.people] == 4 * [False] + 2 * [True] + 4 * [False]
    assert [int(someone.annotated.sum()) for someone in first.people] == 6 * [15] + 2 * [0] + 2 * [15]
    assert [bool(np.isnan(someone.head_box).all()) for someone in first.people] == 8 * [False] + 2 * [True]
    assert [someone.number for someone in first.people] == list(range(10))
    (unlabeled,) = second.people
    assert (unlabeled.center, unlabeled.scale) == (None, None)
    assert not unlabeled.annotated.any()
    assert third.people[0].annotated.sum() == 15
    assert empty.people == []


def test_read_release_numbers_as_text_are_read(read):
    points = struct_array(
        [
            {"x": "7", "y": "8.5", "id": "0", "is_visible": "1"},
            {"x": 1, "y": EMPTY, "id": 1, "is_visible": 1},
            {"x": np.nan, "y": 1, "id": 2, "is_visible": 1},
            {"x": np.uint16(3), "y": np.int8(4), "id": np.uint8(9)},
        ]
    )
    ((someone,),) = [
        one.people
        for one in read([image("a.jpg", [person(RECORD, scale="1.5", annopoints=struct_array([{"point": points}]))])])
    ]
    assert np.flatnonzero(someone.annotated).tolist() == [0, 9]
    assert someone.joints[[0, 9]].tolist() == [[7, 8.5], [3, 4]]
    assert someone.scale == 1.5


def test_read_release_separate_people_and_test_images(read):
    people = [person(RECORD)] * 3
    images = [
        image("a.jpg", people, separate=[1, 3]),
        image("b.jpg", people, is_train=False, separate=[]),
        image("c.jpg", people, separate=[2]),
    ]
    found = read(images)
    assert [one.is_train for one in found] == [True, False, True]
    assert [[someone.is_separate for someone in one.people] for one in found] == [
        [True, False, True],
        [False] * 3,
        [False, True, False],
    ]
    assert read(images, single_person=None)[0].people[0].is_separate is None


def test_read_release_other_nesting_is_read(tmp_path):
    """Lists of dictionaries become cells of structs; a copy through scipy's squeezed form loses axes."""
    points = [{"x": 1, "y": 2, "id": 4}, {"x": 3, "y": 4, "id": 15, "is_visible": 0}]
    flat = {
        "x1": 5,
        "y1": 6,
        "x2": 25,
        "y2": 36,
        "scale": 2.5,
        "objpos": {"x": 100, "y": 120},
        "annopoints": {"point": points},
    }
    release = {
        "annolist": [
            {"image": {"name": "a.jpg"}, "annorect": [flat, flat]},
            {"image": {"name": "b.jpg"}, "annorect": flat},
        ],
        "img_train": [1, 1],
        "single_person": [[1], [1]],
    }
    scipy.io.savemat(tmp_path / "cells.mat", {"RELEASE": release})
    squeezed = scipy.io.loadmat(tmp_path / "cells.mat", squeeze_me=True)["RELEASE"]
    objects = scipy.io.loadmat(tmp_path / "cells.mat", squeeze_me=True, struct_as_record=False)["RELEASE"]
    scipy.io.savemat(tmp_path / "squeezed.mat", {"RELEASE": squeezed})
    scipy.io.savemat(tmp_path / "objects.mat", {"RELEASE": objects})
    for name in ("cells", "squeezed", "objects"):
        first, second = read_release(tmp_path / f"{name}.mat")
        assert (first.name, second.name) == ("a.jpg", "b.jpg")
        assert (len(first.people), len(second.people)) == (2, 1)
        for someone in (*first.people, *second.people):
            assert someone.center == (100, 120)
            assert someone.head_box.tolist() == [5, 6, 25, 36]
            assert np.flatnonzero(someone.annotated).tolist() == [4, 15]
            assert someone.joints[15].tolist() == [3, 4]
        assert [someone.is_separate for someone in first.people] == [True, False]


def test_read_release_unknown_joint_is_named(read):
    points = struct_array([{"x": 1, "y": 1, "id": 16}])
    wrong = person(RECORD, annopoints=struct_array([{"point": points}]))
    with pytest.raises(InputError, match=r"mpii\.mat: image 2 of RELEASE\.annolist: person 2: joint id 16; expected 0"):
        read([image("a.jpg", []), image("b.jpg", [person(RECORD), wrong])])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"annolist": None}, "received 0 images"),
        ({"img_train": None}, "received 2 images and 0 entries"),
        ({"img_train": np.ones((1, 3))}, "received 2 images and 3 entries"),
        ({"annolist": np.eye(3)}, "received 0 images"),
        ({"single_person": np.empty((3, 1), object)}, "single_person has 3 entries for 2 images"),
        (
            {"annolist": struct_array([{"image": struct_array([{"name": "a.jpg"}])}, {"image": EMPTY}])},
            r"image 2 of RELEASE\.annolist: has no name",
        ),
    ],
)
def test_read_release_other_structure_is_named(read, changes, words):
    if "single_person" in changes:
        changes["single_person"][:] = [[EMPTY]] * 3
    with pytest.raises(InputError, match=words):
        read([image("a.jpg", []), image("b.jpg", [])], **changes)


def test_read_release_other_files_are_refused(tmp_path):
    scipy.io.savemat(tmp_path / "gt.mat", {"jnt_missing": np.eye(3)})
    with pytest.raises(InputError, match=r"gt\.mat: has no variable 'RELEASE'"):
        read_release(tmp_path / "gt.mat")
    scipy.io.savemat(tmp_path / "number.mat", {"RELEASE": 12})
    with pytest.raises(InputError, match="RELEASE is not a struct"):
        read_release(tmp_path / "number.mat")
    with pytest.raises(InputError, match=r"none\.mat: no such file"):
        read_release(tmp_path / "none.mat")


def test_read_release_truncated_file_is_refused(tmp_path, read):
    read([image("a.jpg", [person(RECORD)])])
    data = (tmp_path / "mpii.mat").read_bytes()
    (tmp_path / "mpii.mat").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"mpii\.mat: not a MATLAB file, or truncated"):
        read_release(tmp_path / "mpii.mat")
