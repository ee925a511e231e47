"""The tables of the results page, and whether the paper's orderings hold in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.core.experiments.plan import (
    DEEPEST,
    DEPTHS,
    DEPTHS_ROW,
    FREE,
    FREE_JOINTS,
    FREE_ROWS,
    FUSIONS,
    METHODS_3D,
    PLAIN,
    START,
    WITH_3D,
    ExtraTestSet,
)
from lib.core.experiments.seed_results import TABLE_1_JOINTS, WHERE, SeedResults, SeedValues
from lib.core.report.paper_results import LABEL_FREE, TABLE_1, TABLE_3, TABLE_3_COLUMNS, TABLE_4
from lib.utils.tables import markdown_table

DATA_TEXT = {"h36m": "H36M", "mixed": "H36M+MPII"}  # as the paper writes them
KIND_TEXT = {
    "single": "Single",
    "sum": "Sum along the epipolar line",
    "max": "Max along the epipolar line",
    "fusion": "Fusion",
    "adaptive": "Adaptive (ours)",
}
METHOD_TEXT = {
    PLAIN: "triangulation",
    "triangulate": "weighted triangulation (ours)",
    "triangulate_robust": "robust triangulation (ours)",
    "rpsm": "RPSM",
    "rpsm+refine": "RPSM + refine (ours)",
}
PAPER_METHODS = (PLAIN, "rpsm")
FREE_TEXT = dict(
    zip(
        FREE_ROWS,
        (
            "single images alone, as it is",
            "retrained on agreeing labels, no fusion",
            "retrained, fusion",
            "retrained, adaptive (ours)",
        ),
        strict=True,
    )
)
PAPER = "*paper:* "


@dataclass(frozen=True)
class Claim:
    """An ordering that is expected.

    Attributes:
        text: e.g. "Fusion above Single".
        gain: by how much, per seed, in the direction that is expected.
        unit: "points" or "mm".
        paper: the paper's figure, on Human3.6M; None = it has none.
    """

    text: str
    gain: SeedValues
    unit: str
    paper: float | None = None

    def line(self) -> str:
        """Return what was found, as one line of a list."""
        known = list(self.gain.by_seed.values())
        if not known:
            return f"- {self.text}: no figures yet, or none in this data"
        holds = sum(value > 0 for value in known)
        verdict = {0: "**does not hold**", len(known): "holds"}.get(holds, "**undecided**")
        paper = "" if self.paper is None else f"; paper {self.paper:+.1f}"
        signed = f"{self.gain.mean:+.1f}" + ("" if np.isnan(self.gain.spread) else f" ± {self.gain.spread:.1f}")
        return f"- {self.text}: {verdict}, {signed} {self.unit}, {holds} of {len(known)} seeds{paper}"


def rate_table(results: SeedResults) -> str:
    """Return Table 1: detection rates per joint of all 2D methods, the paper's rows beneath."""
    header = ["JDR (%)", *TABLE_1_JOINTS, "mean of these", "all 17", "occluded", "visible"]
    rows = [
        [
            f"{text}, {DATA_TEXT[data]}",
            *(str(results.detection_rate(f"{data}/{kind}", joints)) for joints in TABLE_1_JOINTS.values()),
            str(results.detection_rate(f"{data}/{kind}", sum(TABLE_1_JOINTS.values(), ()))),
            *(str(results.detection_rate(f"{data}/{kind}", where=where)) for where in WHERE),
        ]
        for data in DATA_TEXT
        for kind, text in KIND_TEXT.items()
    ]
    rows += [
        [f"{PAPER}{method}, {data}", *values, float(np.mean(values)), None, None, None]
        for (method, data), values in TABLE_1.items()
    ]
    return markdown_table(header, rows)


def rate_claims(results: SeedResults) -> list[Claim]:
    """Return the orderings of Table 1: means of its six joints, and occluded joints."""
    limbs = sum(TABLE_1_JOINTS.values(), ())
    claims = []
    for data, text in DATA_TEXT.items():
        pairs = [("sum", "single"), ("max", "sum"), ("fusion", "max"), ("fusion", "single"), ("adaptive", "fusion")]
        for better, worse in pairs:
            names = KIND_TEXT[better], KIND_TEXT[worse]
            paper = [TABLE_1.get((name, text)) for name in names]
            gain = None if None in paper else float(np.mean(paper[0]) - np.mean(paper[1]))
            claims.append(
                Claim(
                    f"{text}: {names[0]} above {names[1]}",
                    results.detection_rate(f"{data}/{better}", limbs).minus(
                        results.detection_rate(f"{data}/{worse}", limbs)
                    ),
                    "points",
                    gain,
                )
            )
        for better in ("fusion", "adaptive"):
            claims.append(
                Claim(
                    f"{text}, occluded joints: {KIND_TEXT[better]} above Single",
                    results.detection_rate(f"{data}/{better}", where="occluded").minus(
                        results.detection_rate(f"{data}/single", where="occluded")
                    ),
                    "points",
                )
            )
    return claims


