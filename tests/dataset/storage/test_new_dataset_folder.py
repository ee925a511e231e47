from __future__ import annotations

from pathlib import Path

import pytest

from lib.dataset.storage.new_dataset_folder import new_dataset_folder
from lib.utils.errors import InputError

MARKER = "made.json"


def _fill(root: Path, text: str, force: bool = False) -> None:
    with new_dataset_folder(root, force, MARKER) as folder:
        (folder / MARKER).write_text(text)


def test_new_dataset_folder_appears_when_complete(tmp_path):
    root = tmp_path / "deep" / "set"
    with new_dataset_folder(root, force=False, marker=MARKER) as folder:
        (folder / MARKER).write_text("{}")
        assert not root.exists()
    assert (root / MARKER).read_text() == "{}"
    assert [path.name for path in root.parent.iterdir()] == ["set"]


def test_new_dataset_folder_error_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), new_dataset_folder(tmp_path / "set", False, MARKER):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_new_dataset_folder_existing_set_needs_force(tmp_path):
    root = tmp_path / "set"
    _fill(root, "old")
    with pytest.raises(InputError, match="--force"):
        _fill(root, "new")
    assert (root / MARKER).read_text() == "old"
    _fill(root, "new", force=True)
    assert (root / MARKER).read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_new_dataset_folder_other_data_are_never_replaced(tmp_path):
    root = tmp_path / "human36m"
    root.mkdir()
    (root / "precious.pkl").write_text("years of work")
    with pytest.raises(InputError, match="was not made by this script"):
        _fill(root, "new", force=True)
    assert (root / "precious.pkl").read_text() == "years of work"


def test_new_dataset_folder_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be created") as error:
        _fill(tmp_path / "file" / "set", "x")
    assert "\n" not in str(error.value)
