from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.models.fusion import CrossViewFusion
from lib.models.fusion_product import source_views
from lib.utils.errors import InputError


def _plain_fusion(heatmaps: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The formula of SPEC section 5 with loops: matrices numbered target by target, others in their order."""
    batch, views, joints, height, width = heatmaps.shape
    matrices = weight.reshape(-1, height * width, height * width)
    fused = np.zeros_like(heatmaps)
    for b in range(batch):
        number = 0
        for target in range(views):
            fused[b, target] = 0.4 * heatmaps[b, target]
            for source in range(views):
                if source == target:
                    continue
                for joint in range(joints):
                    row = heatmaps[b, source, joint].reshape(1, -1) @ matrices[number]
                    fused[b, target, joint] += 0.6 / (views - 1) * row.reshape(height, width)
                number += 1
    return fused


def test_two_views_of_two_pixels_by_hand() -> None:
    fusion = CrossViewFusion(2, (1, 2))
    with torch.no_grad():
        fusion.weight[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])  # into view 0 from view 1
        fusion.weight[1, 0] = torch.tensor([[0.0, 1.0], [0.0, 0.0]])  # into view 1 from view 0
    heatmaps = torch.tensor([[1.0, 0.0], [10.0, 100.0]]).reshape(1, 2, 1, 1, 2)
    # view 0: .4*(1, 0) + .6*(10*1 + 100*3, 10*2 + 100*4) = (186.4, 252); view 1: .4*(10, 100) + .6*(0, 1) = (4, 40.6)
    expected = torch.tensor([[186.4, 252.0], [4.0, 40.6]]).reshape(1, 2, 1, 1, 2)
    torch.testing.assert_close(fusion(heatmaps), expected)


@pytest.mark.parametrize("views", [2, 3, 5])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_views_and_non_square_maps_equal_the_plain_formula(views: int, batch: int) -> None:
    torch.manual_seed(0)
    fusion = CrossViewFusion(views, (3, 5)).double()
    heatmaps = torch.rand(batch, views, 4, 3, 5, dtype=torch.float64)
    fused = fusion(heatmaps).detach().numpy()
    np.testing.assert_allclose(fused, _plain_fusion(heatmaps.numpy(), fusion.weight.detach().numpy()), atol=1e-12)


def test_gradients_reach_every_matrix_and_the_maps() -> None:
    fusion = CrossViewFusion(3, (2, 2)).double()
    heatmaps = torch.rand(2, 3, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fusion, (heatmaps,))
    fusion(heatmaps).sum().backward()
    # d(sum of fused_i)/dW_ij[p, q] = .3 * sum over batch and joints of H_j[p]
    sums = heatmaps.detach().sum(dim=(0, 2)).flatten(1)  # (V, H*W)
    for target, others in enumerate(([1, 2], [0, 2], [0, 1])):
        for n, source in enumerate(others):
            expected = 0.3 * sums[source][:, None].expand(4, 4)
            torch.testing.assert_close(fusion.weight.grad[target, n], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_products_are_in_its_type_and_gradients_in_the_weights(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    fusion = CrossViewFusion(3, (3, 5))
    heatmaps = torch.rand(2, 3, 4, 3, 5)
    plain = fusion(heatmaps)
    plain.square().sum().backward()
    expected = fusion.weight.grad
    fusion.weight.grad = None
    with torch.autocast("cpu", dtype):
        fused = fusion(heatmaps)
    fused.square().sum().backward()
    assert fusion.weight.grad.dtype == torch.float32
    for found, wanted in ((fused, plain), (fusion.weight.grad, expected)):
        error = (found - wanted).abs().max() / wanted.abs().max()
        assert 0 < error < 4 * torch.finfo(dtype).eps  # another precision, and no worse than its rounding


def test_votes_are_what_single_pixels_add_to_a_pixel() -> None:
    torch.manual_seed(0)
    fusion = CrossViewFusion(3, (3, 5)).double()
    pixels = torch.tensor([[4, 1], [0, 2]])  # (x, y)
    votes = fusion.source_weights(1, pixels)
    assert votes.shape == (2, 2, 3, 5)
    assert source_views(3) == [[1, 2], [0, 2], [0, 1]]
    for n, source in enumerate((0, 2)):
        alone = torch.zeros(15, 3, 1, 3, 5, dtype=torch.float64)  # one pixel of the source view at a time
        alone[:, source, 0] = torch.eye(15, dtype=torch.float64).view(15, 3, 5)
        fused = fusion(alone).detach()[:, 1, 0]  # (15, 3, 5)
        for p, (x, y) in enumerate(pixels.tolist()):
            torch.testing.assert_close(0.3 * votes[p, n], fused[:, y, x].view(3, 5))


def test_initialisations() -> None:
    torch.manual_seed(0)
    weight = CrossViewFusion(3, (8, 8)).weight
    assert weight.min() >= 0
    assert 0.099 < weight.max() <= 0.1
    assert abs(weight.mean().item() - 0.05) < 0.001
    heatmaps = torch.rand(1, 3, 2, 8, 8)
    torch.testing.assert_close(CrossViewFusion(3, (8, 8), init="zeros")(heatmaps), 0.4 * heatmaps)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match=r"at least 2 views, received 1; set NETWORK\.FUSION none"):
        CrossViewFusion(1, (4, 4))
    with pytest.raises(InputError, match=r"unknown initialisation 'zero'.*did you mean 'zeros'"):
        CrossViewFusion(2, (4, 4), init="zero")
    fusion = CrossViewFusion(3, (4, 6))
    with pytest.raises(InputError, match=r"expected shape \(B, 3, J, 4, 6\), received \(1, 4, 20, 4, 6\)"):
        fusion(torch.zeros(1, 4, 20, 4, 6))
    with pytest.raises(InputError, match=r"received \(1, 3, 20, 6, 4\)"):
        fusion(torch.zeros(1, 3, 20, 6, 4))
