"""Tables as Markdown whose columns line up, so that they read well in a terminal too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]], digits: int = 1) -> str:
    """Format a table: the first column to the left, the others to the right.

    Args:
        header: names of the columns.
        rows: cells, one per column; None and NaN become "-".
        digits: decimals of the floats.
    """
    cells = [[_cell(value, digits) for value in row] for row in [header, *rows]]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    rule = [
        ("-" if column == 0 else "") + "-" * (width - 1) + ("" if column == 0 else ":")
        for column, width in enumerate(widths)
    ]
    lines = [
        [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def _cell(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value).replace("|", r"\|")
