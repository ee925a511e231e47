"""Data files out of a wheel of the Python package index, without installing the package."""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.utils.errors import InputError, brief
from lib.utils.files.atomic import atomic_directory, write_bytes

# Data files are the same in all wheels of a version, so one is chosen that exists, whatever runs here.
_ANY_PYTHON = ("--python-version", "3.11", "--platform", "manylinux2014_x86_64", "--platform", "any")


@contextmanager
def opened_wheel(package: str, size_mb: int, wheel: Path | None = None) -> Iterator[zipfile.ZipFile]:
    """Open a wheel, downloaded with pip unless a file is given.

    Args:
        package: name and version, e.g. "mediapipe==0.10.14".
        size_mb: size of the download, for the error message.
        wheel: the wheel, downloaded earlier.

    Raises:
        InputError: the package cannot be downloaded, or the file is not a wheel.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = wheel or _download(package, size_mb, Path(folder))
        try:
            with zipfile.ZipFile(path) as archive:
                yield archive
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not a wheel, or truncated ({brief(error)})") from None


def _download(package: str, size_mb: int, folder: Path) -> Path:
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", *_ANY_PYTHON, "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
        raise InputError(
            f"{package} cannot be downloaded ({size_mb} MB); connect to the internet, or give its wheel with "
            f"--wheel ({lines[-1]})"
        )
    return wheels[0]


def extract(
    archive: zipfile.ZipFile, folder: Path, chosen: Callable[[str], bool], license_file: Path, expected: str
) -> list[Path]:
    """Write the chosen files into a new folder, and the license of the package.

    Args:
        archive: the wheel.
        folder: folder to make; nothing is left there if this fails.
        chosen: whether to take a file, by its name in the wheel.
        license_file: where to write the license.
        expected: description of the files, for the error message.

    Returns:
        The chosen files.

    Raises:
        InputError: the wheel has no such files, or the disk is full.
    """
    names = [name for name in archive.namelist() if chosen(name)]
    if not names:
        raise InputError(f"{archive.filename}: expected a wheel with {expected}, received one without")
    with atomic_directory(folder) as new:
        for name in names:
            (new / Path(name).name).write_bytes(archive.read(name))
    for name in archive.namelist():
        if ".dist-info/" in name and Path(name).name.upper().startswith("LICENSE"):
            write_bytes(license_file, archive.read(name))
    return [folder / Path(name).name for name in names]
