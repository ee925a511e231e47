"""The numba backend: blocks of frames, memory per thread, and results that do not depend on the threads."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import LENGTHS, make_scene

pytest.importorskip("numba")

from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import project
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.multiviews.pictorial import backend_numba
from lib.multiviews.pictorial.backend_numba import NumbaBackend
from lib.multiviews.refinement.refine import fit_frames, fit_persons, fitted_poses


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("num_frames", [0, 1, 7, 64])
def test_shares_cover_all_frames(num_threads, num_frames):
    shares = list(NumbaBackend(num_threads).shares(num_frames))
    assert [frame for share in shares for frame in range(share.start, share.stop)] == list(range(num_frames))
    assert len(shares) <= 2 * num_threads


def test_memory_is_reused_for_equal_arguments():
    backend = NumbaBackend(1)
    first = backend.memory(np.zeros, 3)
    assert backend.memory(np.zeros, 3) is first
    assert backend.memory(np.zeros, 4).shape == (4,)
    assert backend.memory(np.ones, 4).sum() == 4


def test_compiling_is_announced_with_the_first_work(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(backend_numba, "cache_folder", lambda: tmp_path)
    with caplog.at_level("INFO"):
        backend = NumbaBackend(1)
        assert caplog.messages == []  # the input may turn out to be unusable
        for _ in range(2):
            backend.for_each(lambda frames: None, [slice(0, 1)])
    assert [message[:14] for message in caplog.messages] == ["numba compiles"]


def refined(num_threads: int) -> np.ndarray:
    scene = make_scene(9)
    rng = np.random.default_rng(2)
    maps = np.roll(scene.heatmaps, 2, -1) + 0.02 * rng.random(scene.heatmaps.shape, np.float32)
    start = scene.pose_world + rng.normal(0, 20, scene.pose_world.shape)
    backend = NumbaBackend(num_threads)
    fitted = fit_frames(maps, scene.cameras, scene.image_to_heatmap, start, LENGTHS, H36M_BODY, backend)
    return fitted_poses(fit_persons(fitted, np.zeros(9, int), H36M_BODY, backend), H36M_BODY, backend)


def triangulated(num_threads: int) -> np.ndarray:
    scene = make_scene(9)
    peaks = project(scene.pose_world[:, None], scene.cameras)[0][..., None, :]
    peaks = peaks + np.random.default_rng(3).normal(0, 8, (*peaks.shape[:3], 3, 2))
    tolerance = np.full(peaks.shape[:2], 20.0)
    return triangulate_robust(peaks, np.ones(peaks.shape[:4]), scene.cameras, tolerance, NumbaBackend(num_threads))


@pytest.mark.parametrize("solve", [refined, triangulated])
def test_steps_independent_of_threads(solve):
    expected = solve(1)
    for num_threads in (2, 3, 16):
        np.testing.assert_array_equal(solve(num_threads), expected)
