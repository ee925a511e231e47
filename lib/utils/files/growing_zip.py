"""A stored zip archive that grows over days and survives being killed at any time."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lib.utils.errors import InputError
from lib.utils.files.atomic import make_directory
from lib.utils.files.image_store import PARTIAL, ZIP_DATE

# bytes at most: what an entry of the directory has more than the member's header, and what stands behind the entries
_DIRECTORY_ENTRY = 46 - 30 + 28
_DIRECTORY_END = 22 + 56 + 20


class GrowingZip:
    """Appends groups of members to `<path>.partial`, which is the archive `path` once the block ends, even by an error.

    An archive that was finished before can grow again: it goes back to the partial name and loses its directory, which
    is written anew at the end. Whatever ended the block, the groups in it are whole; only a process that is killed
    leaves the partial name, and the next one goes on with it.

    A zip's directory stands at its end and is written last. Until then the caller keeps what append() returns for each
    group (in a Journal, say) and gives it back when the work goes on: whatever lies behind the last known group is cut
    off.
    """

    def __init__(self, path: str | os.PathLike, groups: Sequence[tuple[Sequence[str], dict[str, Any]]]) -> None:
        """
        Args:
            path: the final archive.
            groups: names of the members and index of append() of every group that is in the archive, in any order.

        Raises:
            InputError: the partial archive is shorter than the groups say, or the disk refuses.
        """
        self.path = Path(path)
        self._partial = self.path.with_name(self.path.name + PARTIAL)
        self._members: list[zipfile.ZipInfo] = []
        self._end = 0  # of the last whole group
        self._directory_size = _DIRECTORY_END
        for names, index in sorted(groups, key=lambda group: group[1]["start"]):
            if index["start"] != self._end:
                raise InputError(f"{self._partial}: its index has a gap at byte {self._end}; remove both to begin anew")
            self._end = self._index(names, index)
        make_directory(self.path.parent)
        try:
            self._file = self._open(self.path if self._end and not self._partial.exists() else self._partial)
        except OSError as error:
            raise InputError(f"{self._partial}: cannot be written ({error.strerror})") from None

    def _open(self, found: Path) -> BinaryIO:
        """Open what earlier work left, give it the partial name and cut it behind the last known group."""
        size = found.stat().st_size if found.exists() else 0
        if size < self._end:
            raise InputError(f"{found}: has {size} bytes, its index says {self._end}; remove both to begin anew")
        file = open(found, "r+b" if found.exists() else "w+b")  # noqa: SIM115 - closed by __exit__
        os.replace(found, self._partial)
        file.truncate(self._end)
        return file

    def _index(self, names: Sequence[str], index: dict[str, Any]) -> int:
        """Remember the members of a group; returns where it ends."""
        offset = index["start"]
        for name, size, crc in zip(names, index["sizes"], index["crcs"], strict=True):
            info = _info(name, size, crc, offset)
            self._members.append(info)
            offset += len(info.FileHeader()) + size
            self._directory_size += _DIRECTORY_ENTRY + len(info.FileHeader())
        return offset

    def append(self, members: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
        """Append a group of members; it is on the disk when this returns.

        Args:
            members: name and content of each.

        Returns:
            The group's index: start, and sizes and CRCs of the members.

        Raises:
            InputError: the disk refuses.
        """
        index: dict[str, Any] = {"start": self._file.seek(self._end), "sizes": [], "crcs": []}
        group: list[zipfile.ZipInfo] = []
        try:
            for name, data in members:
                info = _info(name, len(data), zlib.crc32(data), self._file.tell())
                self._file.write(info.FileHeader())
                self._file.write(data)
                group.append(info)
                index["sizes"].append(info.file_size)
                index["crcs"].append(info.CRC)
            self._file.flush()
            end = self._file.tell()
            directory_size = self._directory_size + sum(_DIRECTORY_ENTRY + len(info.FileHeader()) for info in group)
            _reserve(self._file, end, directory_size)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"{self._partial}: cannot be written ({error.strerror})") from None
        self._members += group
        self._end, self._directory_size = end, directory_size
        return index

    def __enter__(self) -> GrowingZip:
        return self

    def __exit__(self, *exception: object) -> None:
        """Write the directory behind the last whole group and rename the archive; without a group there is none.

        Raises:
            InputError: the disk refuses.
        """
        try:
            with self._file:
                os.ftruncate(self._file.fileno(), self._end)  # makes room on a full disk
                if self._members:
                    self._write_directory()
            if self._members:
                os.replace(self._partial, self.path)
            else:
                self._partial.unlink()
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be completed ({error.strerror}); {self._partial.name} holds what is "
                "finished, and the same command goes on with it"
            ) from None

    def _write_directory(self) -> None:
        self._file.seek(self._end)
        self._file.truncate()
        with zipfile.ZipFile(self._file, "w") as archive:  # begins where the file stands: behind the last member
            archive.filelist.extend(self._members)
            archive.NameToInfo.update({info.filename: info for info in self._members})
        self._file.flush()
        os.fsync(self._file.fileno())


def _reserve(file: BinaryIO, start: int, size: int) -> None:
    """Take room for the directory behind the last group: a disk that is full must not keep the archive from its end."""
    if hasattr(os, "posix_fallocate"):  # macOS has none
        os.posix_fallocate(file.fileno(), start, size)


def _info(name: str, size: int, crc: int, offset: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, ZIP_DATE)
    info.file_size = info.compress_size = size
    info.CRC, info.header_offset = crc, offset
    return info
