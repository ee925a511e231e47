"""Variants of the ablation of the learned refinement."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from cvf_tests.batches import make_batch
from cvf_tests.scenes import PARTNER as MIRRORED
from cvf_tests.scenes import make_scene
from cvf_tests.scripts import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from bench_refinement import (
    FULL,
    PARTNER,
    ChoiceOnly,
    FrameSet,
    OwnHeatmapOnly,
    PlacesOnly,
    projection_hits,
    root_and_step,
    variants,
)

from lib.core.pose3d.train_refinement import Examples, untrained
from lib.multiviews.body import H36M_BODY
from lib.multiviews.refinement.learned_refinement import NUM_INPUTS, LearnedRefinement
from lib.multiviews.refinement.view_sampler import ViewSampler


def examples(num_views: int, value: float) -> Examples:
    return Examples(torch.full((3, num_views, 17, NUM_INPUTS), value), torch.zeros(3, num_views, 17, 2))


def test_variants_choose_their_examples():
    """Two batches: poses without noise, with both noises, and from fewer views."""
    one_batch = [examples(4, value) for value in (1.0, 2.0, 3.0)] + [examples(2, 1.0)] * FULL.fewer_views
    given = one_batch * 2
    assert len(one_batch) == len(FULL.jitter_mm) + FULL.fewer_views
    found = variants(given)
    numbers = {name: len(one.places) for name, one in found.items() if len(one.places) != len(given)}
    assert numbers == {"places without fewer views": 6, "places without noise on the poses": 2}
    assert all(one.inputs.shape[1] == 4 for one in found["places without fewer views"].places)
    assert all((one.inputs == 1).all() for one in found["places without noise on the poses"].places)
    without_partner = found["places without the partner's heatmap"].places
    assert all((one.inputs[..., PARTNER] == 0).all() for one in without_partner)
    assert all((one.inputs[..., PARTNER] != 0).all() for one in given)
    assert found["places without the other joints"].settings.left_out == ("from_body",)
    assert found["places without the choice"].choice is None
    assert found["choice without heatmaps at the candidates"].choice.left_out == ("pooled", "pooled_joint")


def predict(kind: type[LearnedRefinement], heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scene = make_scene(2)
    torch.manual_seed(0)
    weights = dict(untrained(H36M_BODY.joint_names).weights)
    weights["output"] = np.random.default_rng(0).normal(0, 0.1, weights["output"].shape).astype(np.float32)
    views = ViewSampler(heatmaps, scene.cameras, scene.image_to_heatmap, MIRRORED)
    return kind(weights, H36M_BODY.joint_names, "none").predict(views, scene.pose_world)


def test_variants_leave_out_their_part():
    heatmaps = make_scene(2).heatmaps
    places, error = predict(LearnedRefinement, heatmaps)
    same_places, ones = predict(PlacesOnly, heatmaps)
    np.testing.assert_array_equal(same_places, places)
    assert error.std() > 0.01
    assert (ones == 1).all()
    assert np.abs(predict(OwnHeatmapOnly, heatmaps)[0] - places).max() > 0.01
    projections, ones = predict(ChoiceOnly, heatmaps)
    np.testing.assert_allclose(projections, make_scene(2).joints_hm, atol=1e-6)
    assert (ones == 1).all()


def test_root_and_step():
    assert root_and_step("data/a=3") == (Path("data/a"), 3)
    assert root_and_step("data/a") == (Path("data/a"), 1)


def test_projection_hits_and_views():
    scene = make_scene(2)
    pose = scene.pose_world.copy()
    pose[0, 5] += [0, 0, 400.0]
    hits = projection_hits(make_batch(scene), pose)
    assert not hits[0, :, 5].any()
    hits[0, :, 5] = True
    assert hits.all()
    frames = FrameSet([make_batch(scene)], np.zeros((2, 4, 17), bool)).of_views(np.array([0, 2]))
    assert frames.occluded.shape == frames.batches[0].heatmaps.shape[:3] == (2, 2, 17)
