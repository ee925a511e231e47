"""The page of results: tables beside the paper's rows, charts, and whether its orderings hold."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.core.experiments.charts import save_charts
from lib.core.experiments.paper_tables import (
    Claim,
    action_table,
    depth_claims,
    depth_table,
    difficulty_claims,
    difficulty_table,
    error_claims,
    error_table,
    free_claims,
    free_table,
    rate_claims,
    rate_table,
)
from lib.core.experiments.plan import ExperimentProtocol
from lib.core.experiments.seed_results import SeedResults
from lib.utils.errors import InputError
from lib.utils.files.atomic import read_bytes, write_bytes

_CELLS = "cells (data sets, trainings, evaluations)"
SECTIONS = ("intro", "rates", "errors", "actions", "depth", "free", "difficulty")


@dataclass(frozen=True)
class PageSettings:
    """What the page says beside the results.

    Attributes:
        path: the Markdown file.
        plots: folder of the pictures.
        command: that made it.
        machine: what it ran on.
        seconds: cell -> time that it took.
        num_cells: of the whole plan.
        seeds: those that are shown.
        remarks: section (SECTIONS) -> text written by hand.
    """

    path: Path
    plots: Path
    command: str
    machine: str
    seconds: Mapping[str, float]
    num_cells: int
    seeds: Sequence[int]
    remarks: Mapping[str, str]


def read_remarks(path: Path | None) -> dict[str, str]:
    """Read the texts written by hand: Markdown, the text of a section (SECTIONS) below `## SECTION`.

    Raises:
        InputError: missing, not text, or it has other sections.
    """
    if path is None:
        return {}
    try:
        before, *parts = re.split(r"^## +", read_bytes(path).decode(), flags=re.MULTILINE)
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text in UTF-8") from None
    remarks = dict(part.partition("\n")[::2] for part in parts)
    unknown = [name for name in remarks if name not in SECTIONS]
    if before.strip() or unknown:
        raise InputError(
            f"{path}: expected texts below ## and one of {', '.join(SECTIONS)}; received "
            f"'{unknown[0] if unknown else before.strip().splitlines()[0]}'"
        )
    return remarks


def check_page(path: Path, num_cells: int, remarks: Path | None) -> None:
    """Check that a page which is there may be replaced.

    Args:
        path: of the page.
        num_cells: that the new one will be of.
        remarks: file of its texts written by hand, if any.

    Raises:
        InputError: the page that is there is of more cells, or has remarks and the new one would have none.
    """
    if not path.exists():
        return
    text = read_bytes(path).decode(errors="replace")
    cells = re.search(rf"^(\d+) {re.escape(_CELLS)}", text, re.MULTILINE)
    if cells and int(cells[1]) > num_cells:
        raise InputError(f"{path}: is of {cells[1]} cells, the new page would be of {num_cells}; name another --page")
    written = re.search(r"^`.* --remarks[ =](\S+).*`$", text, re.MULTILINE)
    if written and remarks is None:
        raise InputError(f"{path}: has the texts of {written[1]}; name them with --remarks, or another --page")


def write_page(results: SeedResults, protocol: ExperimentProtocol, settings: PageSettings) -> None:
    """Write the page and its pictures.

    Args:
        results: results of the seeds.
        protocol: how they were made.
        settings: what else the page says.

    Raises:
        InputError: the disk refuses.
    """
    charts = save_charts(results, protocol.test_sets, settings.plots)
    beside = {name: os.path.relpath(path, settings.path.parent) for name, path in charts.items()}
    parts = ["# The paper's tables", _intro(results, protocol, settings)]

    def section(key: str, title: str, table: str, claims: Sequence[Claim] = ()) -> None:
        parts.extend([f"## {title}", table])
        if key in beside:
            parts.append(f"![{title}]({beside[key]})")
        if claims:
            parts.append("\n".join(claim.line() for claim in claims))
        if key in settings.remarks:
            parts.append(settings.remarks[key].strip())

    section("rates", "Table 1: 2D joints", rate_table(results), rate_claims(results))
    section("errors", "Table 2: 3D, means", error_table(results), error_claims(results))
    section("actions", "Table 3: 3D, per action", action_table(results))
    section("depth", "Table 4: depth of the recursion", depth_table(results), depth_claims(results))
    section("free", "Section 7.5: trained without pose labels of the rig", free_table(results), free_claims(results))
    if protocol.test_sets:
        section(
            "difficulty",
            "Beyond the paper: occlusion, an unseen rig, other numbers of views",
            difficulty_table(results, protocol.own_set, protocol.test_sets),
            difficulty_claims(results, protocol.test_sets),
        )
    write_bytes(settings.path, ("\n\n".join(parts) + "\n").encode())


def _by_seeds(incomplete: Mapping[str, tuple[int, ...]]) -> dict[tuple[int, ...], list[str]]:
    rows: dict[tuple[int, ...], list[str]] = {}
    for row, seeds in incomplete.items():
        rows.setdefault(seeds, []).append(row)
    return rows


def _intro(results: SeedResults, protocol: ExperimentProtocol, settings: PageSettings) -> str:
    hours = sum(settings.seconds.values()) / 3600
    left = settings.num_cells - len(settings.seconds)
    lines = [
        f"`{settings.command}`",
        "",
        f"{len(settings.seconds)} {_CELLS}, {hours:.1f} hours in all, on "
        f"{settings.machine}; seeds {', '.join(map(str, settings.seeds))}."
        + (f" **{left} cells are not run yet.**" if left else ""),
        "Figures are means ± standard deviation over the seeds. Rows marked as the paper's (Qiu et al., ICCV 2019) are "
        "Human3.6M: orderings can be compared, figures cannot."
        if protocol.make
        else "Figures are means ± standard deviation over the seeds; the paper's rows are from Qiu et al., ICCV 2019.",
        *(
            f"**Rows of fewer seeds than others: without seed {', '.join(map(str, seeds))}: {', '.join(rows)}.**"
            for seeds, rows in _by_seeds(results.incomplete()).items()
        ),
        f"Network: `{protocol.cfg}`. Evaluated: {results.num_frames('mixed/single') or 0} groups of views.",
    ]
    return "\n".join([*lines, "", settings.remarks.get("intro", "").strip()]).strip()
