"""Refinement: exact where the maps are, robust where they are wrong, the same in both libraries."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import FLIP_PAIRS, LENGTHS, Scene, draw_gaussians, make_backend, make_scene

from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import project
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.refinement.refine import RefineSettings, fit_frames, fit_persons, fitted_poses
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17
from lib.utils.transforms import invert_affine, transform_points

LIBRARIES = ["numpy", "numba", "torch"]
WRIST, ELBOW = H36M_17.index("lwri"), H36M_17.index("lelb")
LEGS, ARMS = (("hip", "kne", "ank"), ("sho", "elb", "wri"))


def rough_start(scene: Scene, std_mm: float = 10.0) -> np.ndarray:
    """Return the poses with errors as RPSM makes them."""
    return scene.pose_world + np.random.default_rng(7).normal(0, std_mm, scene.pose_world.shape)


def refined(
    scene: Scene, heatmaps=None, library="numpy", lengths=None, start=None, length_std=0.05, person=None, peaks=None
) -> np.ndarray:
    backend = make_backend(library)
    fitted = fit_frames(
        scene.heatmaps if heatmaps is None else heatmaps,
        scene.cameras,
        scene.image_to_heatmap,
        rough_start(scene) if start is None else start,
        H36M_BODY.limb_lengths(scene.pose_world) if lengths is None else lengths,
        H36M_BODY,
        backend,
        RefineSettings(length_std=length_std),
        FLIP_PAIRS,
        single_view_peaks=peaks,
    )
    if person is None:
        return fitted_poses(fitted, H36M_BODY, backend)
    return fitted_poses(fit_persons(fitted, person, H36M_BODY, backend), H36M_BODY, backend)


def errors(pose: np.ndarray, scene: Scene) -> np.ndarray:
    return np.linalg.norm(pose - scene.pose_world, axis=-1)


def swap_sides(heatmaps: np.ndarray, view: int, parts: tuple[str, ...]) -> None:
    right, left = H36M_17.indices([f"r{part}" for part in parts]), H36M_17.indices([f"l{part}" for part in parts])
    heatmaps[:, view, right + left] = heatmaps[:, view, left + right]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("views", "size"), [(2, (64, 64)), (3, (64, 64)), (4, (48, 64)), (5, (80, 64))])
def test_fit_frames_perfect_heatmaps(library, views, size):
    scene = make_scene(3, views, size, (4 * size[0], 4 * size[1]))
    inside = ((scene.joints_hm > 1) & (scene.joints_hm < np.array(size) - 2)).all((1, -1))
    error = errors(refined(scene, library=library), scene)
    assert inside.mean() > 0.9
    assert error[inside].max() < 0.5


def test_fit_frames_wrong_mean_lengths():
    scene = make_scene(4)
    assert np.abs(H36M_BODY.limb_lengths(scene.pose_world) - LENGTHS).max() > 15
    assert errors(refined(scene, lengths=LENGTHS), scene).mean() < 0.5


@pytest.mark.parametrize("height", [1.0, 3.0])
def test_fit_frames_outlier_view(height):
    scene = make_scene(3)
    rng = np.random.default_rng(1)
    maps = scene.heatmaps.copy()
    maps[:, 2] = height * draw_gaussians(rng.uniform(5, 58, scene.joints_hm[:, 2].shape), (64, 64), 2.0)
    error = errors(refined(scene, maps), scene)
    assert np.percentile(error, 95) < 0.5  # a wrong peak that fits a limb's length by chance may stay
    assert error.max() < 60


def test_fit_frames_second_peaks():
    scene = make_scene(3)
    rng = np.random.default_rng(2)
    wrong = rng.random(scene.joints_hm.shape[:3]) < 0.25
    maps = 0.6 * scene.heatmaps
    places = rng.uniform(5, 58, scene.joints_hm.shape)
    maps = np.maximum(maps, wrong[..., None, None] * draw_gaussians(places, (64, 64), 2.0))
    assert np.percentile(errors(refined(scene, maps), scene), 95) < 3  # peaks that touch move each other


@pytest.mark.parametrize("library", LIBRARIES)
def test_fit_frames_swapped_sides(library):
    scene = make_scene(3)
    maps = scene.heatmaps.copy()
    swap_sides(maps, 1, LEGS)
    swap_sides(maps, 0, ARMS)
    swap_sides(maps, 3, ARMS)  # two against two: the hips decide
    pose = refined(scene, maps, library, start=rough_start(scene)[:, [0, 4, 5, 6, 1, 2, 3, *range(7, 17)]])
    assert errors(pose, scene).max() < 0.5


def test_fit_frames_swapped_sides_in_one_of_two_views():
    scene = make_scene(3, num_views=2)
    maps = scene.heatmaps.copy()
    swap_sides(maps, 1, ARMS)
    error = errors(refined(scene, maps), scene)
    # In the first frame both arms hang alike, so the rays meet whichever way they are paired.
    assert np.median(error[1:], -1).max() < 0.1
    assert error[1:, H36M_17.indices([f"{side}{part}" for side in "rl" for part in ARMS])].max() < 0.5


def test_fit_frames_better_than_triangulation():
    scene = make_scene(24, seed=3)
    noisy = scene.joints_hm + np.random.default_rng(3).normal(0, 1.0, scene.joints_hm.shape)
    points_img = transform_points(noisy, invert_affine(scene.image_to_heatmap))
    alone = errors(triangulate(points_img, scene.cameras), scene).mean()
    maps = draw_gaussians(noisy, (64, 64), 2.0)
    assert errors(refined(scene, maps, length_std=0.005), scene).mean() < 0.87 * alone
    assert errors(refined(scene, maps, lengths=LENGTHS), scene).mean() < 0.92 * alone


@pytest.mark.parametrize("library", LIBRARIES)
def test_fit_frames_single_view_peaks_place_the_joints(library):
    """An error that the fused heatmaps of all views share does not count, since the peaks are the views' own."""
    scene = make_scene(3)
    moved = scene.pose_world + [30.0, 0, 0]
    matrix = scene.image_to_heatmap
    fused = draw_gaussians(transform_points(project(moved[:, None], scene.cameras)[0], matrix), (64, 64), 4.0)
    peaks = stacked_peaks(scene.heatmaps, 2, "log_quadratic")
    assert errors(refined(scene, fused, library), scene).mean() > 20
    assert errors(refined(scene, fused, library, peaks=peaks), scene).mean() < 1


