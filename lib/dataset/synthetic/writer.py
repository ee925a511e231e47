"""Writing the files of the embedded data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MARKER = "synthetic.json"  # says that a folder was made here, and how


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value) + "\n")
