"""RPSM compared with exhaustive search, its lowest error, and difficult heatmaps."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from cvf_tests.scenes import LENGTHS, Scene, make_backend, make_scene

from lib.multiviews.body import H36M_BODY, HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.pictorial.backend_numpy import NumpyBackend
from lib.multiviews.pictorial.limb_prior import make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings, rpsm
from lib.utils.errors import InputError

LIBRARIES = ["numpy", "numba", "torch", pytest.param("cuda", marks=pytest.mark.gpu)]
PAPER_SETTINGS = PictorialSettings()
PRIOR = make_limb_prior(LENGTHS, H36M_BODY, PAPER_SETTINGS.first_grid)
WRIST = H36M_BODY.joint_names.index("lwri")


def estimate(scene: Scene, heatmaps=None, library="numpy", settings=PAPER_SETTINGS, limb_lengths=None):
    return rpsm(
        scene.heatmaps if heatmaps is None else heatmaps,
        scene.cameras,
        scene.image_to_heatmap,
        scene.pose_world[:, H36M_BODY.root],
        H36M_BODY.limb_lengths(scene.pose_world) if limb_lengths is None else limb_lengths,
        PRIOR,
        settings,
        make_backend(library),
    )


def errors(pose, scene):
    return np.linalg.norm(pose - scene.pose_world, axis=-1)


# --- against all states -------------------------------------------------------------------------------------------


def sampled_sum(points_world, scene, joint):
    """Sum a joint's heatmaps over the views of frame 0 with OpenCV's projection and plain bilinear weights."""
    total = np.zeros(len(points_world))
    for view in range(scene.heatmaps.shape[1]):
        camera = scene.cameras[0, view]
        heatmap = scene.heatmaps[0, view, joint].astype(np.float64)
        matrix = np.array([[camera.f[0], 0, camera.c[0]], [0, camera.f[1], camera.c[1]], [0, 0, 1]])
        coefficients = np.array([camera.k[0], camera.k[1], *camera.p, camera.k[2]])
        rvec, _ = cv2.Rodrigues(camera.R)
        pixels, _ = cv2.projectPoints(points_world, rvec, -camera.R @ camera.T, matrix, coefficients)
        affine = scene.image_to_heatmap[0, view]
        for i, (x, y) in enumerate(pixels[:, 0] @ affine[:, :2].T + affine[:, 2]):
            for column, row in itertools.product((int(np.floor(x)), int(np.floor(x)) + 1), range(-1, 65)):
                weight = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
                if weight and 0 <= column < 64 and 0 <= row < 64:
                    total[i] += weight * heatmap[row, column]
    return total


def best_of_all_states(points, scene, body, lengths, tolerance):
    """Return the (J, 3) pose with the largest product; points (J, N, 3)."""
    unary = [sampled_sum(points[joint], scene, joint) for joint in range(len(points))]
    states = np.array(list(itertools.product(*(range(len(grid)) for grid in points))))
    product = np.prod([unary[joint][states[:, joint]] for joint in range(len(points))], 0)
    for (parent, child), length in zip(body.edges, lengths, strict=True):
        limb = points[parent][states[:, parent]] - points[child][states[:, child]]
        product = product * (abs(np.linalg.norm(limb, axis=1) - length) < tolerance)
    assert product.max() > 0
    best = states[product.argmax()]
    return np.array([points[joint][best[joint]] for joint in range(len(points))])


def cube(edge, num_bins):
    axis = np.linspace(-edge / 2, edge / 2, num_bins)
    return np.array(list(itertools.product(axis, axis, axis)))


@pytest.mark.parametrize("library", LIBRARIES)
def test_rpsm_equals_exhaustive_search(library):
    scene = make_scene(1, 3)
    body = HumanBody(("root", "rhip", "rkne"), (-1, 0, 1))  # the first joints of the Human3.6M body
    lengths = np.array([240.0, 400.0])  # not the person's: the limbs matter
    scene = replace(scene, pose_world=scene.pose_world[:, :3], heatmaps=scene.heatmaps[:, :, :3])
    root = scene.pose_world[:, 0] + [60.0, -40.0, 20.0]
    settings = PictorialSettings(1000.0, 4, 2, 0, 60.0)
    prior = make_limb_prior(np.array([300.0, 420.0]), body, settings.first_grid)
    backend = make_backend(library)
    arguments = (scene.heatmaps, scene.cameras, scene.image_to_heatmap, root, lengths, prior)

    first = best_of_all_states(
        [root[0] + cube(1000, 4)] * 3, scene, body, prior.mean_lengths, settings.limb_length_tolerance
    )
    np.testing.assert_allclose(rpsm(*arguments, settings, backend)[0], first, atol=1e-6)
    second = best_of_all_states([place + cube(250, 2) for place in first], scene, body, lengths, 60.0)
    np.testing.assert_allclose(rpsm(*arguments, replace(settings, recur_depth=1), backend)[0], second, atol=1e-6)
    third = best_of_all_states([place + cube(125, 2) for place in second], scene, body, lengths, 60.0)
    np.testing.assert_allclose(rpsm(*arguments, replace(settings, recur_depth=2), backend)[0], third, atol=1e-6)


# --- Human3.6M-like scenes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_rpsm_perfect_heatmaps(library):
    scene = make_scene(16)
    mpjpe = errors(estimate(scene, library=library), scene).mean()
    assert 7 <= mpjpe <= 11  # PAPER.md section 2 item 7: 7.7 mm with 64 px maps


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_rpsm_number_of_views(num_views):
    scene = make_scene(4, num_views)
    pose = estimate(scene)
    assert errors(pose, scene).mean() < 20
    np.testing.assert_allclose(pose, estimate(scene, library="torch"), atol=0.1)


@pytest.mark.parametrize("heatmap_wh", [(64, 96), (80, 64)])
def test_rpsm_rectangular_heatmaps(heatmap_wh):
    image_wh = (4 * heatmap_wh[0], 4 * heatmap_wh[1])
    scene = make_scene(3, heatmap_wh=heatmap_wh, image_wh=image_wh)
    pose = estimate(scene)
    assert errors(pose, scene).mean() < 15
    np.testing.assert_allclose(pose, estimate(scene, library="torch"), atol=0.1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_rpsm_independent_of_batch(library):
    scene = make_scene(19)  # more than one block on the first grid
    together = estimate(scene, library=library)
    alone = Scene(
        scene.pose_world[17:18],
        scene.cameras[17:18],
        scene.image_to_heatmap[17:18],
        scene.joints_hm[17:18],
        scene.heatmaps[17:18],
    )
    np.testing.assert_array_equal(estimate(alone, library=library)[0], together[17])


def test_rpsm_constant_memory():
    few = make_scene(16)
    many = make_scene(64)
    peaks = []
    backend = NumpyBackend(num_threads=1)
    for scene in (few, few, many):  # the first call plans the prior
        tracemalloc.start()
        rpsm(
            scene.heatmaps,
            scene.cameras,
            scene.image_to_heatmap,
            scene.pose_world[:, 0],
            LENGTHS,
            PRIOR,
            PAPER_SETTINGS,
            backend,
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]


@pytest.mark.parametrize("seed", range(3))
def test_rpsm_numpy_equals_torch_with_noise(seed):
    scene = make_scene(6, seed=seed)
    rng = np.random.default_rng(seed)
    noisy = scene.heatmaps + rng.normal(0, 0.05, scene.heatmaps.shape).astype(np.float32)
    lost = rng.random(noisy.shape[:3]) < 0.2
    noisy[lost] = np.roll(noisy[lost], 20, -1)  # a fifth of the peaks is elsewhere
    np.testing.assert_allclose(estimate(scene, noisy), estimate(scene, noisy, "torch"), atol=0.1)


@pytest.mark.parametrize("kind", ["zeros", "ones", "stripes"])
def test_rpsm_numpy_equals_torch_with_ties(kind):
    scene = make_scene(3)
    heatmaps = {"zeros": np.zeros, "ones": np.ones, "stripes": np.zeros}[kind](scene.heatmaps.shape, np.float32)
    if kind == "stripes":
        heatmaps[..., ::8, :] = 1
    pose = estimate(scene, heatmaps)
    np.testing.assert_allclose(pose, estimate(scene, heatmaps, "torch"), atol=0.1)
    allowed = np.abs(H36M_BODY.limb_lengths(pose) - H36M_BODY.limb_lengths(scene.pose_world))
    assert allowed.max() < PAPER_SETTINGS.limb_length_tolerance + 1e-6


# --- awkward evidence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_rpsm_unseen_joint(library):
    scene = make_scene(4)
    heatmaps = scene.heatmaps.copy()
    heatmaps[:, :, WRIST] = 0
    expected = estimate(scene, library=library)
    pose = estimate(scene, heatmaps, library)
    others = np.arange(17) != WRIST
    np.testing.assert_array_equal(pose[:, others], expected[:, others])
    edge = H36M_BODY.limb_names.index("lelb-lwri")
    lengths, true_lengths = (H36M_BODY.limb_lengths(each)[:, edge] for each in (pose, scene.pose_world))
    assert (abs(lengths - true_lengths) < PAPER_SETTINGS.limb_length_tolerance).all()


@pytest.mark.parametrize("library", LIBRARIES)
def test_rpsm_impossible_evidence(library):
    scene = make_scene(4)
    heatmaps = scene.heatmaps * (scene.heatmaps > 0.01)  # nothing at all away from the peaks
    expected = estimate(scene, heatmaps, library)
    assert errors(expected, scene).mean() < 15
    head = H36M_BODY.joint_names.index("head")
    heatmaps[:, :, head] = 0
    heatmaps[:, :, head, -6:, :6] = 1  # next to the feet: out of reach even if the nose gave up its evidence
    pose = estimate(scene, heatmaps, library)
    others = np.arange(17) != head
    np.testing.assert_allclose(pose[:, others], expected[:, others], atol=1e-9)


@pytest.mark.parametrize("library", LIBRARIES)
def test_rpsm_negative_values(library):
    scene = make_scene(2)
    heatmaps = np.where(scene.heatmaps < 0.01, np.float32(-0.02), scene.heatmaps)
    np.testing.assert_array_equal(estimate(scene, heatmaps, library), estimate(scene, heatmaps.clip(0), library))


@pytest.mark.parametrize("library", LIBRARIES)
def test_rpsm_tiny_values(library):
    scene = make_scene(2)
    tiny = scene.heatmaps * (scene.heatmaps > 1e-3)
    np.testing.assert_array_equal(
        estimate(scene, tiny * np.float32(2.0**-110), library), estimate(scene, tiny, library)
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_rpsm_camera_facing_away(library):
    four = make_scene(2, 4)
    back = four.cameras.R[:, :1] * np.array([-1.0, 1.0, -1.0])[:, None]  # the first camera turned round
    cameras = four.cameras.map(lambda array: np.concatenate([array, array[:, :1]], 1))
    cameras = Cameras(
        np.concatenate([four.cameras.R, back], 1), *(getattr(cameras, name) for name in ("T", "f", "c", "k", "p"))
    )
    five = Scene(
        four.pose_world,
        cameras,
        np.concatenate([four.image_to_heatmap, four.image_to_heatmap[:, :1]], 1),
        four.joints_hm,
        np.concatenate([four.heatmaps, np.ones_like(four.heatmaps[:, :1])], 1),
    )
    np.testing.assert_allclose(estimate(five, library=library), estimate(four, library=library), atol=1e-6)


@pytest.mark.parametrize("library", LIBRARIES)
def test_rpsm_impossible_limb_length(library):
    scene = make_scene(4)
    lengths = H36M_BODY.limb_lengths(scene.pose_world)
    lengths[:, H36M_BODY.limb_names.index("lsho-lelb")] = 5000.0  # broken on all later levels
    pose = estimate(scene, library=library, limb_lengths=lengths)
    assert errors(pose, scene).mean() < 15  # the evidence decides


# --- input --------------------------------------------------------------------------------------------------------


def test_rpsm_shared_limb_lengths():
    scene = make_scene(2)
    repeated = np.repeat(LENGTHS[None], 2, 0)
    np.testing.assert_array_equal(estimate(scene, limb_lengths=LENGTHS), estimate(scene, limb_lengths=repeated))


def test_rpsm_wrong_arguments():
    scene = make_scene(2)
    broken = scene.heatmaps.copy()
    broken[1, 2, 3, 4, 5] = np.nan
    with pytest.raises(InputError, match="heatmaps: frame 1"):
        estimate(scene, broken)
    with pytest.raises(InputError, match="heatmaps: expected shape"):
        estimate(scene, scene.heatmaps[:, :, :16])
    with pytest.raises(InputError, match="at least 2x2 px"):
        estimate(scene, scene.heatmaps[..., :1])
    with pytest.raises(InputError, match="limb_lengths"):
        estimate(scene, limb_lengths=np.ones((2, 15)))
    with pytest.raises(InputError, match="limb prior"):
        estimate(scene, settings=PictorialSettings(first_nbins=12))
