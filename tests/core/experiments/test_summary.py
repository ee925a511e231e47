"""Recommendations follow from the figures."""

from __future__ import annotations

import pytest

from lib.core.experiments.paper_tables import Claim
from lib.core.experiments.seed_results import SeedResults, SeedValues
from lib.core.experiments.summary import recommended, summary_lines


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"simple": {0: 31.0, 1: 32.0}, "best": {0: 29.0, 1: 31.0}}, "best"),  # 31.5 > 30 + 1.4
        ({"simple": {0: 31.0, 1: 31.0}, "best": {0: 29.0, 1: 31.0}}, "simple"),
        ({"simple": {}, "best": {0: 29.0}}, "best"),
        ({"simple": {}}, None),
    ],
)
def test_recommended_is_the_simplest_within_the_spread_of_the_best(values, key):
    by_key = {name: SeedValues(by_seed) for name, by_seed in values.items()}
    assert recommended(by_key) == key
    negative = {name: SeedValues({s: -v for s, v in by_seed.items()}) for name, by_seed in values.items()}
    assert recommended(negative, largest=True) == key


def test_summary_lines_name_methods_and_figures(written, protocol):
    claims = [
        Claim("A above B", SeedValues({0: 1.0}), "mm", 1.0),
        Claim("B above C", SeedValues({0: -1.0}), "mm", 1.0),
        Claim("not the paper's", SeedValues({0: -1.0}), "mm"),
    ]
    lines = summary_lines(written, protocol.test_sets, claims)
    for line in (
        "- 2D: use Adaptive (ours). JDR 92.5 % (Single 80.5 %); occluded joints 72.5 % (Single 60.5 %).",
        "- 3D: use RPSM + refine (ours) on single-view heatmaps. MPJPE 29.5 mm; best method in 8 of 8 rows of Table 2.",
        "- RPSM on heatmaps of Fusion: recursion depth 5 is enough. MPJPE 40.0 mm (depth 10: 39.5 mm).",
        "- The paper's orderings: 1 of 2 hold for every seed.",
        '- Not confirmed: "B above C".',
    ):
        assert line in lines


def test_summary_lines_without_results(plan, protocol):
    assert summary_lines(SeedResults(plan.results, (7,)), protocol.test_sets, []) == []
