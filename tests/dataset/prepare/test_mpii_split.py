from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from lib.dataset.prepare.mpii_mat import MpiiImage, MpiiPerson
from lib.dataset.prepare.mpii_split import ListEntry, find_people, read_valid_list
from lib.utils.errors import InputError

NAMES = ["a.jpg", "b.jpg", "c.jpg"]
LIST = Path("valid.json")


@pytest.fixture
def entries(tmp_path):
    """entries(text | bytes) writes the list and reads it."""

    def read(content):
        path = tmp_path / "list"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_valid_list(path, NAMES)

    return read


@pytest.fixture
def hdf5(tmp_path):
    """hdf5(name=array, ...) writes the columns and reads the list."""

    def read(**columns):
        with h5py.File(tmp_path / "valid.h5", "w") as file:
            for name, values in columns.items():
                file[name] = values
        return read_valid_list(tmp_path / "valid.h5", NAMES)

    return read


@pytest.mark.parametrize(
    "text",
    [
        "b.jpg\na.jpg\nb.jpg\n",
        "\ufeffb.jpg\r\n\r\n a.jpg \r\nb.jpg",
        '["b.jpg","a.jpg","b.jpg"]',
        ' [{"image": "b.jpg"}, "a.jpg", {"image": "b.jpg", "scale": 3}]',
    ],
)
def test_read_valid_list_image_names(entries, text):
    assert entries(text) == [ListEntry("b.jpg"), ListEntry("a.jpg"), ListEntry("b.jpg")]


def test_read_valid_list_records_with_center(entries):
    records = [{"image": "b.jpg", "center": [3, 4.5], "joints": []}, {"image": "a.jpg", "center": None}]
    assert entries(json.dumps(records)) == [ListEntry("b.jpg", (3.0, 4.5)), ListEntry("a.jpg")]


def test_read_valid_list_stacked_hourglass_files(hdf5):
    center = np.array([[1.0, 2], [3, 4]])
    names = [ListEntry("c.jpg"), ListEntry("a.jpg")]
    at = [ListEntry("c.jpg", (1, 2)), ListEntry("a.jpg", (3, 4))]
    codes = np.zeros((2, 16))
    for row, entry in enumerate(names):
        codes[row, : len(entry.image)] = [ord(letter) for letter in entry.image]
    for imgname in (["c.jpg", "a.jpg"], np.array([b"c.jpg", b"a.jpg"]), codes):
        assert hdf5(imgname=imgname) == names
        assert hdf5(imgname=imgname, center=center, index=[0, 0], person=[9, 9]) == at
    assert hdf5(index=[2.0, 0.0]) == names
    assert hdf5(index=[2, 0], person=[0, 1]) == [ListEntry("c.jpg", number=0), ListEntry("a.jpg", number=1)]
    assert hdf5(index=[2, 0], person=[1, 1], center=center) == at


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the list is empty"),
        (" \n\n", "the list is empty"),
        ("[]", "the list is empty"),
        ('["a.jpg"', "damaged"),
        ("{}", "expected a JSON list"),
        ("[1]", "entry 0 is neither a name"),
        ('["a.jpg", {"center": [1, 2]}]', "entry 1 is neither a name"),
        ('[{"image": "a", "center": [1]}]', "entry 0 is neither a name"),
        ('[{"image": "a", "center": ["x", 1]}]', "damaged"),
        (b"\xff\xd8\xff\xe0", "not a list of validation images"),
    ],
)
def test_read_valid_list_other_content_is_refused(entries, content, words):
    with pytest.raises(InputError, match=rf"list: .*{words}"):
        entries(content)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"part": [1]}, "neither 'imgname' nor 'index'"),
        ({"index": [0, 3]}, "'index': expected 0 to 2, received 3"),
        ({"index": [-1]}, "'index': expected 0 to 2, received -1"),
        ({"index": [0, 1], "person": [0]}, r"lengths \[2, 1\]"),
        ({"index": 1}, "damaged"),
        ({"imgname": ["a.jpg"], "center": [[1.0, 2, 3]]}, "damaged"),
        ({"index": []}, "the list is empty"),
    ],
)
def test_read_valid_list_other_hdf5_is_refused(hdf5, columns, words):
    with pytest.raises(InputError, match=rf"valid\.h5: .*{words}"):
        hdf5(**columns)


def test_read_valid_list_truncated_or_missing_file_is_refused(hdf5, tmp_path):
    hdf5(index=np.zeros(1000, int))
    path = tmp_path / "valid.h5"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"valid\.h5: .*damaged"):
        read_valid_list(path, NAMES)
    with pytest.raises(InputError, match=r"none: no such file"):
        read_valid_list(tmp_path / "none", NAMES)


def someone(name, number, center=(50.0, 60.0)):
    return MpiiPerson(name, number, center, 1.0, np.zeros((16, 2)), np.zeros(4), True)


@pytest.fixture
def images():
    """a.jpg with 3 people, b.jpg with 1, c.jpg without any, t.jpg for testing."""
    return [
        MpiiImage("a.jpg", True, [someone("a.jpg", 0), someone("a.jpg", 1, (51.5, 60)), someone("a.jpg", 2, None)]),
        MpiiImage("b.jpg", True, [someone("b.jpg", 0)]),
        MpiiImage("c.jpg", True, []),
        MpiiImage("t.jpg", False, [someone("t.jpg", 0)]),
    ]


def ids(people):
    return [f"{person.image[0]}{person.number}" for person in people]


def test_find_people_images_keep_the_order_of_the_list(images):
    found = find_people([ListEntry("b.jpg"), ListEntry("a.jpg"), ListEntry("b.jpg"), ListEntry("c.jpg")], images, LIST)
    assert ids(found) == ["b0", "a0", "a1", "a2"]


def test_find_people_center_or_number_selects_one_person(images):
    entries = [ListEntry("a.jpg", (51.6, 60.0)), ListEntry("b.jpg", (50, 60)), ListEntry("a.jpg", (50.2, 60.3))]
    assert ids(find_people(entries, images, LIST)) == ["a1", "b0", "a0"]
    assert ids(find_people([ListEntry("a.jpg", number=2), ListEntry("a.jpg", number=0)], images, LIST)) == ["a2", "a0"]
    assert ids(find_people([ListEntry("a.jpg", (50.0, 60.0))] * 2, images, LIST)) == ["a0"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            [ListEntry("x.jpg"), ListEntry("y.jpg")],
            r"2 of 3 entries name no image of MPII's file, for example 'x\.jpg'",
        ),
        ([ListEntry("t.jpg")], r"1 of 2 entries name test images, whose joints are not public, for example 't\.jpg'"),
        ([ListEntry("a.jpg", (50.0, 70.0))], r"1 of 2 entries name no person .*, for example 'a\.jpg' at \(50, 70\)"),
        ([ListEntry("a.jpg", number=3)], r"1 of 2 entries name no person .*, for example 'a\.jpg', person 3"),
        ([ListEntry("c.jpg", (1.0, 1.0))], r"1 of 2 entries name no person .*, for example 'c\.jpg' at \(1, 1\)"),
    ],
)
def test_find_people_entries_without_person_are_counted(images, wrong, words):
    with pytest.raises(InputError, match=rf"valid\.json: {words}"):
        find_people([ListEntry("b.jpg"), *wrong], images, LIST)
