from __future__ import annotations

from lib.core.config import all_keys
from lib.core.config_docs import PAGE, configuration_page


def test_configuration_page_is_up_to_date():
    outdated = PAGE.read_text(encoding="utf-8") != configuration_page()
    assert not outdated, "docs/configuration.md is outdated; run `make configuration-docs`"


def test_configuration_page_has_one_row_per_key():
    rows = [[cell.strip() for cell in line.split(" | ")] for line in configuration_page().splitlines()]
    rows = [row for row in rows if row[0].startswith("| `")]
    assert [(row[0].split(".")[-1].strip("|` "), row[3]) for row in rows] == [
        (name.split(".")[-1], key.scope) for name, key in all_keys()
    ]
    assert ["| `SCALE_FACTOR`", "`0.0`", "at least 0, below 1", "weights"] in [row[:4] for row in rows]