def test_fit_frames_contradicted_peaks_count_less():
    """Two views agree on a wrong place. The fused heatmaps show that the others contradict."""
    scene = make_scene(3)
    wrong = scene.pose_world.copy()
    wrong[:, WRIST] += np.random.default_rng(10).normal(0, 1, (3, 3)) + [0, 0, 250.0]
    wrong_hm = transform_points(project(wrong[:, None], scene.cameras)[0], scene.image_to_heatmap)
    maps = scene.heatmaps.copy()
    maps[:, :2] = draw_gaussians(wrong_hm[:, :2], (64, 64), 2.0)
    peaks = stacked_peaks(maps, 2, "log_quadratic")
    lengths = np.full(16, 300.0)  # no help
    for fused, is_right in ((scene.heatmaps, True), (draw_gaussians(wrong_hm, (64, 64), 2.0), False)):
        error = errors(refined(scene, fused, lengths=lengths, length_std=10.0, peaks=peaks), scene)[:, WRIST]
        assert ((error < 60) == is_right).all()


def test_fit_persons_improves_frames():
    """The same person 16 times, 15 % larger than expected."""
    scene = make_scene(1, seed=4)
    scene = Scene(
        *(
            np.repeat(value, 16, 0)
            if isinstance(value, np.ndarray)
            else value.map(lambda array: np.repeat(array, 16, 0))
            for value in vars(scene).values()
        )
    )
    noisy = scene.joints_hm + np.random.default_rng(4).normal(0, 1.0, scene.joints_hm.shape)
    maps = draw_gaussians(noisy, (64, 64), 2.0)
    lengths = H36M_BODY.limb_lengths(scene.pose_world[0]) / 1.15
    apart = errors(refined(scene, maps, lengths=lengths), scene).mean()
    together = errors(refined(scene, maps, lengths=lengths, person=np.zeros(16, int)), scene).mean()
    strangers = errors(refined(scene, maps, lengths=lengths, person=np.arange(16)), scene).mean()
    assert together < 0.8 * apart
    assert abs(strangers - apart) < 0.5  # nothing but further steps


def test_fit_frames_independent_of_library():
    scene = make_scene(20, seed=5)
    rng = np.random.default_rng(5)
    noisy = scene.joints_hm + rng.normal(0, 1.0, scene.joints_hm.shape)
    noisy[rng.random(noisy.shape[:3]) < 0.1] = 10
    maps = draw_gaussians(noisy, (64, 64), 2.0) + 0.01 * rng.random(scene.heatmaps.shape, np.float32)
    for peaks in (None, stacked_peaks(scene.heatmaps, 3, "log_quadratic")):
        poses = [refined(scene, maps, library, LENGTHS, person=np.arange(20) % 2, peaks=peaks) for library in LIBRARIES]
        for pose in poses[1:]:
            assert np.abs(pose - poses[0]).max() < 0.1


