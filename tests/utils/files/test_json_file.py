from __future__ import annotations

import json

import numpy as np
import pytest

from lib.utils.errors import InputError
from lib.utils.files.json_file import read_json, write_json


def test_write_json_numpy_values_are_plain_and_nan_is_null(tmp_path):
    path = tmp_path / "a.json"
    value = {
        "count": np.int64(3),
        "mean": np.float32(0.5),
        "rates": np.array([0.25, np.nan]),
        "none": float("nan"),
        "pair": (1, 2),
        "path": tmp_path,
    }
    write_json(path, value)
    strict = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict == {
        "count": 3,
        "mean": 0.5,
        "rates": [0.25, None],
        "none": None,
        "pair": [1, 2],
        "path": str(tmp_path),
    }
    assert read_json(path) == strict


def test_write_json_without_indent_is_one_line(tmp_path):
    write_json(tmp_path / "a.json", [{"a": [1, 2]}], indent=None)
    assert (tmp_path / "a.json").read_text() == '[{"a": [1, 2]}]\n'


def test_read_json_unreadable_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('[{"a": 1}, {"a"')
    with pytest.raises(InputError, match=r"cut\.json: not a JSON file"):
        read_json(tmp_path / "cut.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(InputError, match=r"bytes\.json: not a text file"):
        read_json(tmp_path / "bytes.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"deep\.json: not a JSON file"):
        read_json(tmp_path / "deep.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def test_write_json_key_order_is_kept(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": {"d": 2, "c": 3}})
    found = read_json(tmp_path / "a.json")
    assert [*found] == ["b", "a"]
    assert [*found["a"]] == ["d", "c"]


@pytest.mark.filterwarnings("error")
def test_write_json_scalars_cause_no_warning(tmp_path):
    write_json(tmp_path / "a.json", [np.float32("nan"), np.bool_(True), np.int16(-2), float("inf")])
    assert read_json(tmp_path / "a.json") == [None, True, -2, None]


def test_read_json_nan_of_other_writers_is_a_float(tmp_path):
    (tmp_path / "a.json").write_text('{"mean": NaN, "count": 3}')
    found = read_json(tmp_path / "a.json")
    assert np.isnan(found["mean"])
    assert found["count"] == 3


def test_read_json_file_builds_no_class(tmp_path):
    content = {"__instance_type__": ["subprocess", "Popen"], "attributes": {}}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_json(tmp_path / "a.json") == content
