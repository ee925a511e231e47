"""Markdown tables with aligned columns, which are readable in a terminal too."""

import math
from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]], digits: int = 1, left_columns: int = 1) -> str:
    """Format a table.

    Args:
        header: column names.
        rows: cells, one per column. None and NaN become "-".
        digits: decimals of floats.
        left_columns: number of left-aligned columns; the others are right-aligned.
    """
    cells = [[_cell(value, digits) for value in row] for row in [header, *rows]]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    if left_columns == len(header):
        widths[-1] = 3  # text in the last column needs no padding
    rule = ["-" * width if column < left_columns else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    lines = []
    for row in cells:
        left = map(str.ljust, row[:left_columns], widths)
        right = map(str.rjust, row[left_columns:], widths[left_columns:])
        lines.append([*left, *right])
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def _cell(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value).replace("|", r"\|")