@pytest.mark.parametrize("library", LIBRARIES)
def test_fit_frames_unseen_joint(library):
    scene = make_scene(3)
    maps = scene.heatmaps.copy()
    lengths = H36M_BODY.limb_lengths(scene.pose_world)
    maps[:, :, WRIST] = 0.01 * np.random.default_rng(6).random(maps[:, :, WRIST].shape)
    start = rough_start(scene)
    start[:, WRIST] = scene.pose_world[:, WRIST] + [40, -30, 30]
    pose = refined(scene, maps, library, start=start)
    others = [joint for joint in range(17) if joint != WRIST]
    assert errors(pose, scene)[:, others].max() < 2
    limb = H36M_BODY.edges.index((ELBOW, WRIST))
    assert np.abs(H36M_BODY.limb_lengths(pose)[:, limb] - lengths[:, limb]).max() < 2
    assert errors(pose, scene)[:, WRIST].max() < 60  # it starts 58 mm away


@pytest.mark.parametrize("library", LIBRARIES)
def test_fit_frames_empty_heatmaps(library):
    scene = make_scene(2)
    pose = refined(scene, np.zeros_like(scene.heatmaps), library, start=scene.pose_world)
    np.testing.assert_allclose(pose, scene.pose_world, atol=0.01)
    pose = refined(scene, np.zeros_like(scene.heatmaps), library, person=np.zeros(2, int))
    assert errors(pose, scene).max() < 60  # the limbs get their lengths, nothing else happens


def test_fit_frames_noise():
    scene = make_scene(2)
    noise = np.random.default_rng(8).random(scene.heatmaps.shape, np.float32)
    start = rough_start(scene, 30)
    pose = refined(scene, noise, start=start)
    assert np.isfinite(pose).all()
    distance = np.linalg.norm(pose - scene.pose_world[:, :1], axis=-1)
    assert distance.max() < 1500  # a person's reach from its root


def test_fit_frames_independent_frames():
    scene = make_scene(19, seed=9)
    noisy = scene.joints_hm + np.random.default_rng(9).normal(0, 1.0, scene.joints_hm.shape)
    maps = draw_gaussians(noisy, (64, 64), 2.0)
    together = refined(scene, maps, lengths=LENGTHS)
    one = Scene(*(value[17:18] for value in vars(scene).values()))
    alone = refined(one, maps[17:18], lengths=LENGTHS, start=rough_start(scene)[17:18])
    np.testing.assert_allclose(together[17], alone[0], atol=1e-6)


def test_fit_frames_no_frame():
    scene = make_scene(2)
    nothing = Scene(*(value[:0] for value in vars(scene).values()))
    for person in (None, np.zeros(0)):
        assert refined(nothing, start=np.zeros((0, 17, 3)), person=person).shape == (0, 17, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": np.zeros((2, 16, 3))}, "start_world"),
        ({"start": np.full((2, 17, 3), np.nan)}, "start_world: frame 0"),
        ({"lengths": np.zeros(16)}, "limb_lengths: expected lengths above 0 mm"),
        ({"person": np.zeros(3)}, "person"),
        ({"heatmaps": np.full((2, 4, 17, 64, 64), np.inf)}, "heatmaps: frame 0"),
        ({"heatmaps": np.zeros((2, 1, 17, 64, 64))}, "at least 2 views"),
        ({"peaks": np.zeros((2, 4, 17, 3, 2))}, "single_view_peaks"),
    ],
)
def test_fit_frames_wrong_arguments(change, message):
    with pytest.raises(InputError, match=message):
        refined(make_scene(2), **change)


@pytest.mark.gpu
@pytest.mark.parametrize("person", [None, np.zeros(20, int)])
def test_fit_frames_cuda_equals_numpy(person):
    scene = make_scene(20)  # more than one block on the CPU
    swap_sides(scene.heatmaps[:5], 1, LEGS)
    heatmaps = scene.heatmaps + np.random.default_rng(0).normal(0, 0.03, scene.heatmaps.shape).astype(np.float32)
    expected = refined(scene, heatmaps, person=person)
    found = refined(scene, make_backend("cuda").heatmaps(heatmaps), "cuda", person=person)
    np.testing.assert_allclose(found, expected, atol=0.1)
