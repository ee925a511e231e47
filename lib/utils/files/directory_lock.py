"""Locks for directories that one process at a time may write to; the system releases them when the process ends.

The `filelock` package lacks two properties that are needed here: a lock that forked loading processes do not inherit,
and a lock file that child processes can share.
"""

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
def locked_directory(folder: Path, advice: str = "", inherited: bool = False) -> Iterator[int]:
    """Lock a directory for this process.

    Args:
        folder: directory, created if missing.
        advice: end of the message if another process holds the lock.
        inherited: child processes that receive the descriptor (pass_fds) hold the lock too. Otherwise no child does.

    Yields:
        The descriptor of the lock file.

    Raises:
        InputError: another process holds the lock, or the lock file cannot be written.
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
            raise InputError(f"{folder}: another process works there{advice and f'; {advice}'}") from None
        except OSError as error:  # some cluster file systems have no locks
            logger.warning("%s: cannot be locked (%s); no other process may work there", folder, error.strerror)
        yield file.fileno()
