from __future__ import annotations

import json
import re

import numpy as np
import pytest

from lib.utils.errors import (
    InputError,
    check_finite,
    check_shape,
    defect_of_part,
    naming_part,
    short_line,
    unknown_name,
)


def test_unknown_name_suggests_the_nearest_in_any_case():
    assert str(unknown_name("backbone", "pose_resent", ["pose_resnet", "pose_hrnet"])) == (
        "unknown backbone 'pose_resent'; did you mean 'pose_resnet'? known: pose_hrnet, pose_resnet"
    )
    many = [f"fusion_{number}" for number in range(20)]
    assert str(unknown_name("fusion", "fusion_x", many)).endswith("'?")  # too many to list
    assert "did you mean 'TRAIN.LR'" in str(unknown_name("key", "train.lr", ["TRAIN.LR", "TEST.STATE"], "a.yaml"))


def test_unknown_name_without_near_name_lists_all():
    error = unknown_name("optimizer", "xyz", ["sgd", "adam"], "b.yaml")
    assert isinstance(error, InputError)
    assert str(error) == "unknown optimizer 'xyz' in b.yaml; known: adam, sgd"
    assert str(unknown_name("fusion", "xyz", ["", "none"])) == "unknown fusion 'xyz'; known: '', none"


def test_unknown_name_accepts_numbers():
    assert "'51'" in str(unknown_name("depth", 51, ["18", "50"]))


def test_short_line_cuts_the_longest_paths_in_the_middle():
    assert short_line("error: a/b.h5: not  a\nfile") == "error: a/b.h5: not a file"
    path = f"/data/{'folder/' * 60}predictions.h5"
    line = short_line(f"error: {path}: truncated; see docs/a.md, or make it anew from {'/x' * 20}")
    assert len(line) == 299
    assert line.startswith("error: /data/folder/")
    assert line.endswith(f"/folder/predictions.h5: truncated; see docs/a.md, or make it anew from {'/x' * 20}")


def test_short_line_without_paths_keeps_both_ends():
    line = short_line(f"error: KEY: expected {'name ' * 200}; set KEY 3")
    assert len(line) == 299
    assert line.startswith("error: KEY: expected")
    assert line.endswith("; set KEY 3")
    assert len(short_line(" ".join(f"/{'abcd/' * 20}{number}" for number in range(9)))) == 299


def test_check_shape_symbols_bind_to_sizes():
    assert check_shape("maps", (2, 4, 8, 8), ("B", 4, "H", "H")) == {"B": 2, "H": 8}
    assert check_shape("any", (3, 5), (None, "N")) == {"N": 5}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2, 3), ("A", 4)), ((2, 3), ("A", "A")), ((2, 3), ("A",)), ((), ("A",)), ((2, 3, 1), (None, 3))],
)
def test_check_shape_mismatch_says_expected_and_received(shape, expected):
    with pytest.raises(InputError) as caught:
        check_shape("maps", shape, expected)
    assert str(caught.value).startswith("maps: expected shape (")
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_check_finite_names_the_first_frame(value):
    values = np.zeros((4, 2, 3), np.float32)
    check_finite("maps", values)
    check_finite("maps", values[:0])
    values[2:, 1, 0] = value
    with pytest.raises(InputError, match=r"^maps: frame 2 of the batch has values that are not finite$"):
        check_finite("maps", values)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_check_finite_tensors(device, bad):
    torch = pytest.importorskip("torch")
    values = torch.full((3, 2, 2), 3e38, device=device)
    check_finite("heatmaps", values)
    check_finite("heatmaps", values[:0])
    values[1, 0, 1] = bad
    with pytest.raises(InputError, match="heatmaps: frame 1"):
        check_finite("heatmaps", values)


def test_defect_of_part_names_part_type_text_and_place_outside_of_libraries():
    with pytest.raises(json.JSONDecodeError) as caught, naming_part("fusion toy"):
        json.loads("no JSON")
    assert re.fullmatch(
        r"fusion toy: JSONDecodeError: Expecting value: line 1 column 1 \(char 0\) \(test_errors.py:\d+\)",
        defect_of_part(caught.value),
    )
    with pytest.raises(ZeroDivisionError) as caught, naming_part("fusion toy"):
        raise ZeroDivisionError
    assert defect_of_part(caught.value).startswith("fusion toy: ZeroDivisionError (")


def test_defect_of_part_is_none_outside_of_parts():
    assert defect_of_part(ZeroDivisionError()) is None
