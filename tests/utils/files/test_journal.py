from __future__ import annotations

import pytest

from lib.utils.errors import InputError
from lib.utils.files.journal import Journal


def test_finished_pieces_are_known_again(tmp_path):
    journal = Journal(tmp_path / "deep/work.jsonl", {"step": 5})
    assert journal.entries == {}
    assert not journal.path.exists()  # until there is something to remember
    journal.add("a", {"frames": 3})
    journal.add("b", [1, 2])
    assert Journal(journal.path, {"step": 5}).entries == journal.entries == {"a": {"frames": 3}, "b": [1, 2]}


def test_half_a_line_is_cut_off(tmp_path):
    journal = Journal(tmp_path / "work.jsonl", {})
    journal.add("a", 1)
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"key": "b", "ent')
    again = Journal(journal.path, {})
    assert again.entries == {"a": 1}
    again.add("b", 2)
    assert journal.path.read_bytes() == whole + b'{"key": "b", "entry": 2}\n'


def test_other_settings_are_refused(tmp_path):
    Journal(tmp_path / "work.jsonl", {"step": 5, "quality": 95}).add("a", 1)
    with pytest.raises(InputError, match=r"work\.jsonl: earlier work was done with step 5, now it is 1"):
        Journal(tmp_path / "work.jsonl", {"step": 1, "quality": 95})


@pytest.mark.parametrize("content", ["no json\n", "[" * 100_000 + "\n", "[1]\n", '{"a": 1}\n'])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "work.jsonl").write_text(content)
    with pytest.raises(InputError, match="not a journal of earlier work"):
        Journal(tmp_path / "work.jsonl", {})
    assert (tmp_path / "work.jsonl").read_text() == content


@pytest.mark.parametrize("line", ['{"a": 1}', "[1]", "3", '{"key": [1], "entry": 2}', '{"key": "b"}'])
def test_a_line_that_is_no_entry_is_named(tmp_path, line):
    journal = Journal(tmp_path / "work.jsonl", {})
    journal.add("a", 1)
    with open(journal.path, "a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=r"work\.jsonl: line 3 is no entry of earlier work; remove it"):
        Journal(journal.path, {})
