"""Fusion along epipolar lines: against loops, and hidden joints come back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lib.models import epipolar_fusion
from lib.models.epipolar_fusion import AdaptiveFusion, EpipolarFusion
from lib.multiviews.cameras import Cameras, CropCameras
from lib.multiviews.epipolar_torch import HeatmapRays, sample_maps
from lib.utils.checks import InputError
from tests.multiviews.scenes import Scene, make_scene

FUSIONS = {"sum": lambda: EpipolarFusion("sum"), "max": lambda: EpipolarFusion("max"), "adaptive": AdaptiveFusion}


@pytest.fixture(params=FUSIONS)
def fusion(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    module = FUSIONS[request.param]().eval()
    for parameter in module.parameters():  # the last layer begins at zero
        nn.init.normal_(parameter, 0, 0.1)
    return module


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
def test_tiny_maps_equal_plain_loops(reduction: str) -> None:
    scene = make_scene(2, 3, (6, 5), (24, 20))
    maps = torch.rand(2, 3, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    rays = HeatmapRays(views_of(scene), (5, 6))
    expected = np.zeros(maps.shape)
    for view in range(3):
        expected[:, view] = 0.4 * maps[:, view]
        for other in {0, 1, 2} - {view}:
            places, steps = rays.lines(view, other)
            for frame in range(2):
                for joint in range(2):
                    for pixel in range(30):
                        values = [bilinear(maps[frame, other, joint].numpy(), *place)
                                  for place in places[frame, pixel].tolist()]  # fmt: skip
                        vote = max(values) if reduction == "max" else sum(values) * steps[frame, pixel].item()
                        expected[frame, view, joint, pixel // 6, pixel % 6] += 0.3 * vote
    np.testing.assert_allclose(EpipolarFusion(reduction)(maps, views_of(scene)), expected, atol=2e-5)


def test_the_sum_does_not_depend_on_the_density_of_samples() -> None:
    scene = make_scene(1, 2)
    rays = HeatmapRays(views_of(scene), (64, 64))
    maps = torch.as_tensor(scene.heatmaps[:, 1])
    sums = [sample_maps(maps, places).sum(-1) * steps[:, None] for places, steps in
            (rays.lines(0, 1, count) for count in (66, 400))]  # fmt: skip
    torch.testing.assert_close(*sums, atol=0.05, rtol=0)
    assert sums[0].amax().item() == pytest.approx(2 * math.sqrt(2 * math.pi), rel=0.02)  # across a Gaussian of 2 px


def test_the_gradient_of_the_maximum_is_that_of_the_plain_one() -> None:
    scene = make_scene(1, 3, (8, 8), (32, 32))
    views, rays = views_of(scene), HeatmapRays(views_of(scene), (8, 8))
    maps = torch.rand(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (found,) = torch.autograd.grad(EpipolarFusion("max")(maps, views).square().sum(), maps)
    fused = [0.4 * maps[:, v] + 0.3 * sum(sample_maps(maps[:, o], rays.lines(v, o)[0]).amax(-1).view(1, 2, 8, 8)
             for o in range(3) if o != v) for v in range(3)]  # fmt: skip
    (expected,) = torch.autograd.grad(torch.stack(fused, 1).square().sum(), maps)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("num_views", [3, 5])
@pytest.mark.parametrize("name", FUSIONS)
def test_a_joint_hidden_in_one_view_comes_back(name: str, num_views: int) -> None:
    scene = make_scene(2, num_views, (40, 40), (160, 160))
    maps = torch.as_tensor(scene.heatmaps)
    joint = 16
    maps[:, 0, joint] = 0.5 * maps[:, 0, 3]  # a wrong, weaker peak instead
    with torch.no_grad():
        fused = FUSIONS[name]().eval()(maps, views_of(scene))[:, 0, joint]
    index = fused.flatten(1).argmax(-1).numpy()
    peaks = np.stack([index % 40, index // 40], -1)
    assert np.linalg.norm(peaks - scene.joints_hm[:, 0, joint], axis=-1).max() < 2


def test_views_and_frames_do_not_depend_on_their_order(fusion: nn.Module) -> None:
    scene = make_scene(3, 4, (16, 16), (64, 64))
    maps, views = torch.as_tensor(scene.heatmaps), views_of(scene)
    with torch.no_grad():
        fused = fusion(maps, views)
        for index in ((slice(None), [2, 0, 3, 1]), ([2, 0],)):
            torch.testing.assert_close(fusion(maps[index], views[index]), fused[index], atol=1e-4, rtol=1e-4)


def test_work_in_parts_gives_the_same(fusion: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(2, 3, (16, 12), (64, 48))
    maps, views = torch.as_tensor(scene.heatmaps), views_of(scene)
    with torch.no_grad():
        whole = fusion(maps, views)
        monkeypatch.setattr(epipolar_fusion, "_CHUNK_VALUES", 5000)
        torch.testing.assert_close(fusion(maps, views), whole)


def test_float32_in_networks_of_shorter_products(fusion: nn.Module) -> None:
    scene = make_scene(1, 3, (16, 16), (64, 64))
    maps, views = torch.as_tensor(scene.heatmaps), views_of(scene)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        short = fusion(maps.bfloat16(), views)
    assert short.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(short, fusion(maps.bfloat16().float(), views))


def test_everything_learns_and_single_images_harm_nothing(fusion: nn.Module) -> None:
    scene = make_scene(1, 3, (16, 16), (64, 64))
    no_camera = Cameras(np.eye(3), np.zeros(3), np.ones(2), np.zeros(2), np.zeros(3), np.zeros(2))
    single = CropCameras(no_camera, scene.image_to_heatmap[0, 0]).map(lambda x: np.broadcast_to(x, (1, 3, *x.shape)))
    real = CropCameras(scene.cameras, scene.image_to_heatmap)
    mixed = CropCameras(
        Cameras(*(torch.as_tensor(np.concatenate([getattr(one.cameras, name) for one in (real, single)])).float()
                  for name in ("R", "T", "f", "c", "k", "p"))),
        torch.as_tensor(np.concatenate([real.to_heatmap, single.to_heatmap])).float(),
    )  # fmt: skip
    torch.manual_seed(0)
    maps = (torch.as_tensor(np.repeat(scene.heatmaps, 2, 0)) + 0.1 * torch.rand(2, 3, 17, 16, 16)).requires_grad_()
    fused = fusion.train()(maps, mixed)
    fused[0].square().sum().backward()  # as routing has it: the second group does not count
    assert torch.isfinite(maps.grad).all()
    assert (maps.grad[0] != 0).any()
    assert (maps.grad[1] == 0).all()
    for name, parameter in fusion.named_parameters():
        assert torch.isfinite(parameter.grad).all()
        assert (parameter.grad != 0).any(), name


def test_the_adaptive_fusion_learns_whom_to_trust() -> None:
    torch.manual_seed(0)
    scene = make_scene(4, 4, (16, 16), (64, 64), sigma=1.0)
    target, views = torch.as_tensor(scene.heatmaps), views_of(scene)
    generator = torch.Generator().manual_seed(3)
    wrong = torch.rand(4, 4, 17, generator=generator) < 0.3
    maps = torch.where(wrong[..., None, None], target.flip(-1, -2), target)  # wrong peaks as high as right ones
    fusion = AdaptiveFusion()
    optimizer = torch.optim.Adam(fusion.parameters(), 0.01)

    def loss() -> Tensor:
        return (fusion(maps, views) - target).square().mean()

    before = loss().item()
    for _ in range(30):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    fusion.eval()
    with torch.no_grad():
        assert loss().item() < 0.5 * before
        rays = HeatmapRays(views, (16, 16))
        trust = fusion.trust(fusion._evidence(maps, rays, rays.scene_depths(24)))[..., 0]
    assert trust[wrong].mean() < trust[~wrong].mean() - 0.4


def test_the_adaptive_fusion_is_small() -> None:
    assert sum(parameter.numel() for parameter in AdaptiveFusion().parameters()) < 5000


def test_errors_say_what_to_do(fusion: nn.Module) -> None:
    scene = make_scene(1, 2, (16, 16), (64, 64))
    maps, views = torch.as_tensor(scene.heatmaps), views_of(scene)
    with pytest.raises(InputError, match="needs the cameras"):
        fusion(maps, None)
    with pytest.raises(InputError, match=r"at least 2 views, received 1; set NETWORK\.FUSION none"):
        fusion(maps[:, :1], views[:, :1])
    with pytest.raises(InputError, match=r"cameras: expected shape \(1, 2, 2, 3\), received \(1, 1, 2, 3\)"):
        fusion(maps, views[:, :1])
    with pytest.raises(InputError, match="unknown reduction 'mean'"):
        EpipolarFusion("mean")
