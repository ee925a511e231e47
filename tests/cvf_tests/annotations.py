"""Annotations of the data sets, opened as the loader does."""

from __future__ import annotations

from typing import Any

from lib.dataset.annotations import Annotations
from lib.dataset.h36m import h36m_file
from lib.dataset.storage.memmap import open_annotations
from lib.dataset.totalcapture import totalcapture_file


def load_h36m(*args: Any, **kwargs: Any) -> Annotations:
    """Open the file of h36m_file()."""
    return open_annotations(h36m_file(*args, **kwargs))


def load_totalcapture(*args: Any, **kwargs: Any) -> Annotations:
    """Open the file of totalcapture_file()."""
    return open_annotations(totalcapture_file(*args, **kwargs))
