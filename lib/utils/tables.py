"""Tables as Markdown whose columns line up, so that they read well in a terminal too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]], digits: int = 1, left_columns: int = 1) -> str:
    """Format a table.

    Args:
        header: names of the columns.
        rows: cells, one per column; None and NaN become "-".
        digits: decimals of the floats.
        left_columns: number of columns that are aligned left; the others are aligned right.
    """
    cells = [[_cell(value, digits) for value in row] for row in [header, *rows]]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    if left_columns == len(header):
        widths[-1] = 3  # text in the last column needs no padding
    rule = ["-" * width if column < left_columns else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    lines = [
        [
            cell.ljust(width) if column < left_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def _cell(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value).replace("|", r"\|")
