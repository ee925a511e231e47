"""Atomic files and directories: written under a temporary name, then renamed."""

import codecs
import contextlib
import csv
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lib.utils.errors import InputError, brief


def expanded_path(path: str | os.PathLike, name: str) -> str:
    """Return a path with ~ and $NAME replaced, as a shell does.

    Args:
        path: the path; one that exists is returned as it is.
        name: key or flag, for the error message.

    Raises:
        InputError: a variable is not set, or a user is unknown.
    """
    text = os.fspath(path)
    if ("~" not in text and "$" not in text) or os.path.exists(text):
        return text
    found = os.path.expanduser(os.path.expandvars(text))
    missing = re.search(r"\$(\w+|\{\w+\})", found)
    if missing or found.startswith("~"):
        what = f"no variable {missing[0]}" if missing else "no such home folder"
        raise InputError(f"{name}: expected a path, received {text}: there is {what}")
    return found


def make_directory(path: str | os.PathLike) -> Path:
    """Create a directory with its parents.

    Raises:
        InputError: the directory cannot be created or is not writable.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be created ({error.strerror})") from None
    if not os.access(path, os.W_OK):
        raise InputError(f"{path}: the directory is not writable")
    return path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path that is renamed to `path` when the block succeeds and removed otherwise.

    Temporary files of this path that killed processes left are removed first.

    Args:
        path: final file; its directory is created.

    Yields:
        The path to write to, with the suffix of `path`.

    Raises:
        InputError: the file cannot be written (disk full, read-only, no permission).
    """
    path = Path(path)
    make_directory(path.parent)
    for left in _left_by_killed(path.parent, f".{path.stem}.", f".tmp{path.suffix}"):
        left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary directory that replaces `path` when the block succeeds and is removed otherwise.

    Temporary directories of killed processes are removed first; an old directory that they had moved away is restored.

    Args:
        path: final directory.

    Yields:
        The directory to write to.

    Raises:
        InputError: the directory cannot be written (disk full, read-only, no permission).
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_directories(path)
        prefix = f".{path.name}.{os.getpid()}."
        partial = Path(tempfile.mkdtemp(prefix=prefix, suffix=".partial", dir=path.parent))
    except OSError as error:
        raise InputError(f"{path}: cannot be created ({error.strerror})") from None
    try:
        partial.chmod(0o755)
        yield partial
        _replace_directory(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace_directory(partial: Path, path: Path) -> None:
    old = partial.with_suffix(".old")
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(partial, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def clear_directories(path: Path) -> None:
    """Clean up after processes that were killed in atomic_directory(path).

    Raises:
        OSError: a directory cannot be changed.
    """
    for old in _left_by_killed(path.parent, f".{path.name}.", ".old"):
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(old, path)
    for partial in _left_by_killed(path.parent, f".{path.name}.", ".partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _left_by_killed(folder: Path, prefix: str, suffix: str) -> Iterator[Path]:
    """Yield the paths <prefix><process id>...<suffix> whose process has ended."""
    for left in folder.glob(glob.escape(prefix) + "*" + glob.escape(suffix)):
        process = left.name.removeprefix(prefix).split(".")[0]
        if process.isdecimal() and not _is_running(int(process)):
            yield left


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # process of another user; not a process id
        return True
    return True


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_csv(path: str | os.PathLike, header: list[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file atomically, row by row."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_text(path: str | os.PathLike) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark, as Windows editors write it.

    Raises:
        InputError: the file is missing, unreadable or no text.
    """
    data = read_bytes(path)
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file ({brief(error)})") from None


def list_folder(folder: str | os.PathLike) -> list[str]:
    """Return the names in a folder, sorted, without those that begin with a dot.

    macOS writes a resource file ._NAME for every file NAME on disks that are not its own.

    Raises:
        InputError: the folder is missing or unreadable.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from None


def read_bytes(path: str | os.PathLike) -> bytes:
    """Read a file.

    Raises:
        InputError: the file is missing or unreadable.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