def error_table(results: SeedResults) -> str:
    """Return Table 2: mean 3D errors, 2D methods down, 3D methods across."""
    rows = [
        [
            f"{KIND_TEXT[kind]}, {DATA_TEXT[data]}",
            *(str(results.error(f"{data}/{kind}", method)) for method in METHODS_3D),
        ]
        for data in DATA_TEXT
        for kind in WITH_3D
    ]
    for kind in ("Single", "Fusion"):
        for data in DATA_TEXT.values():
            rows.append(
                [
                    f"{PAPER}{kind}, {data}",
                    *(_paper(kind, data, method) if method in PAPER_METHODS else None for method in METHODS_3D),
                ]
            )
    return markdown_table(["MPJPE (mm)", *METHOD_TEXT.values()], rows)


def error_claims(results: SeedResults) -> list[Claim]:
    """Return the orderings of Tables 2 and 3."""
    claims = []
    for data, text in DATA_TEXT.items():
        for kind in ("single", "fusion"):
            name = KIND_TEXT[kind]
            paper = _paper(name, text, PLAIN) - _paper(name, text, "rpsm")
            row = f"{data}/{kind}"
            claims.append(
                _error_claim(
                    results, f"{name}, {text}: RPSM better than triangulation", (row, "rpsm"), (row, PLAIN), paper
                )
            )
        for method in PAPER_METHODS:
            paper = _paper("Single", text, method) - _paper("Fusion", text, method)
            claims.append(
                _error_claim(
                    results,
                    f"{text}, {METHOD_TEXT[method]}: Fusion better than Single",
                    (f"{data}/fusion", method),
                    (f"{data}/single", method),
                    paper,
                )
            )
        for kind in ("single", "fusion"):
            claims.append(
                _error_claim(
                    results,
                    f"{KIND_TEXT[kind]}, {text}: refine better than RPSM",
                    (f"{data}/{kind}", "rpsm+refine"),
                    (f"{data}/{kind}", "rpsm"),
                )
            )
        claims.append(
            _error_claim(
                results,
                f"{text}: Adaptive with refine better than Fusion with RPSM",
                (f"{data}/adaptive", "rpsm+refine"),
                (f"{data}/fusion", "rpsm"),
            )
        )
    return claims


def _error_claim(
    results: SeedResults, text: str, better: tuple[str, str], worse: tuple[str, str], paper: float | None = None
) -> Claim:
    return Claim(text, results.error(*worse).minus(results.error(*better)), "mm", paper)


def _paper(kind: str, data: str, method: str) -> float:
    name = f"{kind}, {data}, {METHOD_TEXT[method]}"
    return next(row.average for row in TABLE_3 if row.method == name)


def action_table(results: SeedResults) -> str:
    """Return Table 3: 3D errors per action, means over the seeds, the paper's rows beneath."""
    rows = []
    for kind, methods in (
        ("single", PAPER_METHODS),
        ("fusion", (*PAPER_METHODS, "rpsm+refine")),
        ("adaptive", ("rpsm+refine",)),
    ):
        for data in DATA_TEXT:
            for method in methods:
                row = f"{data}/{kind}"
                rows.append(
                    [
                        f"{KIND_TEXT[kind]}, {DATA_TEXT[data]}, {METHOD_TEXT[method]}",
                        *(results.error(row, method, action).mean for action in TABLE_3_COLUMNS),
                        results.error(row, method).mean,
                    ]
                )
    rows += [[f"{PAPER}{row.method}", *row.by_column, row.average] for row in TABLE_3]
    return markdown_table(["MPJPE (mm)", *TABLE_3_COLUMNS.values(), "Avg"], rows)


def depth_values(results: SeedResults) -> dict[int, SeedValues]:
    """Return depth of the recursion -> error, mm."""
    methods = {**{depth: f"rpsm, depth {depth}" for depth in DEPTHS}, DEEPEST: "rpsm"}
    return {depth: results.error(DEPTHS_ROW, method) for depth, method in methods.items()}


def paper_depths() -> dict[int, float]:
    """Return the paper's depth of the recursion -> error on Human3.6M, mm."""
    rows = {int(row.method.rsplit(" ", 1)[1]): row.average for row in TABLE_4}
    return {**rows, 10: _paper("Fusion", DATA_TEXT["mixed"], "rpsm")}


def depth_table(results: SeedResults) -> str:
    """Return Table 4: error by depth of the recursion, and refinement behind the last."""
    values = depth_values(results)
    papers = paper_depths()
    header = ["MPJPE (mm)", *(f"t = {depth}" for depth in values), "10 + refine (ours)"]
    refined = results.error(DEPTHS_ROW, "rpsm+refine")
    return markdown_table(
        header,
        [
            [f"Fusion, {DATA_TEXT['mixed']}", *map(str, values.values()), str(refined)],
            [f"{PAPER}Fusion, {DATA_TEXT['mixed']}", *(papers[depth] for depth in values), None],
        ],
    )


