"""Values over seeds, and what is read from the run directories."""

from __future__ import annotations

from lib.core.experiments.seed_results import SeedValues


def test_seed_values_mean_spread_and_differences():
    both = SeedValues({0: 1.0, 1: 3.0})
    assert str(both) == "2.0 ± 1.4"
    assert str(SeedValues({0: 1.0})) == "1.0"
    assert str(SeedValues({})) == "-"
    assert both.minus(SeedValues({1: 1.0, 2: 5.0})).by_seed == {1: 2.0}


def test_incomplete_rows_with_fewer_seeds(written, plan):
    (plan.results["mixed/sum"][1] / "results_2d.json").unlink()
    assert written.incomplete() == {"mixed/sum": (1,)}
