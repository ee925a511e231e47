"""Tables of the results page, tables of the paper's rows, and checks of the paper's orderings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.core.experiments.plan import (
    DEEPEST,
    DEPTHS,
    DEPTHS_ROW,
    FREE,
    FREE_JOINTS,
    FUSION_COLUMNS,
    LEARNED,
    METHODS_3D,
    PLAIN,
    START,
    TRAINED_FUSIONS,
    WITH_3D,
    ExtraTestSet,
)
from lib.core.experiments.seed_results import LIMB_JOINTS, TABLE_1_JOINTS, VISIBILITY, SeedResults, SeedValues
from lib.core.report.paper_results import LABEL_FREE, TABLE_1, TABLE_3, TABLE_3_COLUMNS, TABLE_4
from lib.utils.tables import markdown_table

DATA_TEXT = {"h36m": "groups", "mixed": "groups + single images"}  # training data of our rows
PAPER_DATA_TEXT = {"h36m": "H36M", "mixed": "H36M+MPII"}  # training data of the paper's rows
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
FREE_TEXT = {
    f"{START}/single": "single images alone, as it is",
    f"{FREE}/single": "retrained on agreeing labels, no fusion",
    f"{FREE}/fusion": "retrained, fusion",
    f"{FREE}/adaptive": "retrained, adaptive (ours)",
}
PAPER_JDR_TEXT = (
    "The paper's JDR counts a joint within half the head size, on Human3.6M, with ResNet-152 at 320 px; ours counts it "
    "within TEST.JDR_THRESHOLD."
)

ALL_LABELS_ROW = "mixed/fusion"
ALL_LABELS_TEXT = f"with all labels: {KIND_TEXT['fusion']}, {DATA_TEXT['mixed']}"


@dataclass(frozen=True)
class Claim:
    """Expected ordering."""

    text: str  # e.g. "Fusion above Single"
    gain: SeedValues  # per seed, positive in the expected direction
    unit: str  # "points" or "mm"
    paper: float | None = None  # the paper's gain on Human3.6M; None if the paper has no figure

    @property
    def verdict(self) -> str:
        """ "holds" (for all seeds), "does not hold" (for no seed), "undecided", or "" without results."""
        holds = [value > 0 for value in self.gain.by_seed.values()]
        if not holds:
            return ""
        return "holds" if all(holds) else "undecided" if any(holds) else "does not hold"

    def line(self) -> str:
        """Return the result as a list item."""
        if not self.verdict:
            return f"- {self.text}: no figures yet, or none in this data"
        known = self.gain.by_seed.values()
        verdict = self.verdict if self.verdict == "holds" else f"**{self.verdict}**"
        signed = f"{self.gain.mean:+.1f}" + ("" if np.isnan(self.gain.spread) else f" ± {self.gain.spread:.1f}")
        seeds = f"{sum(value > 0 for value in known)} of {len(known)} seeds"
        paper = "" if self.paper is None else f"; paper {self.paper:+.1f}"
        return f"- {self.text}: {verdict}, {signed} {self.unit}, {seeds}{paper}"


def network_text(kind: str, data: str) -> str:
    """Return the label of our rows, e.g. "Fusion, groups + single images"."""
    return f"{KIND_TEXT[kind]}, {DATA_TEXT[data]}"


def _paper_network(kind: str, data: str) -> str:
    return f"{KIND_TEXT[kind]}, {PAPER_DATA_TEXT[data]}"


def _paper_error(kind: str, data: str, method: str) -> float:
    name = f"{_paper_network(kind, data)}, {METHOD_TEXT[method]}"
    return next(row.average for row in TABLE_3 if row.method == name)


def _occlusion_claim(results: SeedResults, text: str, key: str, kind: str) -> Claim:
    rates = [results.detection_rate(f"{key}/{one}", visibility="occluded") for one in (kind, "single")]
    return Claim(f"{text}, occluded joints: {KIND_TEXT[kind]} above Single", rates[0].minus(rates[1]), "points")


def _error_claim(
    results: SeedResults,
    text: str,
    better: tuple[str, str],
    worse: tuple[str, str],
    paper: float | None = None,
    joints: Sequence[str] = (),
) -> Claim:
    """Compare two (row, method) pairs."""
    gain = results.error(*worse, joints=joints).minus(results.error(*better, joints=joints))
    return Claim(text, gain, "mm", paper)


def rate_table(results: SeedResults) -> str:
    """Return Table 1: JDR per joint of all 2D methods."""
    header = ["JDR (%)", *TABLE_1_JOINTS, "mean of these", "all 17", "occluded", "visible"]
    rows = []
    for data in DATA_TEXT:
        for kind in KIND_TEXT:
            row = f"{data}/{kind}"
            rates = [results.detection_rate(row, joints) for joints in (*TABLE_1_JOINTS.values(), LIMB_JOINTS)]
            rates += [results.detection_rate(row, visibility=visibility) for visibility in VISIBILITY]
            rows.append([network_text(kind, data), *rates])
    return markdown_table(header, rows)


def paper_rate_table() -> str:
    """Return the paper's Table 1."""
    header = ["JDR (%), Human3.6M", *TABLE_1_JOINTS, "mean of these"]
    return markdown_table(
        header, [[f"{method}, {data}", *values, float(np.mean(values))] for (method, data), values in TABLE_1.items()]
    )


