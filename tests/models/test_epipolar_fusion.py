from __future__ import annotations

import dataclasses
import itertools
import math

import cv2
import numpy as np
import pytest
import torch
from cvf_tests.scenes import Scene, draw_gaussians, make_scene
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

from lib.models import epipolar_fusion
from lib.models.epipolar_fusion import AdaptiveFusion, EpipolarFusion
from lib.multiviews.cameras import Cameras, CropCameras, project
from lib.multiviews.geometry.epipolar_torch import HeatmapRays, sample_maps, to_pixels
from lib.utils.errors import InputError

MAKE_FUSION = {"sum": lambda: EpipolarFusion("sum"), "max": lambda: EpipolarFusion("max"), "adaptive": AdaptiveFusion}


@pytest.fixture(params=MAKE_FUSION)
def fusion(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return MAKE_FUSION[request.param]().eval()


def views_of(scene: Scene) -> CropCameras:
    return CropCameras(scene.cameras, scene.image_to_heatmap).map(lambda x: torch.as_tensor(x, dtype=torch.float32))


def bilinear(map_hw: np.ndarray, x: float, y: float) -> float:
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < map_hw.shape[0] and 0 <= column < map_hw.shape[1]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * map_hw[row, column]
    return total


@pytest.mark.parametrize("reduction", ["sum", "max"])
def test_epipolar_fusion_small_maps_equal_loops(reduction: str) -> None:
    scene = make_scene(2, 3, (6, 5), (24, 20))
    maps = torch.rand(2, 3, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    rays = HeatmapRays(views_of(scene), (5, 6))
    expected = np.zeros(maps.shape)
    for view in range(3):
        expected[:, view] = 0.4 * maps[:, view]
        for other in {0, 1, 2} - {view}:
            places = rays.lines(view, other)
            for frame in range(2):
                for joint in range(2):
                    for pixel in range(30):
                        line = to_pixels(places[frame, pixel], (5, 6)).tolist()
                        values = [bilinear(maps[frame, other, joint].numpy(), *place) for place in line]
                        steps = [math.dist(*ends) for ends in itertools.pairwise(line)]
                        areas = [
                            step * sum(ends) / 2 for step, ends in zip(steps, itertools.pairwise(values), strict=True)
                        ]
                        reduced = max(values) if reduction == "max" else sum(areas)
                        expected[frame, view, joint, pixel // 6, pixel % 6] += 0.3 * reduced
    np.testing.assert_allclose(EpipolarFusion(reduction)(maps, views_of(scene)), expected, atol=2e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_epipolar_fusion_lines_of_the_border_give_the_same_peaks(seed: int) -> None:
    """Without gradient, the maxima are interpolated between the lines of the border's points."""
    scene = make_scene(2, 4, (64, 64), seed=seed)
    generator = np.random.default_rng(seed)
    height = generator.uniform(0.2, 1, (2, 4, 17, 1, 1))
    wrong = draw_gaussians(generator.uniform(8, 56, (2, 4, 17, 2)), (64, 64), 3.0)
    maps = torch.as_tensor(height * draw_gaussians(scene.joints_hm, (64, 64), 2.0) + 0.4 * wrong).float()
    rays = HeatmapRays(views_of(scene), (64, 64))
    assert any(rays.border_lines(view, other) is not None for view in range(4) for other in {0, 1, 2, 3} - {view})
    fusion = EpipolarFusion("max")
    with torch.no_grad():
        fast = fusion(maps, views_of(scene))
    full = fusion(maps.requires_grad_(), views_of(scene)).detach()
    assert not torch.equal(fast, full)
    assert ((fast - full).abs().amax((-2, -1)) < 0.03 * full.amax((-2, -1))).all()
    peaks = [one.flatten(-2).argmax(-1) for one in (fast, full)]
    away = torch.stack([peaks[0] % 64 - peaks[1] % 64, peaks[0] // 64 - peaks[1] // 64]).abs().amax(0)
    assert away.max() <= 1
    assert (away == 0).float().mean() > 0.95


LENSES = {  # k, p, focal length in widths of the image
    "Human3.6M": ((-0.207, 0.248, -0.003), (-0.001, -0.0014), 1.145),
    "action camera": ((-0.25, 0.09, -0.017), (0.0, 0.0), 0.45),  # turns back in the corners of the map
    "action camera, turned crop": ((-0.28, 0.08, -0.01), (0.001, 0.001), 0.45),
    "steep at the border": ((-0.4, 0.15, 0.0), (0.0, 0.0), 0.57),
}


@pytest.mark.parametrize("lens", LENSES)
def test_epipolar_fusion_follows_lines_through_distorting_lenses(lens: str) -> None:
    """Reference: OpenCV at dense depths; the line ends at the reach of the lens."""
    k, p, focal = LENSES[lens]
    size = 32
    sigma = 1.5
    scene = make_scene(1, 2, seed=4)
    f = np.array([focal, 1.01 * focal]) * 1000
    c = np.array([510.0, 490.0])
    two = (1, 2, 1)
    cameras = dataclasses.replace(
        scene.cameras, f=np.tile(f, two), c=np.tile(c, two), k=np.tile(k, two), p=np.tile(p, two)
    )
    angle = 0.5 if "turned" in lens else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * (size / 1000)
    crop = np.concatenate([turn, (15.5 - turn @ [500, 500])[:, None]], 1)
    matrix = np.array([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1]])
    distortion = np.array([*k[:2], *p, k[2]])
    radius = np.linspace(0, 5, 100001)[1:]
    slope = 1 + 3 * k[0] * radius**2 + 5 * k[1] * radius**4 + 7 * k[2] * radius**6
    reach = radius[np.argmin(slope > 0)] if (slope <= 0).any() else radius[-1]

    def image(points_world: np.ndarray, view: int) -> np.ndarray:
        points = (points_world - cameras.T[0, view]) @ cameras.R[0, view].T
        seen = (points[:, 2] > 1) & (np.linalg.norm(points[:, :2], axis=1) < reach * points[:, 2])
        pixels = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, distortion)[0][:, 0]
        return np.where(seen[:, None], pixels @ crop[:, :2].T + crop[:, 2], np.nan)

    joints = np.stack([image(scene.pose_world[0], view) for view in range(2)])
    maps = torch.as_tensor(draw_gaussians(joints[None], (size, size), sigma))
    views = CropCameras(cameras, np.tile(crop, (1, 2, 1, 1))).map(lambda x: torch.as_tensor(x, dtype=torch.float32))
    fused = {name: EpipolarFusion(name, self_weight=0)(maps, views)[0, 0].numpy() for name in ("max", "sum")}
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 2000, 1e-12)
    depths = 1 / np.concatenate([np.linspace(1e-9, 1e-3, 10000), np.linspace(1e-3, 1 / 50, 2000)[1:]])[:, None]
    for joint in range(17):
        column, row = np.rint(joints[0, joint]).astype(int)
        pixel = np.linalg.solve(crop[:, :2], [column, row] - crop[:, 2])
        ray = cv2.undistortPoints(pixel[None], matrix, distortion, None, None, None, stop).ravel()
        line = image(np.append(ray, 1) @ cameras.R[0, 0] * depths + cameras.T[0, 0], 1)
        inside = (line > -1).all(1) & (line < size).all(1)  # false for NaN
        values = np.zeros(len(line))
        values[inside] = map_coordinates(maps[0, 1, joint].numpy(), line[inside].T[::-1], order=1, mode="grid-constant")
        steps = np.nan_to_num(np.linalg.norm(np.diff(line, axis=0), axis=1))
        assert values.max() > 0.8  # within a pixel of the joint
        assert fused["max"][joint, row, column] == pytest.approx(values.max(), abs=0.12)  # half a diagonal of a pixel
        assert fused["max"][joint, row, column] < values.max() + 1e-3
        integral = (steps * (values[1:] + values[:-1])).sum() / 2
        assert fused["sum"][joint, row, column] == pytest.approx(integral, rel=0.03)
        assert 3.0 < fused["sum"][joint, row, column] < 3.8  # across a Gaussian: sigma sqrt(2 pi) = 3.76


def test_epipolar_fusion_gradient_of_maximum_equals_autograd() -> None:
    scene = make_scene(1, 3, (8, 8), (32, 32))
    views = views_of(scene)
    rays = HeatmapRays(views_of(scene), (8, 8))
    maps = torch.rand(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (found,) = torch.autograd.grad(EpipolarFusion("max")(maps, views).square().sum(), maps)
    fused = [
        0.4 * maps[:, v]
        + 0.3 * sum(sample_maps(maps[:, o], rays.lines(v, o)).amax(-1).view(1, 2, 8, 8) for o in range(3) if o != v)
        for v in range(3)
    ]
    (expected,) = torch.autograd.grad(torch.stack(fused, 1).square().sum(), maps)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("num_views", [3, 5])
@pytest.mark.parametrize("name", MAKE_FUSION)
def test_fusion_recovers_joint_hidden_in_one_view(name: str, num_views: int) -> None:
    scene = make_scene(2, num_views, (40, 40), (160, 160))
    maps = torch.as_tensor(scene.heatmaps)
    joint = 16
    maps[:, 0, joint] = 0.5 * maps[:, 0, 3]  # a wrong, weaker peak instead
    with torch.no_grad():
        fused = MAKE_FUSION[name]().eval()(maps, views_of(scene))[:, 0, joint]
    index = fused.flatten(1).argmax(-1).numpy()
    peaks = np.stack([index % 40, index // 40], -1)
    assert np.linalg.norm(peaks - scene.joints_hm[:, 0, joint], axis=-1).max() < 2


def test_adaptive_fusion_view_of_another_place_does_no_harm() -> None:
    """The fourth camera sees only a corner of the room, which the other cameras see too."""
    scene = make_scene(2, 4, seed=3)
    size = 40
    cameras = scene.cameras.map(np.copy)
    forward = np.array([1300.0, 1300, 2000]) - cameras.T[0, 3]
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    cameras.R[:, 3] = np.stack([right, np.cross(forward, right), forward])
    cameras.f[:, 3] *= 6
    crop = np.array([[size / 1000, 0, -0.5], [0, size / 1000, -0.5]])
    joints = project(scene.pose_world[:, None], cameras)[0] @ crop[:, :2] + crop[:, 2]
    maps = torch.as_tensor(draw_gaussians(joints, (size, size), 1.5))
    maps[:, 0] = 0  # hidden
    views = CropCameras(cameras, np.tile(crop, (2, 4, 1, 1))).map(lambda x: torch.as_tensor(x, dtype=torch.float32))
    with torch.no_grad():
        index = AdaptiveFusion()(maps, views)[:, 0].flatten(-2).argmax(-1).numpy()
    peaks = np.stack([index % size, index // size], -1)
    assert np.linalg.norm(peaks - joints[:, 0], axis=-1).max() < 2


def test_fusion_is_equivariant_to_order_of_views_and_groups(fusion: nn.Module) -> None:
    scene = make_scene(3, 4, (16, 16), (64, 64))
    maps = torch.as_tensor(scene.heatmaps)
    views = views_of(scene)
    with torch.no_grad():
        fused = fusion(maps, views)
        for index in ((slice(None), [2, 0, 3, 1]), ([2, 0],)):
            torch.testing.assert_close(fusion(maps[index], views[index]), fused[index], atol=1e-4, rtol=1e-4)


def test_fusion_in_chunks_equals_whole(fusion: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(2, 3, (16, 12), (64, 48))
    maps = torch.as_tensor(scene.heatmaps)
    views = views_of(scene)
    with torch.no_grad():
        whole = fusion(maps, views)
        monkeypatch.setattr(epipolar_fusion, "_CHUNK_VALUES", 5000)
        torch.testing.assert_close(fusion(maps, views), whole)


def test_fusion_under_autocast_computes_in_float32(fusion: nn.Module) -> None:
    scene = make_scene(1, 3, (16, 16), (64, 64))
    maps = torch.as_tensor(scene.heatmaps)
    views = views_of(scene)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        short = fusion(maps.bfloat16(), views)
    assert short.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(short, fusion(maps.bfloat16().float(), views))


def test_fusion_gradients_are_finite_with_unrelated_images(fusion: nn.Module) -> None:
    scene = make_scene(1, 3, (16, 16), (64, 64))
    no_camera = Cameras(np.eye(3), np.zeros(3), np.ones(2), np.zeros(2), np.zeros(3), np.zeros(2))
    single = CropCameras(no_camera, scene.image_to_heatmap[0, 0]).map(lambda x: np.broadcast_to(x, (1, 3, *x.shape)))
    real = CropCameras(scene.cameras, scene.image_to_heatmap)
    mixed = CropCameras(
        Cameras(
            *(
                torch.as_tensor(np.concatenate([getattr(one.cameras, name) for one in (real, single)])).float()
                for name in ("R", "T", "f", "c", "k", "p")
            )
        ),
        torch.as_tensor(np.concatenate([real.to_heatmap, single.to_heatmap])).float(),
    )
    torch.manual_seed(0)
    maps = (torch.as_tensor(np.repeat(scene.heatmaps, 2, 0)) + 0.1 * torch.rand(2, 3, 17, 16, 16)).requires_grad_()
    fused = fusion.train()(maps, mixed)
    fused[0].square().sum().backward()  # as in route(): the second group does not count
    assert torch.isfinite(maps.grad).all()
    assert (maps.grad[0] != 0).any()
    assert (maps.grad[1] == 0).all()
    for name, parameter in fusion.named_parameters():
        assert torch.isfinite(parameter.grad).all()
        assert (parameter.grad != 0).any(), name


def test_adaptive_fusion_learns_to_trust_views_with_correct_peaks() -> None:
    torch.manual_seed(0)
    scene = make_scene(4, 4, (16, 16), (64, 64), sigma=1.0)
    target = torch.as_tensor(scene.heatmaps)
    views = views_of(scene)
    generator = torch.Generator().manual_seed(3)
    wrong = torch.rand(4, 4, 17, generator=generator) < 0.3
    maps = torch.where(wrong[..., None, None], target.flip(-1, -2), target)  # wrong peaks as high as right ones
    fusion = AdaptiveFusion()
    optimizer = torch.optim.Adam(fusion.parameters(), 0.03)

    def loss() -> Tensor:
        return (fusion(maps, views) - target).square().mean()

    before = loss().item()
    for _ in range(30):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    fusion.eval()
    with torch.no_grad():
        assert loss().item() < 0.95 * before
        rays = HeatmapRays(views, (16, 16))
        trust = fusion.trust(fusion._network_inputs(maps, rays, rays.scene_depths(16)))[..., 0]
    assert trust[wrong].mean() < trust[~wrong].mean() - 0.4


def test_adaptive_fusion_sharpening_keeps_peaks() -> None:
    torch.manual_seed(0)
    scene = make_scene(1, 3, (16, 16), (64, 64))
    maps = torch.as_tensor(scene.heatmaps)
    views = views_of(scene)
    fusion = AdaptiveFusion()
    with torch.no_grad():
        fused = []
        for sharpness in (-2.0, 1.0):
            fusion.sharpness.fill_(sharpness)
            fused.append(fusion(maps, views).flatten(-2))
    assert torch.equal(fused[0].argmax(-1), fused[1].argmax(-1))
    torch.testing.assert_close(fused[0].amax(-1), fused[1].amax(-1))
    assert (fused[1].mean(-1) < fused[0].mean(-1)).all()


def test_adaptive_fusion_has_few_parameters() -> None:
    assert sum(parameter.numel() for parameter in AdaptiveFusion().parameters()) < 200


def test_fusion_invalid_input_is_refused(fusion: nn.Module) -> None:
    scene = make_scene(1, 2, (16, 16), (64, 64))
    maps = torch.as_tensor(scene.heatmaps)
    views = views_of(scene)
    with pytest.raises(InputError, match="expected the cameras of the views, received none"):
        fusion(maps, None)
    with pytest.raises(InputError, match=r"expected at least 2 views, received 1; set NETWORK\.FUSION none"):
        fusion(maps[:, :1], views[:, :1])
    with pytest.raises(InputError, match=r"cameras: expected shape \(1, 2, 2, 3\), received \(1, 1, 2, 3\)"):
        fusion(maps, views[:, :1])
    with pytest.raises(InputError, match="unknown reduction 'mean'"):
        EpipolarFusion("mean")


def test_adaptive_fusion_reads_nothing_back_from_the_device():
    """Values that decide what to compute would make the CPU wait for a GPU; tensors on "meta" have no values."""
    views = views_of(make_scene(2, 3, (16, 16), (64, 64))).map(lambda values: values.to("meta"))
    heatmaps = torch.empty(2, 3, 5, 16, 16, device="meta", requires_grad=True)
    fused = AdaptiveFusion().to("meta").fuse(heatmaps, HeatmapRays(views, (16, 16)))
    assert (fused.shape, fused.device.type) == (heatmaps.shape, "meta")
