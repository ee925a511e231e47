"""Results page: recommendations, our tables and the paper's, charts, and verdicts about the paper's orderings."""

import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.core.experiments.charts import save_charts
from lib.core.experiments.paper_tables import (
    PAPER_JDR_TEXT,
    action_table,
    depth_claims,
    depth_table,
    difficulty_claims,
    difficulty_table,
    error_claims,
    error_table,
    free_claims,
    free_table,
    paper_action_table,
    paper_depth_table,
    paper_error_table,
    paper_free_table,
    paper_rate_table,
    rate_claims,
    rate_table,
)
from lib.core.experiments.plan import FREE_JOINTS, START, ExperimentProtocol
from lib.core.experiments.seed_results import SeedResults
from lib.core.experiments.summary import summary_lines
from lib.utils.errors import InputError
from lib.utils.files.atomic import read_bytes, write_bytes

_CELLS = "cells (data sets, trainings, evaluations)"
TITLE = "Results: the paper's tables"
CONCLUSION = "Which one should I use"
CAPTION = (
    "Networks trained on groups and single images, means over the seeds. JDR: joint detection rate over all 17 "
    "joints. MPJPE: mean joint error without alignment. Weights: last epoch, so no epoch is chosen on the test set. "
    "Each line recommends the simplest variant whose mean is within one standard deviation of the best."
)
SYNTHETIC_TEXT = "All our data are synthetic."
NAMES = (
    "**Names.** Groups: trained on groups of views, as the paper's H36M. Groups + single images: trained on both, as "
    "the paper's H36M+MPII. Single: no fusion. Fusion: the paper's learned matrices (`NETWORK.FUSION learned`). Sum "
    "and Max along the epipolar line: the paper's baselines (`epipolar_sum`, `epipolar_max`). Adaptive: `adaptive`. "
    "(ours): not in the paper. Triangulation without an adjective weights all views equally (`TRIANGULATE.WEIGHTS "
    "equal`); weighted triangulation is `--method triangulate` with its default weights."
)
LINE_WIDTH = 100


@dataclass(frozen=True)
class PageSettings:
    """Content of the page in addition to the results."""

    path: Path  # the Markdown file
    plots: Path  # folder of the charts
    command: str  # command that makes the page
    machine: str  # description of the machine
    seconds: Mapping[str, float]  # finished cell -> run time
    num_cells: int  # cells of the whole plan
    seeds: Sequence[int]  # seeds on the page
    analysis: Path | None = None  # Markdown file that the page links; None = none


def check_page(path: Path, num_cells: int, analysis: Path | None) -> None:
    """Check that an existing page may be replaced.

    Args:
        path: the page.
        num_cells: cells of the new page.
        analysis: file that the new page links, if any.

    Raises:
        InputError: the existing page has more cells, or links an analysis and the new page would not.
    """
    if not path.exists():
        return
    text = read_bytes(path).decode(errors="replace")
    cells = re.search(rf"^(\d+) {re.escape(_CELLS)}", text, re.MULTILINE)
    if cells and int(cells[1]) > num_cells:
        raise InputError(f"{path}: has {cells[1]} cells, the new page would have {num_cells}; name another --page")
    linked = re.search(r"^`.* --(?:analysis|remarks)[ =](\S+).*`$", text, re.MULTILINE)
    if linked and analysis is None:
        raise InputError(f"{path}: belongs to the analysis {linked[1]}; name it with --analysis, or another --page")


