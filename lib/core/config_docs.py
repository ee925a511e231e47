"""Configuration page of the documentation: `python -m lib.core.config_docs` writes docs/configuration.md."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from lib.core.config import SCOPES, UNUSED, Key, all_keys
from lib.utils.errors import InputError
from lib.utils.tables import markdown_table

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"

_HEAD = """# Configuration

For users who write YAML files or set keys with `--opts`. The page lists every key with its default.
It is generated from `lib/core/config.py` by `make configuration-docs`.

A YAML file sets keys in sections, for example `TRAIN: {LR: 0.001}`. `BASE: other.yaml` reads
another file first. On the command line, `--opts TRAIN.LR 0.001` overrides both. Unknown keys and
invalid values are errors. Sizes are `[width, height]`, or one integer for a square.

The scope of a key is the first stage whose result depends on it:
"""
_FOOT = """## Keys without effect

YAML files of the original code or of earlier versions may set these keys. They are accepted with a
warning:
"""


def configuration_page() -> str:
    """Return docs/configuration.md, with one table per section."""
    parts = [_HEAD, markdown_table(["scope", "what depends on the key"], SCOPES.items(), left_columns=2)]
    sections = groupby(all_keys(), key=lambda item: item[0].rpartition(".")[0].partition(".")[0])
    for section, keys in sections:
        rows = [
            [f"`{name.removeprefix(f'{section}.')}`", f"`{_yaml(key.default)}`", _values(key), key.scope, _meaning(key)]
            for name, key in keys
        ]
        header = ["key", "default", "values", "scope", "meaning"]
        parts += [f"\n## {section or 'Top level'}\n", markdown_table(header, rows, left_columns=len(header))]
    return "\n".join([*parts, "", _FOOT, ", ".join(f"`{name}`" for name in sorted(UNUSED)) + ".", ""])


def matching_keys(word: str) -> str:
    """Return a table of the keys whose name or meaning contains a word, in any case; empty = all keys.

    Raises:
        InputError: no key contains the word.
    """
    rows = [
        [name, _yaml(key.default), _values(key).replace("`", ""), _meaning(key).replace("`", "")]
        for name, key in all_keys()
        if word.lower() in f"{name} {_meaning(key)}".lower()
    ]
    if not rows:
        raise InputError(f"--keys: no name or meaning of a key contains '{word}'; --keys alone lists all keys")
    return markdown_table(["key", "default", "values", "meaning"], rows, left_columns=4)


def _yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    return (value or "''") if isinstance(value, str) else json.dumps(value).replace('"', "")


def _values(key: Key) -> str:
    if key.allowed:
        return ", ".join(f"`{_yaml(choice)}`" for choice in key.allowed)
    limits = (("at least", key.minimum), ("below", key.below))
    return ", ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)


def _meaning(key: Key) -> str:
    former = [f"`{old}` is accepted for `{new}`" for old, new in key.former_values.items()]
    former += [f"`{name}` is accepted" for name in key.former_names]
    return ". ".join([key.help, *former])


if __name__ == "__main__":
    PAGE.write_text(configuration_page(), encoding="utf-8")
