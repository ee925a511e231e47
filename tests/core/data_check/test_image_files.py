from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.annotations import load_h36m
from cvf_tests.tiny_data import SIDE

from lib.core.data_check.image_files import check_images, first_rows, inspect, missing_rows


@pytest.fixture
def annotations(tiny_root):
    return load_h36m(tiny_root(frames=20, mpii=0, formats=("jpg", "zip")), "train")


def judge(annotations, rows=None, data_format="jpg"):
    rows = np.arange(len(annotations)) if rows is None else rows
    facts = inspect(annotations, rows, data_format, 1)
    images = first_rows(annotations)
    return facts, check_images(annotations, facts, missing_rows(annotations, images, data_format), len(images))


def path(annotations, row):
    return annotations.images_dir / annotations.image_name(row)


@pytest.mark.parametrize("data_format", ["jpg", "zip"])
def test_check_images_complete(annotations, data_format):
    facts, section = judge(annotations, data_format=data_format)
    assert facts.image_wh.tolist() == [[SIDE, SIDE]] * 80
    assert facts.size(np.array([3, 4])) == (SIDE, SIDE)
    assert len(set(facts.digest)) == 80
    assert section.body == "80 images, 0 missing; 80 were read."
    assert [finding.level for finding in section.findings] == ["note"]
    assert f"{SIDE} x {SIDE} (80)" in section.findings[0].text


def test_inspect_independent_of_the_number_of_processes(annotations):
    rows = np.arange(70)
    one, two = inspect(annotations, rows, "jpg", 1), inspect(annotations, rows, "jpg", 2)
    assert (one.digest, one.errors) == (two.digest, two.errors)


def test_check_images_missing_and_damaged(annotations):
    path(annotations, 5).unlink()
    path(annotations, 9).write_bytes(path(annotations, 9).read_bytes()[:-300])
    facts, section = judge(annotations)
    assert sorted(facts.errors) == [5, 9]
    errors = [finding.text for finding in section.findings if finding.level == "error"]
    assert errors[0].startswith("1 of 80 images are not in")
    assert annotations.image_name(5) in errors[0]
    assert errors[1].startswith("1 of the 80 images that were read are damaged")
    assert "the JPEG is truncated" in errors[1]
    assert facts.size(np.array([5])) is None


@pytest.mark.parametrize(("copies", "level"), [(1, "error"), (5, "error")])
def test_check_images_repeated_frames(annotations, copies, level):
    for row in range(4, 4 + 4 * copies, 4):
        path(annotations, row).write_bytes(path(annotations, 0).read_bytes())
    _, section = judge(annotations)
    finding = section.findings[-1]
    assert finding.level == level
    assert finding.text.startswith(f"{copies} of 80 images are the same as another one")
    assert f"{annotations.image_name(4)} = {annotations.image_name(0)}" in finding.text


def test_check_images_one_repeated_frame_is_a_warning(tiny_root):
    annotations = load_h36m(tiny_root(frames=30, mpii=0), "train")
    path(annotations, 4).write_bytes(path(annotations, 0).read_bytes())
    assert judge(annotations)[1].findings[-1].level == "warning"
