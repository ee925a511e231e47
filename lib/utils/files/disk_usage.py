"""Sizes of directories."""

import os
from pathlib import Path


def directory_bytes(path: Path) -> int:
    """Return the sum of the file sizes below a directory; links are not followed, 0 if it is missing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:  # removed meanwhile
                continue
    return total


def size_text(num_bytes: float) -> str:
    """Return a size for people, e.g. "1.5 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
