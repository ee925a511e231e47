from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.utils.errors import InputError
from lib.utils.files.atomic import (
    atomic_directory,
    atomic_path,
    expanded_path,
    list_folder,
    make_directory,
    read_bytes,
    read_text,
    write_bytes,
    write_csv,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_atomic_path_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "a.png"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".png"  # it selects the format
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["a.png"]


def test_atomic_path_error_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail_halfway():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_write_bytes_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lib.utils.files.atomic.os.replace", full)
    with pytest.raises(InputError, match=r"a\.txt: cannot be written \(No space left on device\)"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_make_directory_existing_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"file: cannot be created"):
        make_directory(tmp_path / "file")
    with pytest.raises(InputError, match=r"below: cannot be created \(Not a directory\)"):
        write_bytes(tmp_path / "file" / "below" / "a.txt", b"")


def test_make_directory_read_only_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):  # root may write everywhere
        monkeypatch.setattr("lib.utils.files.atomic.os.access", lambda *_: False)
    with pytest.raises(InputError, match="locked: the directory is not writable"):
        make_directory(folder)


def test_read_bytes_unreadable_file_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\0")
    assert read_bytes(tmp_path / "a") == b"\xff\0"
    with pytest.raises(InputError, match="none: no such file"):
        read_bytes(tmp_path / "none")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        read_bytes(tmp_path)


def test_write_csv_quotes_commas(tmp_path):
    write_csv(tmp_path / "a.csv", ["joint", "mm"], [["upper neck", 1.5], ["a,b", 2]])
    assert (tmp_path / "a.csv").read_bytes() == b'joint,mm\nupper neck,1.5\n"a,b",2\n'


@pytest.fixture
def dead() -> int:
    """Id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_atomic_path_removes_files_of_killed_processes(tmp_path, dead):
    path = tmp_path / "a[1].pth.tar"
    gone = tmp_path / f".a[1].pth.{dead}.tmp.tar"
    kept = [
        tmp_path / f".a[1].pth.{os.getppid()}.tmp.tar",
        tmp_path / ".a[1].pth.old.tmp.tar",
        tmp_path / f".a[1].pth.{'9' * 30}.tmp.tar",
        tmp_path / f".b.{dead}.tmp.tar",
    ]
    for file in (gone, *kept):  # kept: of a running process, without process id, of another file
        file.write_bytes(b"half")
    write_bytes(path, b"new")
    assert names(tmp_path) == sorted(file.name for file in (path, *kept))


def write_directory(path, content):
    with atomic_directory(path) as folder:
        (folder / "file").write_text(content)


def test_atomic_directory_replaces_an_earlier_one(tmp_path):
    for content in ("old", "new"):
        write_directory(tmp_path / "deep/a.arrays", content)
        assert (tmp_path / "deep/a.arrays/file").read_text() == content
        assert names(tmp_path / "deep") == ["a.arrays"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_atomic_directory_failing_rename_keeps_the_old_one(tmp_path, monkeypatch, error):
    path = tmp_path / "a.arrays"
    write_directory(path, "old")
    replace = os.replace
    calls = []

    def second_fails(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise error
        replace(source, target)

    monkeypatch.setattr("lib.utils.files.atomic.os.replace", second_fails)
    with pytest.raises((InputError, KeyboardInterrupt)):
        write_directory(path, "new")
    assert (path / "file").read_text() == "old"
    assert names(tmp_path) == ["a.arrays"]


KILLED = """
import os, signal, sys
from lib.utils.files import atomic
replace = os.replace
def kill(source, target):
    if str(source).endswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
atomic.os.replace = kill
with atomic.atomic_directory(sys.argv[1]) as folder:
    (folder / "file").write_text("killed")
    if sys.argv[2] == "within":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("where", ["within", ".partial"])
def test_atomic_directory_killed_writer_is_cleaned_up(tmp_path, where):
    path = tmp_path / "a.arrays"
    write_directory(path, "old")
    subprocess.run([sys.executable, "-c", KILLED, path, where], cwd=Path(__file__).parents[3], check=False)
    assert len(names(tmp_path)) == 2
    assert path.exists() == (where == "within")
    with pytest.raises(ZeroDivisionError), atomic_directory(path):
        raise ZeroDivisionError
    assert names(tmp_path) == ["a.arrays"]
    assert (path / "file").read_text() == "old"


def test_expanded_path_home_and_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.delenv("NOWHERE", raising=False)
    assert expanded_path("~/out", "KEY") == "/home/user/out"
    assert expanded_path("$SCRATCH/${SCRATCH}", "KEY") == "/scratch//scratch"
    assert expanded_path("a/b~1", "KEY") == "a/b~1"
    with pytest.raises(
        InputError, match=r"KEY: expected a path, received \$NOWHERE/out: there is no variable \$NOWHERE"
    ):
        expanded_path("$NOWHERE/out", "KEY")
    (tmp_path / "$NOWHERE").mkdir()
    monkeypatch.chdir(tmp_path)
    assert expanded_path("$NOWHERE", "KEY") == "$NOWHERE"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_read_text_encodings_of_editors(tmp_path, encoding):
    data = "größe = 1".encode(encoding)
    (tmp_path / "a.toml").write_bytes(b"\xfe\xff" + data if encoding == "utf-16-be" else data)
    assert read_text(tmp_path / "a.toml") == "größe = 1"


def test_list_folder_without_hidden_names(tmp_path):
    for name in ("b", "._b", ".DS_Store", "a"):
        (tmp_path / name).touch()
    assert list_folder(tmp_path) == ["a", "b"]
    with pytest.raises(InputError, match="none: cannot be read"):
        list_folder(tmp_path / "none")
