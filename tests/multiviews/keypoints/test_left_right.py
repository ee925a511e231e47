"""Left and right, from rays alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cvf_tests.scenes import FLIP_PAIRS, Scene, make_scene

from lib.multiviews.body import H36M_BODY
from lib.multiviews.keypoints.left_right import limb_pairs, swap, swap_rays, swapped_limbs, swapped_views
from lib.multiviews.keypoints.peak_rays import peak_rays
from lib.utils.joints import H36M_17
from lib.utils.transforms import invert_affine, transform_points

GROUPS = limb_pairs(H36M_BODY, FLIP_PAIRS)  # legs, arms


def make_rays(scene: Scene):
    points_img = transform_points(scene.joints_hm, invert_affine(scene.image_to_heatmap))[..., None, :]
    return peak_rays(points_img, np.ones(points_img.shape[:4]), scene.cameras, 2.5 / scene.image_to_heatmap[..., 0, 0])


def test_limb_pairs_h36m():
    names = [[(H36M_17.names[right], H36M_17.names[left]) for right, left in group] for group in GROUPS]
    assert names == [
        [("rhip", "lhip"), ("rkne", "lkne"), ("rank", "lank")],
        [("rsho", "lsho"), ("relb", "lelb"), ("rwri", "lwri")],
    ]
    assert limb_pairs(H36M_BODY, []) == []


@pytest.mark.parametrize("views", [3, 4, 5])
def test_swapped_views_minority_is_found(views):
    scene = make_scene(2, views)
    rays = make_rays(scene)
    for pattern in itertools.product((False, True), repeat=views):
        if 0 < sum(pattern) * 2 < views:
            wanted = np.zeros((2, views, 2), bool)
            wanted[0, :, 0] = wanted[1, :, 1] = pattern
            found = swapped_views(swap_rays(rays, wanted, GROUPS), scene.cameras, GROUPS)
            np.testing.assert_array_equal(found, wanted)


def test_swapped_views_tie():
    scene = make_scene(2)
    wanted = np.zeros((2, 4, 2), bool)
    wanted[:, [0, 2], 0] = True
    found = swapped_views(swap_rays(make_rays(scene), wanted, GROUPS), scene.cameras, GROUPS)
    for frame in range(2):
        assert found[frame, :, 0].tolist() in (wanted[frame, :, 0].tolist(), (~wanted[frame, :, 0]).tolist())
    assert not found[..., 1].any()


def test_swapped_views_correct_labels():
    scene = make_scene(8)
    assert not swapped_views(make_rays(scene), scene.cameras, GROUPS).any()


def test_swapped_views_coinciding_sides():
    """Both legs at the same position: a swap gains nothing."""
    scene = make_scene(2)
    rays = make_rays(scene)
    right, left = (list(side) for side in zip(*GROUPS[0], strict=True))
    rays.place[:, :, left] = rays.place[:, :, right]
    assert not swapped_views(rays, scene.cameras, GROUPS).any()


def test_swapped_limbs_facing_direction():
    scene = make_scene(3)
    mirrored = swap(scene.pose_world, np.array([[False, True]] * 3), GROUPS)  # arms the wrong way round
    swapped = np.zeros((3, 4, 2), bool)
    swapped[0, :2, 1] = True  # a tie between the views: the hips decide
    swapped[1, :2, 0] = True  # the legs were in doubt, the arms not: the legs follow
    np.testing.assert_array_equal(swapped_limbs(mirrored, swapped, GROUPS), [[0, 1], [1, 0], [0, 0]])
    np.testing.assert_array_equal(swapped_limbs(scene.pose_world, swapped, GROUPS), np.zeros((3, 2), bool))


def test_swap_rays_twice_is_identity():
    scene = make_scene(2)
    rays = make_rays(scene)
    where = np.random.default_rng(0).random((2, 4, 2)) < 0.5
    once = swap_rays(rays, where, GROUPS)
    assert (once.place != rays.place).any()
    np.testing.assert_array_equal(swap_rays(once, where, GROUPS).place, rays.place)
    hip, other = GROUPS[0][0]
    np.testing.assert_array_equal(once.place[where[..., 0], hip], rays.place[where[..., 0], other])
    np.testing.assert_array_equal(once.place[~where[..., 0], hip], rays.place[~where[..., 0], hip])
