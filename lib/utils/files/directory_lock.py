"""Folders in which one process works at a time; however it ends, the system gives its lock back."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from lib.utils.errors import InputError
from lib.utils.files.atomic import make_directory

logger = logging.getLogger(__name__)

LOCK_NAME = ".lock"


@contextlib.contextmanager
def locked_directory(folder: Path, instead: str = "", inherited: bool = False) -> Iterator[int]:
    """Keep others out of a folder.

    Args:
        folder: created if it is not there.
        instead: what to do where another process works there, for the end of the message.
        inherited: processes that are given the file (pass_fds) hold the lock too; otherwise forked ones do not.

    Yields:
        The descriptor of the lock file.

    Raises:
        InputError: another process works there, or the disk refuses.
    """
    path = make_directory(folder) / LOCK_NAME
    try:
        file = path.open("w")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    with file:
        try:
            (fcntl.flock if inherited else fcntl.lockf)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InputError(f"{folder}: another process works there{instead and f'; {instead}'}") from None
        except OSError as error:  # there are disks of clusters without locks
            logger.warning("%s: cannot be locked (%s); nobody else may work there", folder, error.strerror)
        yield file.fileno()
