"""Summary of the results page: which method to use when, and how far the paper's claims hold.

A recommendation is the simplest variant whose mean is within the spread of the best one.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from lib.core.experiments.paper_tables import (
    DATA_TEXT,
    FREE_TEXT,
    KIND_TEXT,
    METHOD_TEXT,
    Claim,
    depth_values,
    free_error,
)
from lib.core.experiments.plan import (
    DEEPEST,
    EVALUATIONS_3D,
    FREE_JOINTS,
    METHODS_3D,
    PLAIN,
    TRAINED_FUSIONS,
    WITH_3D,
    ExtraTestSet,
)
from lib.core.experiments.seed_results import SeedResults, SeedValues
from lib.core.pose3d.methods import METHODS

WITHOUT_PRIOR = tuple(name for name in METHODS_3D if not METHODS[EVALUATIONS_3D[name][0]].needs_prior)
DEPTH_TOLERANCE_MM = 1.0
HEATMAP_TEXT = {kind: f"heatmaps of {text}" for kind, text in KIND_TEXT.items()} | {"single": "single-view heatmaps"}


def summary_lines(
    results: SeedResults, sets: Sequence[ExtraTestSet], claims: Sequence[Claim], counts_free: bool = True
) -> list[str]:
    """Return the summary as list items; lines without results are left out.

    Args:
        results: results of the seeds.
        sets: further test sets.
        claims: orderings that count.
        counts_free: whether the orderings of section 7.5 are among them.
    """
    lines = [
        *_detection_lines(results),
        *_pose_lines(results),
        *_depth_lines(results),
        *_rig_lines(results, sets),
        *_free_lines(results),
        *_claim_lines(claims, counts_free),
    ]
    return [f"- {line}" for line in lines]


def recommended(values: Mapping[str, SeedValues], largest: bool = False) -> str | None:
    """Return the first key whose mean is within the spread of the best mean; None without results."""
    sign = -1.0 if largest else 1.0
    known = {key: value for key, value in values.items() if value.by_seed}
    if not known:
        return None
    best = min(known.values(), key=lambda value: sign * value.mean)
    limit = sign * best.mean + np.nan_to_num(best.spread)
    return next(key for key, value in known.items() if sign * value.mean <= limit)


def _detection_lines(results: SeedResults) -> list[str]:
    rates = {kind: results.detection_rate(f"mixed/{kind}") for kind in KIND_TEXT}
    occluded = {kind: results.detection_rate(f"mixed/{kind}", visibility="occluded") for kind in KIND_TEXT}
    kind = recommended(rates, largest=True)
    untrained = recommended({one: rate for one, rate in rates.items() if one not in TRAINED_FUSIONS}, largest=True)
    if kind is None or untrained is None:
        return []
    return [
        f"2D: use {KIND_TEXT[kind]}. JDR {rates[kind].mean:.1f} % (Single {rates['single'].mean:.1f} %); occluded "
        f"joints {occluded[kind].mean:.1f} % (Single {occluded['single'].mean:.1f} %).",
        f"2D without training a fusion: use {KIND_TEXT[untrained]}. JDR {rates[untrained].mean:.1f} %.",
    ]


def _pose_lines(results: SeedResults) -> list[str]:
    networks = [f"{data}/{kind}" for data in DATA_TEXT for kind in WITH_3D]
    lines = []
    for text, among, methods in (
        ("3D", "method", METHODS_3D),
        ("3D without a limb prior", "triangulation", WITHOUT_PRIOR),
    ):
        best = [_best_method(results, row, methods) for row in networks]
        method = _best_method(results, "mixed/single", methods)
        errors = {kind: results.error(f"mixed/{kind}", method) for kind in WITH_3D}
        kind = recommended(errors)
        if kind is not None:
            known = [one for one in best if one is not None]
            share = f"{known.count(method)} of {len(known)} rows of Table 2"
            lines.append(
                f"{text}: use {METHOD_TEXT[method]} on {HEATMAP_TEXT[kind]}. MPJPE {errors[kind].mean:.1f} mm; "
                f"best {among} in {share}."
            )
    errors = {kind: results.error(f"mixed/{kind}", PLAIN) for kind in WITH_3D}
    kind = recommended(errors)
    if kind is not None:
        lines.append(
            f"Plain triangulation: use it on {HEATMAP_TEXT[kind]}. MPJPE {errors[kind].mean:.1f} mm (Single "
            f"{errors['single'].mean:.1f} mm)."
        )
    return lines


def _best_method(results: SeedResults, row: str, methods: Sequence[str]) -> str | None:
    errors = {method: results.error(row, method).mean for method in methods}
    known = {method: error for method, error in errors.items() if not np.isnan(error)}
    return min(known, key=known.get, default=None)


def _depth_lines(results: SeedResults) -> list[str]:
    errors = {depth: value.mean for depth, value in depth_values(results).items()}
    enough = [depth for depth, error in errors.items() if error <= errors[DEEPEST] + DEPTH_TOLERANCE_MM]
    if not enough:
        return []
    return [
        f"RPSM on heatmaps of Fusion: recursion depth {enough[0]} is enough. MPJPE {errors[enough[0]]:.1f} mm (depth "
        f"{DEEPEST}: {errors[DEEPEST]:.1f} mm)."
    ]


def _rig_lines(results: SeedResults, sets: Sequence[ExtraTestSet]) -> list[str]:
    rigs = [one for one in sets if not one.same_rig]
    if not rigs:
        return []
    few = min(rigs, key=lambda one: one.num_views)
    many = max(rigs, key=lambda one: one.num_views)
    kinds = [kind for kind in KIND_TEXT if results.detection_rate(f"{many.key}/{kind}").by_seed]
    kind = recommended({kind: results.detection_rate(f"{many.key}/{kind}") for kind in kinds}, largest=True)
    if kind is None:
        return []

    def rates(kind: str) -> str:
        return " and ".join(f"{results.detection_rate(f'{rig.key}/{kind}').mean:.1f} %" for rig in (few, many))

    return [
        f"2D on an unseen rig: use {KIND_TEXT[kind]}. JDR with {few.num_views} and {many.num_views} views "
        f"{rates(kind)} (Single {rates('single')})."
    ]


def _free_lines(results: SeedResults) -> list[str]:
    errors = {(row, method): free_error(results, row, method).mean for row in FREE_TEXT for method in METHODS_3D}
    known = {key: error for key, error in errors.items() if not np.isnan(error)}
    labeled = [free_error(results, "mixed/fusion", method).mean for method in METHODS_3D]
    if not known or np.isnan(labeled).all():
        return []
    row, method = min(known, key=known.get)
    best = f"{known[row, method]:.1f} mm ({FREE_TEXT[row]}; {METHOD_TEXT[method]})"
    return [
        f"3D without pose labels of the rig: MPJPE over {len(FREE_JOINTS)} joints at best {best}; with all labels "
        f"{np.nanmin(labeled):.1f} mm (Fusion)."
    ]


def _claim_lines(claims: Sequence[Claim], counts_free: bool) -> list[str]:
    judged = [claim for claim in claims if claim.paper is not None and claim.verdict]
    if not judged:
        return []
    others = [claim for claim in judged if claim.verdict != "holds"]
    without = "" if counts_free else ", section 7.5 left out (see there)"
    lines = [f"The paper's orderings{without}: {len(judged) - len(others)} of {len(judged)} hold for every seed."]
    if others:
        quoted = [f'"{claim.text}"' for claim in others]
        lines.append(f"Not confirmed: {', '.join(quoted)}.")
    return lines
