"""A stored zip archive that grows over days and survives being killed at any time."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lib.utils.checks import InputError
from lib.utils.files import make_directory
from lib.utils.image_store import ZIP_DATE


class GrowingZip:
    """Appends groups of members to `<path>.partial`; finish() makes it the archive `path`.

    An archive that was finished before can grow again: it goes back to the partial name and loses its directory, which
    finish() writes anew.

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
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._members: list[zipfile.ZipInfo] = []
        end = 0
        for names, index in sorted(groups, key=lambda group: group[1]["start"]):
            if index["start"] != end:
                raise InputError(f"{self._partial}: its index has a gap at byte {end}; remove both to begin anew")
            end = self._index(names, index)
        make_directory(self.path.parent)
        try:
            if self.path.exists() and not self._partial.exists():
                os.replace(self.path, self._partial)
            self._partial.touch()
            self._file = open(self._partial, "r+b")  # noqa: SIM115 - closed by __exit__
            self._file.seek(0, os.SEEK_END)
            if self._file.tell() < end:
                raise InputError(f"{self._partial}: has {self._file.tell()} bytes, its index says {end}; remove both "
                                 "to begin anew")  # fmt: skip
            self._file.truncate(end)
            self._file.seek(end)
        except OSError as error:
            raise InputError(f"{self._partial}: cannot be written ({error.strerror})") from None

    def _index(self, names: Sequence[str], index: dict[str, Any]) -> int:
        """Remember the members of a group; returns where it ends."""
        offset = index["start"]
        for name, size, crc in zip(names, index["sizes"], index["crcs"], strict=True):
            info = _info(name, size, crc, offset)
            self._members.append(info)
            offset += len(info.FileHeader()) + size
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
        index: dict[str, Any] = {"start": self._file.tell(), "sizes": [], "crcs": []}
        try:
            for name, data in members:
                info = _info(name, len(data), zlib.crc32(data), self._file.tell())
                self._file.write(info.FileHeader())
                self._file.write(data)
                self._members.append(info)
                index["sizes"].append(info.file_size)
                index["crcs"].append(info.CRC)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"{self._partial}: cannot be written ({error.strerror})") from None
        return index

    def finish(self) -> None:
        """Write the directory and rename the archive.

        Raises:
            InputError: the disk refuses.
        """
        try:
            with zipfile.ZipFile(self._file, "w") as archive:  # begins where the file stands: behind the last member
                archive.filelist.extend(self._members)
                archive.NameToInfo.update({info.filename: info for info in self._members})
            self._file.flush()
            os.fsync(self._file.fileno())
            os.replace(self._partial, self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from None

    def __enter__(self) -> GrowingZip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _info(name: str, size: int, crc: int, offset: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, ZIP_DATE)
    info.file_size = info.compress_size = size
    info.CRC, info.header_offset = crc, offset
    return info
