"""Charts show the results."""

from __future__ import annotations

import cv2

from lib.core.experiments.charts import save_charts
from lib.core.experiments.seed_results import SeedResults


def test_save_charts_other_results_other_images(written, plan, protocol, tmp_path):
    sets = protocol.test_sets
    both = save_charts(written, sets, tmp_path / "both")
    first = save_charts(SeedResults(plan.results, (0,)), sets, tmp_path / "first")
    assert set(both) == set(first) == {"rates", "errors", "depth", "free", "difficulty"}
    for name in both:
        images = [cv2.imread(str(paths[name])) for paths in (both, first)]
        assert images[0].shape == images[1].shape
        assert (images[0] != images[1]).any()
    assert save_charts(SeedResults(plan.results, (7,)), sets, tmp_path / "none") == {}
