from __future__ import annotations

from lib.utils.tables import markdown_table


def test_markdown_table_columns_are_aligned() -> None:
    text = markdown_table(["name", "n", "share"], [["a|b", 12, 3.14159], ["longer", None, float("nan")]], digits=2)
    assert text.splitlines() == [
        "| name   |   n | share |",
        "| ------ | --: | ----: |",
        r"| a\|b   |  12 |  3.14 |",
        "| longer |   - |     - |",
    ]


def test_markdown_table_left_columns_are_text() -> None:
    text = markdown_table(["key", "n", "meaning"], [["a", 12, "long text"]], left_columns=3)
    assert text.splitlines() == ["| key | n   | meaning |", "| --- | --- | --- |", "| a   | 12  | long text |"]
