"""Tables show the figures of the result files, and claims are judged per seed."""

from __future__ import annotations

import pytest

from lib.core.experiments.paper_tables import Claim, depth_table, free_claims, paper_rate_table, rate_claims, rate_table
from lib.core.experiments.seed_results import SeedValues


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ({0: 1.0, 1: 2.0}, "holds, +1.5 ± 0.7 points, 2 of 2 seeds; paper +3.0"),
        ({0: -1.0, 1: 0.0}, "**does not hold**, -0.5 ± 0.7 points, 0 of 2 seeds; paper +3.0"),
        ({0: -1.0, 1: 2.0}, "**undecided**, +0.5 ± 2.1 points, 1 of 2 seeds; paper +3.0"),
        ({}, "no figures yet, or none in this data"),
    ],
)
def test_claim_line_verdicts(gain, words):
    assert Claim("A above B", SeedValues(gain), "points", 3.0).line() == f"- A above B: {words}"


def test_tables_show_the_figures_of_the_files(written):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in rate_table(written).splitlines()]
    fusion = next(row for row in rows if row[0] == "Fusion, groups + single images")
    assert fusion[1:] == ["90.5 ± 0.7"] * 8 + ["70.5 ± 0.7", "95.5 ± 0.7"]
    paper = paper_rate_table().splitlines()[-1]
    assert "| Fusion, H36M+MPII " in paper
    assert [cell.strip() for cell in paper.split("|")[2:-1]] == ["99.0", "98.1", "97.2", "99.8", "98.9", "95.1", "98.0"]
    assert all(": holds, " in claim.line() for claim in rate_claims(written))
    assert "| 89.5 ± 0.7 | 69.5 ± 0.7 | 44.5 ± 0.7 | 40.0 ± 0.7 | 39.5 ± 0.7 |" in depth_table(written)
    assert [": holds, " in claim.line() for claim in free_claims(written)] == [True, True, False, False]