def rate_claims(results: SeedResults) -> list[Claim]:
    """Return the orderings of Table 1: mean of its six joints, and occluded joints."""
    claims = []
    for data, text in DATA_TEXT.items():
        for pair in (
            ("sum", "single"),
            ("max", "sum"),
            ("fusion", "max"),
            ("fusion", "single"),
            ("adaptive", "fusion"),
        ):
            better, worse = (results.detection_rate(f"{data}/{kind}", LIMB_JOINTS) for kind in pair)
            names = [KIND_TEXT[kind] for kind in pair]
            papers = [TABLE_1.get((name, PAPER_DATA_TEXT[data])) for name in names]
            paper = None if None in papers else float(np.mean(papers[0]) - np.mean(papers[1]))
            claims.append(Claim(f"{text}: {names[0]} above {names[1]}", better.minus(worse), "points", paper))
        claims += [_occlusion_claim(results, text, data, kind) for kind in TRAINED_FUSIONS]
    return claims


def error_table(results: SeedResults) -> str:
    """Return Table 2: MPJPE of each 2D method (rows) with each 3D method (columns)."""
    rows = [
        [network_text(kind, data), *(results.error(f"{data}/{kind}", method) for method in METHODS_3D)]
        for data in DATA_TEXT
        for kind in WITH_3D
    ]
    return markdown_table(["MPJPE (mm)", *METHOD_TEXT.values()], rows)


def paper_error_table() -> str:
    """Return the averages of the paper's Table 3 in the form of Table 2."""
    rows = [
        [_paper_network(kind, data), *(_paper_error(kind, data, method) for method in PAPER_METHODS)]
        for kind in ("single", "fusion")
        for data in DATA_TEXT
    ]
    return markdown_table(["MPJPE (mm), Human3.6M", *(METHOD_TEXT[method] for method in PAPER_METHODS)], rows)


def error_claims(results: SeedResults) -> list[Claim]:
    """Return the orderings of Tables 2 and 3."""
    claims = []
    for data, text in DATA_TEXT.items():
        single, fusion = f"{data}/single", f"{data}/fusion"
        for kind in ("single", "fusion"):
            row = f"{data}/{kind}"
            claim = f"{network_text(kind, data)}: RPSM better than triangulation"
            paper = _paper_error(kind, data, PLAIN) - _paper_error(kind, data, "rpsm")
            claims.append(_error_claim(results, claim, (row, "rpsm"), (row, PLAIN), paper))
        for method in PAPER_METHODS:
            claim = f"{text}, {METHOD_TEXT[method]}: Fusion better than Single"
            paper = _paper_error("single", data, method) - _paper_error("fusion", data, method)
            claims.append(_error_claim(results, claim, (fusion, method), (single, method), paper))
        for kind in ("single", "fusion"):
            row = f"{data}/{kind}"
            claim = f"{network_text(kind, data)}: refine better than RPSM"
            claims.append(_error_claim(results, claim, (row, "rpsm+refine"), (row, "rpsm")))
        if results.error(single, LEARNED).by_seed:
            claim = f"{network_text('single', data)}: learned refinement better than refine"
            claims.append(_error_claim(results, claim, (single, LEARNED), (single, "rpsm+refine")))
        claim = f"{text}: Adaptive with refine better than Fusion with RPSM"
        claims.append(_error_claim(results, claim, (f"{data}/adaptive", "rpsm+refine"), (fusion, "rpsm")))
    return claims


def action_table(results: SeedResults) -> str:
    """Return Table 3: MPJPE per action, mean over the seeds."""
    methods = {"single": PAPER_METHODS, "fusion": (*PAPER_METHODS, "rpsm+refine"), "adaptive": ("rpsm+refine",)}
    rows = []
    for kind in methods:
        for data in DATA_TEXT:
            for method in methods[kind]:
                errors = [results.error(f"{data}/{kind}", method, action).mean for action in (*TABLE_3_COLUMNS, None)]
                rows.append([f"{network_text(kind, data)}, {METHOD_TEXT[method]}", *errors])
    return markdown_table(["MPJPE (mm)", *TABLE_3_COLUMNS.values(), "Avg"], rows)


def paper_action_table() -> str:
    """Return the paper's Table 3."""
    rows = [[row.method, *row.by_column, row.average] for row in TABLE_3]
    return markdown_table(["MPJPE (mm), Human3.6M", *TABLE_3_COLUMNS.values(), "Avg"], rows)


def depth_values(results: SeedResults) -> dict[int, SeedValues]:
    """Return depth of the recursion -> MPJPE, mm."""
    methods = {**{depth: f"rpsm, depth {depth}" for depth in DEPTHS}, DEEPEST: "rpsm"}
    return {depth: results.error(DEPTHS_ROW, method) for depth, method in methods.items()}


