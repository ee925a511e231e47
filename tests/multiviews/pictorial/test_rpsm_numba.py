"""RPSM compiled by numba: the same poses as on numpy, whatever the scene, the grids and the number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import LENGTHS, Scene, make_scene

pytest.importorskip("numba")

from lib.multiviews.body import H36M_BODY, HumanBody
from lib.multiviews.pictorial.backend_numba import NumbaBackend
from lib.multiviews.pictorial.backend_numpy import NumpyBackend
from lib.multiviews.pictorial.limb_prior import make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings, rpsm

PAPER = PictorialSettings()


def solve(scene: Scene, backend, settings=PAPER, heatmaps=None, body=H36M_BODY, lengths=LENGTHS, shift=0):
    """Run RPSM with a root `shift` mm from the true one."""
    return rpsm(
        scene.heatmaps if heatmaps is None else heatmaps,
        scene.cameras,
        scene.image_to_heatmap,
        scene.pose_world[:, 0] + shift,
        lengths,
        make_limb_prior(lengths, body, settings.first_grid),
        settings,
        backend,
    )


def assert_same_poses(scene: Scene, **options) -> None:
    expected = solve(scene, NumpyBackend(2), **options)
    np.testing.assert_allclose(solve(scene, NumbaBackend(2), **options), expected, atol=1e-6)


def noisy(scene: Scene, seed: int) -> np.ndarray:
    """Return heatmaps with noise of both signs, lost peaks, moved peaks and empty maps."""
    rng = np.random.default_rng(seed)
    maps = scene.heatmaps + rng.normal(0, 0.05, scene.heatmaps.shape).astype(np.float32)
    kind = rng.random(maps.shape[:3])
    maps[kind < 0.2] = np.roll(maps[kind < 0.2], 20, -1)
    maps[kind > 0.8] = 0
    maps[rng.random(maps.shape[0]) < 0.3, :, 13] = 0  # no evidence for a wrist in any view
    return maps


@pytest.mark.parametrize("num_views", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(2))
def test_rpsm_compiled_equals_numpy(num_views, seed):
    scene = make_scene(5, num_views, seed=seed)
    assert_same_poses(scene, heatmaps=noisy(scene, seed))


@pytest.mark.parametrize(
    "settings",
    [
        PictorialSettings(first_nbins=9, recur_nbins=3, recur_depth=2),
        PictorialSettings(first_nbins=20, recur_depth=1),
        PictorialSettings(grid_size=1500.0, first_nbins=13, recur_nbins=4, recur_depth=1, limb_length_tolerance=60.0),
        PictorialSettings(recur_depth=0),
        PictorialSettings(first_nbins=4, limb_length_tolerance=900.0),  # shifts across the whole grid
    ],
    ids=str,
)
def test_rpsm_compiled_other_grids(settings):
    scene = make_scene(3, heatmap_wh=(48, 64), image_wh=(192, 256))
    assert_same_poses(scene, settings=settings, heatmaps=noisy(scene, 3))


@pytest.mark.parametrize("kind", ["zeros", "ones", "stripes", "one pixel"])
def test_rpsm_compiled_ties(kind):
    scene = make_scene(2)
    maps = np.full(scene.heatmaps.shape, float(kind == "ones"), np.float32)
    if kind == "stripes":
        maps[..., ::8, :] = 1
    elif kind == "one pixel":  # no pose without broken limbs
        maps[..., 3, 3] = 1
    assert_same_poses(scene, heatmaps=maps)


def test_rpsm_compiled_points_behind_cameras_and_outside_of_maps():
    scene = make_scene(3)
    for shift in ([0, 0, 1500.0], [4800.0, 300.0, 0], [20000.0, 0, 0]):
        assert_same_poses(scene, shift=np.array(shift))


def test_rpsm_compiled_impossible_limb_lengths():
    scene = make_scene(2)
    lengths = np.where(np.arange(16) == 9, 1900.0, LENGTHS)
    assert_same_poses(scene, lengths=lengths)


def test_rpsm_compiled_one_joint():
    scene = make_scene(2)
    assert_same_poses(scene, body=HumanBody(("root",), (-1,)), lengths=np.empty(0), heatmaps=scene.heatmaps[:, :, :1])


def test_rpsm_compiled_float16_read_only_maps():
    scene = make_scene(2)
    maps = scene.heatmaps.astype(np.float16)
    maps.flags.writeable = False
    np.testing.assert_array_equal(
        solve(scene, NumbaBackend(1), heatmaps=maps), solve(scene, NumbaBackend(1), heatmaps=maps.astype(np.float32))
    )


def test_rpsm_compiled_independent_of_threads():
    scene = make_scene(7)
    maps = noisy(scene, 5)
    expected = solve(scene, NumbaBackend(1), heatmaps=maps)
    for num_threads in (2, 3, 16):
        np.testing.assert_array_equal(solve(scene, NumbaBackend(num_threads), heatmaps=maps), expected)