def depth_claims(results: SeedResults) -> list[Claim]:
    """Return the orderings of Table 4."""
    values = depth_values(results)
    papers = paper_depths()
    pairs = [(1, 0), (3, 1), (5, 3)]
    claims = [
        Claim(
            f"depth {deep} better than {shallow}",
            values[shallow].minus(values[deep]),
            "mm",
            papers[shallow] - papers[deep],
        )
        for deep, shallow in pairs
    ]
    short = values[10].minus(values[5])
    within = SeedValues({seed: 1.0 - abs(value) for seed, value in short.by_seed.items()})
    return [
        *claims,
        Claim(
            "depth 5 within 1 mm of depth 10 (what is left of the 1 mm)",
            within,
            "mm",
            1.0 - abs(papers[10] - papers[5]),
        ),
    ]


def free_error(results: SeedResults, row: str, method: str) -> SeedValues:
    """Return the mean error of a row over the joints that single images label, mm."""
    return results.error(row, method, joints=FREE_JOINTS)


def free_table(results: SeedResults) -> str:
    """Return the rows of section 7.5, no pose label of the rig: means over the joints that single images label."""
    rows = [
        [
            text,
            *(str(free_error(results, row, method)) for method in METHODS_3D),
            *(str(results.detection_rate(row, FREE_JOINTS, where)) for where in ("all", "occluded")),
        ]
        for row, text in {**FREE_TEXT, "mixed/fusion": "with all labels: Fusion, H36M+MPII"}.items()
    ]
    rows += [
        [f"{PAPER}{name}", *(value if method == "rpsm" else None for method in METHODS_3D), None, None]
        for name, value in LABEL_FREE.items()
    ]
    header = [f"MPJPE (mm), {len(FREE_JOINTS)} joints", *METHOD_TEXT.values(), "JDR (%)", "JDR, occluded (%)"]
    return markdown_table(header, rows)


def free_claims(results: SeedResults) -> list[Claim]:
    """Return the orderings of section 7.5."""
    as_it_is, no_fusion, fusion = LABEL_FREE.values()
    start, single = f"{START}/single", f"{FREE}/single"
    pairs = [
        ("as it is: RPSM better than triangulation", (start, "rpsm"), (start, PLAIN), None),
        (
            "RPSM: retrained without fusion better than as it is",
            (single, "rpsm"),
            (start, "rpsm"),
            as_it_is - no_fusion,
        ),
        (
            "RPSM: retrained with fusion better than without",
            (f"{FREE}/fusion", "rpsm"),
            (single, "rpsm"),
            no_fusion - fusion,
        ),
        (
            "RPSM: retrained with Adaptive better than without fusion",
            (f"{FREE}/adaptive", "rpsm"),
            (single, "rpsm"),
            None,
        ),
    ]
    return [
        Claim(text, free_error(results, *worse).minus(free_error(results, *better)), "mm", paper)
        for text, better, worse, paper in pairs
    ]


def difficulty_table(results: SeedResults, own_set: str, sets: Sequence[ExtraTestSet]) -> str:
    """Return rates and 3D errors on the validation set, called `own_set`, and further ones; networks of H36M+MPII."""
    named = [("mixed", own_set), *((one.key, one.text) for one in sets)]
    rows = [
        [
            text,
            *(_rates(results, f"{key}/{kind}") for kind in FUSIONS),
            *(str(results.error(f"{key}/{kind}", "rpsm")) for kind in ("single", "fusion", "adaptive")),
        ]
        for key, text in named
    ]
    header = ["JDR (%), all / occluded / visible", *KIND_TEXT.values(), "RPSM (mm): Single", "Fusion", "Adaptive"]
    return markdown_table(header, rows)


def _rates(results: SeedResults, row: str) -> str:
    values = [results.detection_rate(row, where=where) for where in WHERE]
    return " / ".join(f"{value.mean:.1f}" if value.by_seed else "-" for value in values)


def difficulty_claims(results: SeedResults, sets: Sequence[ExtraTestSet]) -> list[Claim]:
    """Return what is expected of further test sets."""
    claims = []
    for one in sets:
        for kind in ("fusion", "adaptive") if one.same_rig else ("adaptive",):
            claims.append(
                Claim(
                    f"{one.text}, occluded joints: {KIND_TEXT[kind]} above Single",
                    results.detection_rate(f"{one.key}/{kind}", where="occluded").minus(
                        results.detection_rate(f"{one.key}/single", where="occluded")
                    ),
                    "points",
                )
            )
    return claims