def paper_depths() -> dict[int, float]:
    """Return depth of the recursion -> the paper's MPJPE on Human3.6M, mm."""
    rows = {int(row.method.rsplit(" ", 1)[1]): row.average for row in TABLE_4}
    return {**rows, DEEPEST: _paper_error("fusion", "mixed", "rpsm")}


def depth_table(results: SeedResults) -> str:
    """Return Table 4: MPJPE by depth of the recursion, and with refinement after the last."""
    values = depth_values(results)
    row = [network_text("fusion", "mixed"), *values.values(), results.error(DEPTHS_ROW, "rpsm+refine")]
    return markdown_table(["MPJPE (mm)", *(f"t = {depth}" for depth in values), "10 + refine (ours)"], [row])


def paper_depth_table() -> str:
    """Return the paper's Table 4."""
    papers = paper_depths()
    row = [_paper_network("fusion", "mixed"), *papers.values()]
    return markdown_table(["MPJPE (mm), Human3.6M", *(f"t = {depth}" for depth in papers)], [row])


def depth_claims(results: SeedResults) -> list[Claim]:
    """Return the orderings of Table 4."""
    values = depth_values(results)
    papers = paper_depths()
    claims = []
    for shallow, deep in ((0, 1), (1, 3), (3, 5)):
        gain = values[shallow].minus(values[deep])
        claims.append(Claim(f"depth {deep} better than {shallow}", gain, "mm", papers[shallow] - papers[deep]))
    difference = values[DEEPEST].minus(values[5]).by_seed
    within = SeedValues({seed: 1.0 - abs(value) for seed, value in difference.items()})
    text = "depth 5 within 1 mm of depth 10 (1 mm minus the difference)"
    return [*claims, Claim(text, within, "mm", 1.0 - abs(papers[DEEPEST] - papers[5]))]


def free_error(results: SeedResults, row: str, method: str) -> SeedValues:
    """Return the MPJPE of a row over the joints that single images label, mm."""
    return results.error(row, method, joints=FREE_JOINTS)


def free_table(results: SeedResults) -> str:
    """Return section 7.5, no pose labels of the rig: means over the joints that single images label."""
    rows = []
    for row, text in {**FREE_TEXT, ALL_LABELS_ROW: ALL_LABELS_TEXT}.items():
        errors = [free_error(results, row, method) for method in METHODS_3D]
        rates = [results.detection_rate(row, FREE_JOINTS, visibility) for visibility in ("all", "occluded")]
        rows.append([text, *errors, *rates])
    header = [f"MPJPE (mm), {len(FREE_JOINTS)} joints", *METHOD_TEXT.values(), "JDR (%)", "JDR, occluded (%)"]
    return markdown_table(header, rows)


def paper_free_table() -> str:
    """Return the paper's results of section 7.5."""
    return markdown_table(["MPJPE (mm), Human3.6M", METHOD_TEXT["rpsm"]], [[*pair] for pair in LABEL_FREE.items()])


def free_claims(results: SeedResults) -> list[Claim]:
    """Return the orderings of section 7.5."""
    as_it_is, no_fusion, fusion = LABEL_FREE.values()
    start, single = (f"{START}/single", "rpsm"), (f"{FREE}/single", "rpsm")
    pairs = [
        ("as it is: RPSM better than triangulation", start, (start[0], PLAIN), None),
        ("RPSM: retrained without fusion better than as it is", single, start, as_it_is - no_fusion),
        ("RPSM: retrained with fusion better than without", (f"{FREE}/fusion", "rpsm"), single, no_fusion - fusion),
        ("RPSM: retrained with Adaptive better than without fusion", (f"{FREE}/adaptive", "rpsm"), single, None),
    ]
    return [_error_claim(results, f"no pose labels, {text}", *pair, FREE_JOINTS) for text, *pair in pairs]


def difficulty_table(results: SeedResults, test_rows: Sequence[tuple[str, str]]) -> str:
    """Return JDR and MPJPE of networks trained on both kinds of data on the validation set and on further test sets."""
    rows = []
    for key, text in test_rows:
        errors = [results.error(f"{key}/{kind}", "rpsm") for kind in ("single", *TRAINED_FUSIONS)]
        rows.append([text, *(_rates(results, f"{key}/{kind}") for kind in FUSION_COLUMNS), *errors])
    header = ["JDR (%), all / occluded / visible", *KIND_TEXT.values(), "RPSM (mm): Single", "Fusion", "Adaptive"]
    return markdown_table(header, rows)


def _rates(results: SeedResults, row: str) -> str:
    values = [results.detection_rate(row, visibility=visibility) for visibility in VISIBILITY]
    return " / ".join(f"{value.mean:.1f}" if value.by_seed else "-" for value in values)


def difficulty_claims(results: SeedResults, sets: Sequence[ExtraTestSet]) -> list[Claim]:
    """Return the expected orderings on further test sets."""
    return [
        _occlusion_claim(results, one.text, one.key, kind)
        for one in sets
        for kind in TRAINED_FUSIONS
        if one.same_rig or kind == "adaptive"
    ]
