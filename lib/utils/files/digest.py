"""Digests of file contents."""

import hashlib
import json
import zipfile
from pathlib import Path


def short_digest(content: bytes) -> str:
    """Return the first 16 characters of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def content_digest(path: Path) -> str:
    """Return a digest of a file's content.

    For zip archives, which torch writes, the digest covers names and checksums of the entries. It ignores the name of
    the top folder and hidden entries, which differ between archives of the same tensors.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = [(entry.filename.partition("/")[2], entry.CRC) for entry in archive.infolist()]
        return short_digest(json.dumps(sorted(entry for entry in entries if not entry[0].startswith("."))).encode())
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
