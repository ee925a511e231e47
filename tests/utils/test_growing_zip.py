from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from lib.utils.checks import InputError
from lib.utils.growing_zip import GrowingZip

FIRST = [("images/a/1.jpg", b"12345"), ("images/a/é.jpg", b"")]
SECOND = [("images/b/1.jpg", bytes(1000)), ("images/b/2.jpg", b"xyz")]


def names(members):
    return [name for name, _ in members]


def test_an_archive_in_one_go(tmp_path):
    with GrowingZip(tmp_path / "images.zip", []) as archive:
        archive.append(FIRST)
        archive.append(SECOND)
        assert not (tmp_path / "images.zip").exists()
        archive.finish()
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
        whole.finish()
    with GrowingZip(tmp_path / "parts.zip", []) as archive:
        index = archive.append(FIRST)
    with open(tmp_path / "parts.zip.partial", "ab") as file:
        file.write(rest)
    with GrowingZip(tmp_path / "parts.zip", [(names(FIRST), index)]) as archive:
        archive.append(SECOND)
        archive.finish()
    assert (tmp_path / "parts.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()


def test_groups_may_be_given_back_in_any_order(tmp_path):
    with GrowingZip(tmp_path / "a.zip", []) as archive:
        first, second = archive.append(FIRST), archive.append(SECOND)
    with GrowingZip(tmp_path / "a.zip", [(names(SECOND), second), (names(FIRST), first)]) as archive:
        archive.finish()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == names(FIRST + SECOND)


def test_a_finished_archive_grows_again(tmp_path):
    with GrowingZip(tmp_path / "a.zip", []) as archive:
        index = archive.append(FIRST)
        archive.finish()
    with GrowingZip(tmp_path / "a.zip", [(names(FIRST), index)]) as archive:
        archive.append(SECOND)
        archive.finish()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == names(FIRST + SECOND)


def test_an_index_that_does_not_fit_the_file(tmp_path):
    with GrowingZip(tmp_path / "a.zip", []) as archive:
        first, second = archive.append(FIRST), archive.append(SECOND)
    partial = tmp_path / "a.zip.partial"
    with pytest.raises(InputError, match="its index has a gap at byte 0"):
        GrowingZip(tmp_path / "a.zip", [(names(SECOND), second)])
    partial.write_bytes(partial.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"a\.zip\.partial: has \d+ bytes, its index says \d+"):
        GrowingZip(tmp_path / "a.zip", [(names(FIRST), first), (names(SECOND), second)])


@pytest.mark.slow
def test_more_than_4_gigabytes(tmp_path):
    block = bytes(2**30)
    with GrowingZip(tmp_path / "a.zip", []) as archive:
        archive.append((f"images/{number}.bin", block) for number in range(5))
        archive.append([("images/last.jpg", b"behind 4 GB")])
        archive.finish()
    code = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('images/last.jpg'))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.zip")], capture_output=True, text=True)
    assert done.stdout == "b'behind 4 GB'\n"
