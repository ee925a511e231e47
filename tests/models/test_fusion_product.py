from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from lib.models.fusion_product import fusion_product, source_views
from lib.utils.memory import MemoryLedger

LOW = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])


def random_inputs(views: int, maps: int, pixels: int, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(views)
    rows = torch.randn(views, maps, pixels, generator=generator, dtype=torch.float64)
    weight = torch.randn(views, views - 1, pixels, pixels, generator=generator, dtype=torch.float64)
    return rows.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()


def plain_product(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The formula with autograd's own gradients."""
    mixed = []
    for target in range(len(rows)):
        others = [view for view in range(len(rows)) if view != target]
        mixed.append(sum(rows[source] @ weight[target, n] for n, source in enumerate(others)))
    return torch.stack(mixed)


def values_and_gradients(product, rows, weight, seed_gradient):
    mixed = product(rows, weight)
    return mixed.detach(), *torch.autograd.grad(mixed, (rows, weight), seed_gradient.to(mixed.dtype))


def test_the_sources_are_the_other_views_in_their_order() -> None:
    assert source_views(2) == [[1], [0]]
    assert source_views(4) == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


@pytest.mark.parametrize("views", [2, 3, 5])
def test_values_and_gradients_are_those_of_the_formula(views: int) -> None:
    rows, weight = random_inputs(views, 3, 6, torch.float64)
    assert torch.autograd.gradcheck(fusion_product, (rows, weight))
    seed = torch.randn(views, 3, 6, dtype=torch.float64)
    expected = values_and_gradients(plain_product, rows, weight, seed)
    for found, wanted in zip(values_and_gradients(fusion_product, rows, weight, seed), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@LOW
def test_products_in_a_lower_precision_give_gradients_in_the_types_of_the_inputs(dtype: torch.dtype) -> None:
    rows, weight = random_inputs(3, 4, 6)
    rows = rows.detach().to(dtype).requires_grad_()
    seed = torch.randn(3, 4, 6).to(dtype)
    found = values_and_gradients(fusion_product, rows, weight, seed)
    assert [tensor.dtype for tensor in found] == [dtype, dtype, torch.float32]
    # What only the products' own rounding may change: the same numbers, in double precision.
    rounded = weight.detach().to(dtype).double().requires_grad_()
    exact = values_and_gradients(plain_product, rows.detach().double().requires_grad_(), rounded, seed.double())
    for one, wanted in zip(found, exact, strict=True):
        error = (one.double() - wanted).abs().max() / wanted.abs().max()
        assert error < torch.finfo(dtype).eps


PASSING = "passing tensors"


def peak_bytes(run, rows: torch.Tensor, weight: torch.Tensor) -> dict[str, int]:
    """Run something and return the bytes when there were most of them, those of the inputs and of .grad apart."""
    with MemoryLedger(PASSING) as ledger:
        ledger.label("inputs", [rows, weight])
        result = run()
        ledger.label("gradients", [tensor.grad for tensor in (rows, weight) if tensor.grad is not None])
    del result
    return ledger.peak()


@pytest.mark.parametrize("needed", [0, 1], ids=["rows", "weight"])
def test_only_the_gradient_that_is_needed_is_computed(needed: int) -> None:
    inputs = random_inputs(3, 2, 32)
    seed = torch.randn(3, 2, 32)
    expected = values_and_gradients(fusion_product, *inputs, seed)[1 + needed]
    inputs[1 - needed].requires_grad_(False)
    peak = peak_bytes(lambda: fusion_product(*inputs).backward(seed), *inputs)
    assert torch.equal(inputs[needed].grad, expected)
    assert inputs[1 - needed].grad is None
    assert peak["gradients"] == inputs[needed].nbytes
    assert peak[PASSING] < inputs[1].nbytes  # nothing of the matrices' size but their gradient


@LOW
def test_of_the_matrices_one_views_are_converted_at_a_time_and_none_are_kept(dtype: torch.dtype) -> None:
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
    assert one_view < forward[PASSING] < one_view + small
    backward = peak_bytes(lambda: mixed.backward(torch.ones_like(mixed)), rows, weight)
    assert one_view < backward[PASSING] < one_view + small
    assert backward["gradients"] == weight.nbytes + rows.nbytes  # what backward made is .grad itself, not copied to it


def test_matrices_used_twice_add_up() -> None:
    rows, weight = random_inputs(3, 2, 5)
    other = torch.randn_like(rows)
    (fusion_product(rows, weight).sum() + fusion_product(other, weight).square().sum()).backward()
    expected = torch.autograd.grad(
        plain_product(rows, weight).sum() + plain_product(other, weight).square().sum(), weight
    )[0]
    torch.testing.assert_close(weight.grad, expected)


def test_gradients_do_not_vary() -> None:
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


def test_distributed_data_parallel_sees_ordinary_gradients(tmp_path: Path) -> None:
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
