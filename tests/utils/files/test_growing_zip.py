from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lib.utils.errors import InputError
from lib.utils.files.growing_zip import GrowingZip

FIRST = [("images/a/1.jpg", b"12345"), ("images/a/é.jpg", b"")]
SECOND = [("images/b/1.jpg", bytes(1000)), ("images/b/2.jpg", b"xyz")]


def names(members):
    return [name for name, _ in members]


def test_an_archive_in_one_go(tmp_path):
    with GrowingZip(tmp_path / "images.zip", []) as archive:
        archive.append(FIRST)
        archive.append(SECOND)
        assert not (tmp_path / "images.zip").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["images.zip"]
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == FIRST + SECOND
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("rest", [b"", b"half a group that was being written"])
def test_work_goes_on_behind_the_last_known_group(tmp_path, rest):
    with GrowingZip(tmp_path / "whole.zip", []) as whole:
        whole.append(FIRST)
        whole.append(SECOND)
    index = GrowingZip(tmp_path / "parts.zip", []).append(FIRST)  # killed: the block does not end
    with open(tmp_path / "parts.zip.partial", "ab") as file:
        file.write(rest)
    with GrowingZip(tmp_path / "parts.zip", [(names(FIRST), index)]) as archive:
        archive.append(SECOND)
    assert (tmp_path / "parts.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()


def test_groups_may_be_given_back_in_any_order(tmp_path):
    archive = GrowingZip(tmp_path / "a.zip", [])
    first, second = archive.append(FIRST), archive.append(SECOND)
    with GrowingZip(tmp_path / "a.zip", [(names(SECOND), second), (names(FIRST), first)]):
        pass
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == names(FIRST + SECOND)


def test_a_finished_archive_grows_again(tmp_path):
    with GrowingZip(tmp_path / "a.zip", []) as archive:
        index = archive.append(FIRST)
    with GrowingZip(tmp_path / "a.zip", [(names(FIRST), index)]) as archive:
        archive.append(SECOND)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == names(FIRST + SECOND)


def read_all(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return [(name, archive.read(name)) for name in archive.namelist()]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("a video is damaged"), OSError(28, "disk full")])
def test_an_error_leaves_the_whole_groups_in_place(tmp_path, error):
    def broken():
        yield SECOND[0]
        raise error

    with GrowingZip(tmp_path / "a.zip", []) as archive:
        index = archive.append(FIRST)
    with (
        pytest.raises((KeyboardInterrupt, InputError), match=r"disk full|damaged|^$"),
        GrowingZip(tmp_path / "a.zip", [(names(FIRST), index)]) as archive,
    ):
        archive.append(broken())
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    assert read_all(tmp_path / "a.zip") == FIRST


def test_what_stood_there_stays_until_there_is_a_group(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"somebody's")
    with pytest.raises(KeyboardInterrupt), GrowingZip(tmp_path / "a.zip", []):
        raise KeyboardInterrupt
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.zip", b"somebody's")]
    with GrowingZip(tmp_path / "a.zip", []) as archive:
        archive.append(FIRST)
    assert read_all(tmp_path / "a.zip") == FIRST


def test_a_disk_that_is_full_at_the_end(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    archive = GrowingZip(tmp_path / "a.zip", [])
    index = archive.append(FIRST)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"No space left.*; a\.zip\.partial holds what is finished"), archive:
        pass
    monkeypatch.undo()
    with GrowingZip(tmp_path / "a.zip", [(names(FIRST), index)]):
        pass
    assert read_all(tmp_path / "a.zip") == FIRST


LIMITED = """
import json, resource, signal, sys
from lib.utils.errors import InputError
from lib.utils.files.growing_zip import GrowingZip
path, size, indices = sys.argv[1], int(sys.argv[2]), []
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    with GrowingZip(path, []) as archive:
        for number in range(100):
            indices.append(archive.append([(f"images/{number}.jpg", bytes(50)), (f"images/{number}b.jpg", bytes(9))]))
except InputError as error:
    print(json.dumps([str(error), len(indices)]))
"""


@pytest.mark.parametrize("size", [5000, 5061, 5137])
def test_whatever_a_full_disk_cuts_off_the_directory_has_its_room(tmp_path, size):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a.zip"), str(size)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    error, num_groups = json.loads(done.stdout)
    assert "a.zip.partial: cannot be written (File too large)" in error
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    names = [name for number in range(num_groups) for name in (f"images/{number}.jpg", f"images/{number}b.jpg")]
    assert [name for name, _ in read_all(tmp_path / "a.zip")] == names
    assert num_groups > 10


def test_an_index_that_does_not_fit_the_file(tmp_path):
    archive = GrowingZip(tmp_path / "a.zip", [])
    first, second = archive.append(FIRST), archive.append(SECOND)
    partial = tmp_path / "a.zip.partial"
    with pytest.raises(InputError, match="its index has a gap at byte 0"):
        GrowingZip(tmp_path / "a.zip", [(names(SECOND), second)])
    os.truncate(partial, second["start"] + 5)
    with pytest.raises(InputError, match=r"a\.zip\.partial: has \d+ bytes, its index says \d+"):
        GrowingZip(tmp_path / "a.zip", [(names(FIRST), first), (names(SECOND), second)])


@pytest.mark.slow
def test_more_than_4_gigabytes(tmp_path):
    block = bytes(2**30)
    with GrowingZip(tmp_path / "a.zip", []) as archive:
        archive.append((f"images/{number}.bin", block) for number in range(5))
        archive.append([("images/last.jpg", b"behind 4 GB")])
    code = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('images/last.jpg'))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.zip")], capture_output=True, text=True)
    assert done.stdout == "b'behind 4 GB'\n"