def write_page(results: SeedResults, protocol: ExperimentProtocol, settings: PageSettings) -> None:
    """Write the page and its charts.

    Args:
        results: results of the seeds.
        protocol: data sets and training schedules.
        settings: further content of the page.

    Raises:
        InputError: the disk refuses.
    """
    sections = {
        "rates": (
            "Table 1: 2D joints",
            rate_table(results),
            f"{_wrapped(PAPER_JDR_TEXT)}\n\n{paper_rate_table()}",
            rate_claims(results),
        ),
        "errors": ("Table 2: 3D, means", error_table(results), paper_error_table(), error_claims(results)),
        "actions": ("Table 3: 3D, per action", action_table(results), paper_action_table(), []),
        "depth": ("Table 4: depth of the recursion", depth_table(results), paper_depth_table(), depth_claims(results)),
        "free": (
            "Section 7.5: trained without pose labels of the rig",
            free_table(results),
            "\n\n".join([*_free_remark(results, protocol), paper_free_table()]),
            free_claims(results),
        ),
    }
    if protocol.test_sets:
        sections["difficulty"] = (
            "Beyond the paper: occlusion, an unseen rig, other numbers of views",
            difficulty_table(results, protocol.difficulty_rows),
            "",
            difficulty_claims(results, protocol.test_sets),
        )
    charts = save_charts(results, protocol.test_sets, settings.plots)
    counted = [key for key in sections if key != "free" or protocol.counts_free]
    claims = [claim for key in counted for claim in sections[key][-1]]
    conclusion = "\n".join(summary_lines(results, protocol.test_sets, claims, protocol.counts_free))
    parts = [f"# {TITLE}", f"## {CONCLUSION}" if conclusion else "", conclusion, _caption(protocol, settings)]
    parts += [_wrapped(NAMES), "## Run", _run_text(results, protocol, settings)]
    for key, (title, table, paper_table, section_claims) in sections.items():
        parts += [f"## {title}", table]
        if key in charts:
            parts.append(f"![{title}]({_link(charts[key], settings)})")
        parts += ["\n".join(claim.line() for claim in section_claims), paper_table]
    write_bytes(settings.path, ("\n\n".join(part for part in parts if part) + "\n").encode())


def _free_remark(results: SeedResults, protocol: ExperimentProtocol) -> list[str]:
    rate = results.detection_rate(f"{START}/single", FREE_JOINTS)
    if protocol.counts_free or not rate.by_seed:
        return []
    return [
        _wrapped(
            "These orderings do not count in the summary. The network of single images alone, which labels the "
            f"frames, finds {rate.mean:.1f} % of the {len(FREE_JOINTS)} joints: too few for a comparison with the "
            "paper, whose network was trained on MPII."
        )
    ]


def _link(path: Path, settings: PageSettings) -> str:
    return Path(os.path.relpath(path, settings.path.parent)).as_posix()


def _wrapped(text: str) -> str:
    return textwrap.fill(text, LINE_WIDTH, break_long_words=False, break_on_hyphens=False)


def _caption(protocol: ExperimentProtocol, settings: PageSettings) -> str:
    parts = [SYNTHETIC_TEXT] if protocol.make else []
    parts.append(CAPTION)
    if settings.analysis is not None:
        parts.append(f"Reasons and further measurements: [analysis]({_link(settings.analysis, settings)}).")
    return _wrapped(" ".join(parts))


def _run_text(results: SeedResults, protocol: ExperimentProtocol, settings: PageSettings) -> str:
    hours = sum(settings.seconds.values()) / 3600
    left = settings.num_cells - len(settings.seconds)
    cells = (
        f"{len(settings.seconds)} {_CELLS}, {hours:.1f} hours in all, on {settings.machine}; "
        f"seeds {', '.join(map(str, settings.seeds))}."
    )
    if left:
        cells += f" **{left} cells are not run yet.**"
    source = "The paper's rows are from Qiu et al., ICCV 2019"
    if protocol.make:
        source += ", on Human3.6M: compare orderings, not values"
    lines = [cells, f"Values are means ± standard deviation over the seeds. {source}."]
    rows_without: dict[tuple[int, ...], list[str]] = {}
    for row, seeds in results.incomplete().items():
        rows_without.setdefault(seeds, []).append(row)
    for seeds, rows in rows_without.items():
        lines.append(f"**Rows with fewer seeds: without seed {', '.join(map(str, seeds))}: {', '.join(rows)}.**")
    num_groups = results.num_frames("mixed/single") or 0
    lines.append(f"Network: `{protocol.cfg}`. Evaluated: {num_groups} groups of views.")
    return "\n\n".join(part for part in (f"`{settings.command}`", "\n".join(lines), protocol.setting) if part)
