"""Variants of the ablation of the learned refinement."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from cvf_tests.scenes import make_scene
from cvf_tests.scripts import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from bench_refinement import FULL, PARTNER, OwnHeatmapOnly, PlacesOnly, root_and_step, variants

from lib.core.pose3d.train_refinement import Examples, untrained
from lib.multiviews.body import H36M_BODY
from lib.multiviews.refinement.learned_refinement import NUM_INPUTS, LearnedRefinement, partners
from lib.utils.joints import H36M_17


def examples(num_views: int, value: float) -> Examples:
    return Examples(torch.full((3, num_views, 17, NUM_INPUTS), value), torch.zeros(3, num_views, 17, 2))


def test_variants_choose_their_examples():
    """Two batches: poses without noise, with both noises, and from fewer views."""
    given = [examples(views, value) for views, value in ((4, 1.0), (4, 2.0), (4, 3.0), (2, 1.0))] * 2
    found = variants(given)
    assert len(given) == 2 * (len(FULL.jitter_mm) + FULL.fewer_views)
    assert [len(chosen) for chosen, *_ in found.values()] == [8, 8, 8, 8, 6, 2]
    assert all(one.inputs.shape[1] == 4 for one in found["without fewer views"][0])
    assert all((one.inputs == 1).all() for one in found["without noise on the poses"][0])
    assert all((one.inputs[..., PARTNER] == 0).all() for one in found["without the partner's heatmap"][0])
    assert all((one.inputs[..., PARTNER] != 0).all() for one in given)
    assert found["without the other joints"][1].left_out == ("from_body",)


def predict(kind: type[LearnedRefinement], heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scene = make_scene(2)
    torch.manual_seed(0)
    weights = dict(untrained(H36M_BODY.joint_names).weights)
    weights["output"] = np.random.default_rng(0).normal(0, 0.1, weights["output"].shape).astype(np.float32)
    partner = partners(17, [tuple(H36M_17.indices(pair)) for pair in H36M_17.flip_pairs])
    learned = kind(weights, H36M_BODY.joint_names, "none")
    return learned.predict(heatmaps, scene.cameras, scene.image_to_heatmap, scene.pose_world, partner)


def test_variants_leave_out_their_part():
    heatmaps = make_scene(2).heatmaps
    places, error = predict(LearnedRefinement, heatmaps)
    same_places, ones = predict(PlacesOnly, heatmaps)
    np.testing.assert_array_equal(same_places, places)
    assert error.std() > 0.01
    assert (ones == 1).all()
    assert np.abs(predict(OwnHeatmapOnly, heatmaps)[0] - places).max() > 0.01


def test_root_and_step():
    assert root_and_step("data/a=3") == (Path("data/a"), 3)
    assert root_and_step("data/a") == (Path("data/a"), 1)
