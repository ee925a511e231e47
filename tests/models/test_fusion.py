from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lib.models.fusion import CrossViewFusion, fusion_product, source_views
from lib.utils.errors import InputError
from lib.utils.memory import MemoryLedger


def _plain_fusion(heatmaps: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fuse with plain loops; matrices are numbered by target view, then by source view."""
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


def test_forward_equals_hand_calculation() -> None:
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
def test_forward_any_views_and_map_sizes_equal_loops(views: int, batch: int) -> None:
    torch.manual_seed(0)
    fusion = CrossViewFusion(views, (3, 5)).double()
    heatmaps = torch.rand(batch, views, 4, 3, 5, dtype=torch.float64)
    fused = fusion(heatmaps).detach().numpy()
    np.testing.assert_allclose(fused, _plain_fusion(heatmaps.numpy(), fusion.weight.detach().numpy()), atol=1e-12)


def test_forward_gradients_reach_matrices_and_heatmaps() -> None:
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
def test_forward_autocast_lowers_only_the_products(dtype: torch.dtype) -> None:
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
        assert 0 < error < 4 * torch.finfo(dtype).eps  # lower precision, but no worse than its rounding


def test_source_weights_equal_effect_of_single_pixels() -> None:
    torch.manual_seed(0)
    fusion = CrossViewFusion(3, (3, 5)).double()
    pixels = torch.tensor([[4, 1], [0, 2]])  # (x, y)
    weights = fusion.source_weights(1, pixels)
    assert weights.shape == (2, 2, 3, 5)
    for n, source in enumerate((0, 2)):
        alone = torch.zeros(15, 3, 1, 3, 5, dtype=torch.float64)  # one pixel of the source view at a time
        alone[:, source, 0] = torch.eye(15, dtype=torch.float64).view(15, 3, 5)
        fused = fusion(alone).detach()[:, 1, 0]  # (15, 3, 5)
        for p, (x, y) in enumerate(pixels.tolist()):
            torch.testing.assert_close(0.3 * weights[p, n], fused[:, y, x].view(3, 5))


def test_reset_parameters_follows_init() -> None:
    torch.manual_seed(0)
    weight = CrossViewFusion(3, (8, 8)).weight
    assert weight.min() >= 0
    assert 0.099 < weight.max() <= 0.1
    assert abs(weight.mean().item() - 0.05) < 0.001
    heatmaps = torch.rand(1, 3, 2, 8, 8)
    torch.testing.assert_close(CrossViewFusion(3, (8, 8), init="zeros")(heatmaps), 0.4 * heatmaps)


def test_cross_view_fusion_invalid_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected at least 2 views, received 1; set NETWORK\.FUSION none"):
        CrossViewFusion(1, (4, 4))
    with pytest.raises(InputError, match=r"unknown initialization 'zero'.*did you mean 'zeros'"):
        CrossViewFusion(2, (4, 4), init="zero")
    fusion = CrossViewFusion(3, (4, 6))
    with pytest.raises(InputError, match=r"expected shape \(B, 3, J, 4, 6\), received \(1, 4, 20, 4, 6\)"):
        fusion(torch.zeros(1, 4, 20, 4, 6))
    with pytest.raises(InputError, match=r"received \(1, 3, 20, 6, 4\)"):
        fusion(torch.zeros(1, 3, 20, 6, 4))


LOW = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])


def random_inputs(views: int, maps: int, pixels: int, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(views)
    rows = torch.randn(views, maps, pixels, generator=generator, dtype=torch.float64)
    weight = torch.randn(views, views - 1, pixels, pixels, generator=generator, dtype=torch.float64)
    return rows.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()


def plain_product(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The same product, differentiated by autograd."""
    mixed = []
    for target in range(len(rows)):
        others = [view for view in range(len(rows)) if view != target]
        mixed.append(sum(rows[source] @ weight[target, n] for n, source in enumerate(others)))
    return torch.stack(mixed)


def values_and_gradients(product, rows, weight, seed_gradient):
    mixed = product(rows, weight)
    return mixed.detach(), *torch.autograd.grad(mixed, (rows, weight), seed_gradient.to(mixed.dtype))


def test_source_views_are_the_other_views_in_order() -> None:
    assert source_views(2) == [[1], [0]]
    assert source_views(4) == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


@pytest.mark.parametrize("views", [2, 3, 5])
def test_fusion_product_values_and_gradients_equal_autograd(views: int) -> None:
    rows, weight = random_inputs(views, 3, 6, torch.float64)
    assert torch.autograd.gradcheck(fusion_product, (rows, weight))
    seed = torch.randn(views, 3, 6, dtype=torch.float64)
    expected = values_and_gradients(plain_product, rows, weight, seed)
    for found, wanted in zip(values_and_gradients(fusion_product, rows, weight, seed), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@LOW
def test_fusion_product_low_precision_gradients_keep_their_dtypes(dtype: torch.dtype) -> None:
    rows, weight = random_inputs(3, 4, 6)
    rows = rows.detach().to(dtype).requires_grad_()
    seed = torch.randn(3, 4, 6).to(dtype)
    found = values_and_gradients(fusion_product, rows, weight, seed)
    assert [tensor.dtype for tensor in found] == [dtype, dtype, torch.float32]
    # Reference: the same rounded numbers, multiplied in double precision.
    rounded = weight.detach().to(dtype).double().requires_grad_()
    exact = values_and_gradients(plain_product, rows.detach().double().requires_grad_(), rounded, seed.double())
    for one, wanted in zip(found, exact, strict=True):
        error = (one.double() - wanted).abs().max() / wanted.abs().max()
        assert error < torch.finfo(dtype).eps


TEMPORARY = "temporary tensors"


def peak_bytes(run, rows: torch.Tensor, weight: torch.Tensor) -> dict[str, int]:
    """Return the peak memory of a function in bytes, by kind: inputs, gradients, temporary tensors."""
    with MemoryLedger(TEMPORARY) as ledger:
        ledger.label("inputs", [rows, weight])
        result = run()
        ledger.label("gradients", [tensor.grad for tensor in (rows, weight) if tensor.grad is not None])
    del result
    return ledger.peak()


@pytest.mark.parametrize("needed", [0, 1], ids=["rows", "weight"])
def test_fusion_product_computes_only_needed_gradients(needed: int) -> None:
    inputs = random_inputs(3, 2, 32)
    seed = torch.randn(3, 2, 32)
    expected = values_and_gradients(fusion_product, *inputs, seed)[1 + needed]
    inputs[1 - needed].requires_grad_(False)
    peak = peak_bytes(lambda: fusion_product(*inputs).backward(seed), *inputs)
    assert torch.equal(inputs[needed].grad, expected)
    assert inputs[1 - needed].grad is None
    assert peak["gradients"] == inputs[needed].nbytes
    assert peak[TEMPORARY] < inputs[1].nbytes  # no temporary of the size of the matrices


@LOW
def test_fusion_product_low_precision_converts_one_view_at_a_time(dtype: torch.dtype) -> None:
    rows, weight = random_inputs(4, 1, 96)
    rows = rows.detach().to(dtype).requires_grad_()
    one_view = weight.nbytes // 2 // 4
    small = 40 * rows.nbytes
    assert small < one_view
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        mixed = fusion_product(rows, weight)
    assert [tensor.data_ptr() for tensor in kept] == [rows.data_ptr(), weight.data_ptr()]

    forward = peak_bytes(lambda: fusion_product(rows, weight), rows, weight)
    assert one_view < forward[TEMPORARY] < one_view + small
    backward = peak_bytes(lambda: mixed.backward(torch.ones_like(mixed)), rows, weight)
    assert one_view < backward[TEMPORARY] < one_view + small
    assert backward["gradients"] == weight.nbytes + rows.nbytes  # backward fills .grad without a copy


def test_fusion_product_used_twice_gradients_add_up() -> None:
    rows, weight = random_inputs(3, 2, 5)
    other = torch.randn_like(rows)
    (fusion_product(rows, weight).sum() + fusion_product(other, weight).square().sum()).backward()
    expected = torch.autograd.grad(
        plain_product(rows, weight).sum() + plain_product(other, weight).square().sum(), weight
    )[0]
    torch.testing.assert_close(weight.grad, expected)


def test_fusion_product_gradients_are_reproducible() -> None:
    rows, weight = random_inputs(4, 40, 64)
    seed = torch.randn_like(rows)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    runs = [values_and_gradients(fusion_product, rows, weight, seed) for _ in range(5)]
    torch.set_num_threads(threads)
    for first, second in itertools.pairwise(runs):
        assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


class Product(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return fusion_product(rows, self.weight)


def test_fusion_product_works_with_distributed_data_parallel(tmp_path: Path) -> None:
    rows, weight = random_inputs(3, 2, 5)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(Product(weight), gradient_as_bucket_view=True)
        for _ in range(2):  # the second step accumulates into the bucket
            model(rows).square().sum().backward()
        found = model.module.weight.grad.clone()
    finally:
        torch.distributed.destroy_process_group()
    expected = torch.autograd.grad(2 * plain_product(rows, weight).square().sum(), weight)[0]
    torch.testing.assert_close(found, expected)
