"""Choosing among places where rays meet: against all combinations, and with wrong peaks."""

from __future__ import annotations

import itertools

import numpy as np
from cvf_tests.scenes import make_scene

from lib.multiviews.body import HumanBody
from lib.multiviews.keypoints.peak_rays import PeakRays, midpoints, peak_rays, tolerance_mm, view_pairs, view_scores
from lib.multiviews.pictorial.backend_numpy import NumpyBackend
from lib.multiviews.refinement.candidates import CANDIDATE_SETTINGS, distinct_candidates, select_candidates
from lib.utils.transforms import invert_affine, transform_points

ARM_JOINTS = [8, 11, 12, 13]  # neck, left shoulder, elbow, wrist
ARM = HumanBody.from_names(("neck", "sho", "elb", "wri"), {"sho": "neck", "elb": "sho", "wri": "elb"})


def arm_scene(num_peaks: int, seed: int = 0, views: int = 3, wrong: float = 0.3):
    """Return a scene, its arms (F, 4, 3) and peaks of which some are wrong."""
    scene = make_scene(3, views, seed=seed)
    rng = np.random.default_rng(seed)
    joints_hm = scene.joints_hm[:, :, ARM_JOINTS]
    places = rng.uniform(0, 63, (*joints_hm.shape[:3], num_peaks, 2))
    which = np.where(rng.random(joints_hm.shape[:3]) < wrong, num_peaks - 1, 0)  # the right one is not the first
    np.put_along_axis(places, which[..., None, None], joints_hm[..., None, :], 3)
    flat = places.reshape(*places.shape[:2], -1, 2)
    peaks_img = transform_points(flat, invert_affine(scene.image_to_heatmap)).reshape(places.shape)
    weights = np.linspace(1, 0.6, num_peaks) * np.ones(places.shape[:4])
    rays = peak_rays(peaks_img, weights, scene.cameras, 2.5 / scene.image_to_heatmap[..., 0, 0])
    return scene, scene.pose_world[:, ARM_JOINTS], rays


def choose(rays: PeakRays, scene, start, lengths, std):
    return select_candidates(rays, scene.cameras, start, lengths, std, ARM, NumpyBackend())


def test_select_candidates_equals_exhaustive_search():
    scene, arm, rays = arm_scene(2, views=2)
    start = arm + np.random.default_rng(1).normal(0, 80, arm.shape)
    lengths = ARM.limb_lengths(arm)
    std = 0.05 * lengths
    chosen = choose(rays, scene, start, lengths, std)
    points, possible = midpoints(rays, scene.cameras, view_pairs(2, 2))
    place_std = 0.6 * tolerance_mm(start[:, 0], rays, scene.cameras)
    for frame in range(3):
        places = [
            np.concatenate([start[frame, joint, None], points[frame, joint][possible[frame, joint]]])
            for joint in range(4)
        ]
        scores = [
            view_scores(
                np.repeat(places[joint][None, None], 4, 1), rays[frame : frame + 1], scene.cameras[frame : frame + 1]
            )[0, :, joint].sum(0)
            for joint in range(4)
        ]
        best = -np.inf
        best_pose = None
        for combination in itertools.product(*(range(len(part)) for part in places)):
            pose = np.array([places[joint][bin_] for joint, bin_ in enumerate(combination)])
            deviation = (ARM.limb_lengths(pose) - lengths[frame]) / np.hypot(std[frame], place_std[frame])
            score = sum(scores[joint][bin_] for joint, bin_ in enumerate(combination))
            score -= np.minimum(deviation**2 / 2, 8).sum()
            if score > best:
                best, best_pose = score, pose
        np.testing.assert_allclose(chosen[frame], best_pose)


def test_select_candidates_outlier_peaks():
    scene, arm, rays = arm_scene(3, views=4)
    lengths = ARM.limb_lengths(arm)
    chosen = choose(rays, scene, arm + 500, lengths, 0.05 * lengths)
    assert np.median(np.linalg.norm(chosen - arm, axis=-1)) < 1e-6
    assert np.linalg.norm(chosen - arm, axis=-1).max() < 60


def test_select_candidates_limb_lengths_break_ties():
    """Two views say one place of the wrist, two views another, as high."""
    scene, arm, rays = arm_scene(1, views=4, wrong=0.0)
    other = rays.place.copy()
    other[:, :2, 3] += 8  # 20 heatmap px in two views that see it at the same height
    rays = PeakRays(other, rays.weight, rays.zoom)
    lengths = ARM.limb_lengths(arm)
    chosen = choose(rays, scene, arm + 1000, lengths, 0.05 * lengths)
    np.testing.assert_allclose(chosen[:, 3], arm[:, 3], atol=1e-3)


def test_select_candidates_without_peaks():
    scene, arm, rays = arm_scene(2)
    nothing = PeakRays(rays.place, rays.weight * 0, rays.zoom)
    lengths = ARM.limb_lengths(arm)
    np.testing.assert_array_equal(choose(nothing, scene, arm + 7, lengths, 0.05 * lengths), arm + 7)


def test_select_candidates_limit():
    scene, arm, rays = arm_scene(4, views=5)  # 160 per joint
    lengths = ARM.limb_lengths(arm)
    chosen = choose(rays, scene, arm + 500, lengths, 0.05 * lengths)
    assert np.linalg.norm(chosen - arm, axis=-1).max() < 60


def test_distinct_candidates_keep_a_distance():
    scene, arm, rays = arm_scene(3, views=4)
    points, score, count = distinct_candidates(rays, scene.cameras, arm, ARM.root, None)
    np.testing.assert_array_equal(points[:, :, 0], arm)
    assert count.min() >= 1
    assert count.max() > 3
    for frame, joint in np.ndindex(count.shape):
        found = points[frame, joint, : count[frame, joint]]
        distance = np.linalg.norm(found[:, None] - found, axis=-1)[np.triu_indices(len(found), 1)]
        assert (distance >= CANDIDATE_SETTINGS.min_distance_mm).all()
        assert (np.linalg.norm(found - arm[frame, 0], axis=-1) < CANDIDATE_SETTINGS.max_distance_mm).all()
        others = score[frame, joint, 1 : count[frame, joint]]
        assert (np.diff(others) <= 0).all()
        assert np.isfinite(others).all()


def test_distinct_candidates_are_the_best_midpoints():
    """The highest midpoint away from the start is always listed."""
    scene, arm, rays = arm_scene(2, views=3)
    _, score, count = distinct_candidates(rays, scene.cameras, arm, ARM.root, None)
    places, possible = midpoints(rays, scene.cameras, view_pairs(3, 2))
    heights = np.where(possible, view_scores(places, rays, scene.cameras).sum(1), -np.inf)
    heights[np.linalg.norm(places - arm[:, :, None], axis=-1) < CANDIDATE_SETTINGS.min_distance_mm] = -np.inf
    far = np.linalg.norm(places - arm[:, None, :1], axis=-1) >= CANDIDATE_SETTINGS.max_distance_mm
    assert (far & np.isfinite(heights)).any()
    heights[far] = -np.inf
    has_others = count > 1
    assert has_others.any()
    np.testing.assert_array_equal(has_others, np.isfinite(heights.max(-1)))
    np.testing.assert_allclose(score[has_others][:, 1], heights.max(-1)[has_others])
