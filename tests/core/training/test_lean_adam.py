from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from lib.core import lean_adam
from lib.core.training.lean_adam import LeanAdam, round_at_random
from lib.models.fusion import CrossViewFusion


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads cost such small tensors more than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def parameter(*shape: int, seed: int = 0) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def make(shape=(6, 7), lr=0.1, seed=0) -> LeanAdam:
    """Matrices of a shape and a vector, with equal values every time."""
    return LeanAdam([parameter(*shape)], [parameter(9, seed=1)], lr, seed)


def parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [one for group in optimizer.param_groups for one in group["params"]]  # the vector first


def set_gradients(optimizer: torch.optim.Optimizer, step: int) -> None:
    generator = torch.Generator().manual_seed(1000 + step)
    for one in parameters(optimizer):
        one.grad = torch.randn(one.shape, generator=generator)


def matrix_state(optimizer: LeanAdam) -> dict:
    return optimizer.state[optimizer.param_groups[1]["params"][0]]


# --- rounding


def test_rounding_takes_one_of_the_neighbours_and_is_exact_on_average():
    generator = torch.Generator().manual_seed(0)
    for value in (1.001, -3.7, 1e-30, 1.3 * 2.0**-130, 12345.678):
        values = torch.full((200_000,), value)
        rounded = torch.empty(200_000, dtype=torch.bfloat16)
        round_at_random(values, torch.randint(1 << 16, (200_000,), dtype=torch.int32, generator=generator), rounded)
        low, high = rounded.double().unique().tolist()
        exact = torch.tensor(value).double().item()
        assert low < exact < high
        spread = (high - low) / 200_000**0.5
        assert rounded.double().mean().item() == pytest.approx(exact, abs=3 * spread)


def test_bfloat16_values_stay_as_they_are():
    kept = torch.tensor([0.0, 1.0, -2.5, 3e38, 1e-40, float("inf"), -float("inf")], dtype=torch.bfloat16)
    rounded = torch.empty_like(kept)
    round_at_random(kept.float(), torch.full((7,), 65535, dtype=torch.int32), rounded)
    assert torch.equal(rounded, kept)


# --- the update


def test_the_first_step_is_adams_whatever_the_chunks(monkeypatch):
    """Moments begin at 0, so that nothing has been rounded yet; 42 weights in chunks of 8."""
    monkeypatch.setattr(lean_adam, "CHUNK", 8)
    lean = make()
    plain = torch.optim.Adam([parameter(9, seed=1), parameter(6, 7)], lr=0.1, fused=True)
    for optimizer in (lean, plain):
        set_gradients(optimizer, 0)
        optimizer.step()
    for one, other in zip(parameters(lean), parameters(plain), strict=True):
        assert torch.equal(one, other)
    state = matrix_state(lean)
    expected = plain.state[parameters(plain)[1]]
    assert state["step"] == 1
    for name in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(state[name].float(), expected[name], rtol=1 / 128, atol=0)


def test_other_parameters_are_updated_by_adam_itself():
    lean = make()
    plain = torch.optim.Adam([parameter(9, seed=1)], lr=0.1, fused=True)
    for step in range(5):
        set_gradients(lean, step)
        parameters(plain)[0].grad = parameters(lean)[0].grad.clone()
        lean.step()
        plain.step()
    assert torch.equal(parameters(lean)[0], parameters(plain)[0])


def test_the_mean_over_seeds_is_adams():
    plain = torch.optim.Adam([parameter(9, seed=1), parameter(6, 7)], lr=0.1, fused=True)
    runs = [make(seed=seed) for seed in range(64)]
    for step in range(20):
        for optimizer in (plain, *runs):
            set_gradients(optimizer, step)
            optimizer.step()
    expected = parameters(plain)[1]
    ends = torch.stack([parameters(run)[1].detach() for run in runs])
    assert len(ends.flatten(1).unique(dim=0)) == 64  # another seed, other noise
    single = (ends - expected).square().mean().sqrt()
    mean = (ends.mean(0) - expected).square().mean().sqrt()
    assert single < 0.01  # of weights that moved by about 0.1 per step
    assert mean < 2 * single / 64**0.5  # noise without bias: an eighth of it is left


def test_fifty_losses_are_close_to_adams():
    inputs = torch.randn(200, 30, generator=torch.Generator().manual_seed(3))
    target = (inputs @ parameter(30, 20, seed=4).detach()).tanh()

    def losses(make_optimizer) -> list[float]:
        matrix = parameter(30, 20, seed=5)
        bias = nn.Parameter(torch.zeros(20))
        optimizer = make_optimizer(matrix, bias)
        found = []
        for _ in range(50):
            loss = ((inputs @ matrix + bias).tanh() - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    lean = losses(lambda matrix, bias: LeanAdam([matrix], [bias], 0.05, 0))
    plain = losses(lambda matrix, bias: torch.optim.Adam([matrix, bias], lr=0.05))
    assert lean == pytest.approx(plain, rel=0.03)
    assert lean != plain
    assert plain[-1] < plain[0] / 4


def test_the_second_moment_moves_where_plain_rounding_would_freeze_it():
    """Without gradient it falls by 1/1000 per step: to 1/e in 1000 steps."""
    lean = make((100, 100), lr=0.0)
    matrix = parameters(lean)[1]
    matrix.grad = torch.ones_like(matrix)
    lean.step()
    start = matrix_state(lean)["exp_avg_sq"].float().mean().item()
    matrix.grad.zero_()
    for _ in range(1000):
        lean.step()
    assert matrix_state(lean)["exp_avg_sq"].float().mean().item() == pytest.approx(start * 0.999**1000, rel=0.01)
    frozen = torch.full((), start, dtype=torch.bfloat16)
    assert (frozen.float() * 0.999).bfloat16() == frozen


def test_the_second_moment_does_not_drift():
    """Gradients of unit variance: its mean tends to 1 as in float32."""
    lean = make((100, 100), lr=0.0)
    plain = torch.optim.Adam([parameter(100, 100)], lr=0.0, fused=True)
    generator = torch.Generator().manual_seed(7)
    for _ in range(1500):
        gradient = torch.randn(100, 100, generator=generator)
        for optimizer in (lean, plain):
            parameters(optimizer)[-1].grad = gradient
            optimizer.step()
    found = matrix_state(lean)["exp_avg_sq"].float()
    expected = plain.state[parameters(plain)[0]]["exp_avg_sq"]
    assert found.mean().item() == pytest.approx(expected.mean().item(), rel=0.003)
    assert (found / expected - 1).std() < 0.1


# --- the state


def test_the_moments_take_half_the_bytes():
    lean = make((40, 50))
    set_gradients(lean, 0)
    lean.step()
    state = matrix_state(lean)
    assert {name: value.dtype for name, value in state.items() if name.startswith("exp")} == {
        "exp_avg": torch.bfloat16,
        "exp_avg_sq": torch.bfloat16,
    }
    assert sum(value.nbytes for value in state.values() if isinstance(value, torch.Tensor)) == 2000 * 4 + 4


def test_resumed_equals_uninterrupted():
    whole, first = make(), make()
    for step in range(6):
        set_gradients(whole, step)
        if step == 2:  # a skipped update counts for the noise
            whole.found_inf = torch.ones(())
        whole.step()
        whole.found_inf = None
    for step in range(4):
        set_gradients(first, step)
        first.found_inf = torch.ones(()) if step == 2 else None
        first.step()
    file = io.BytesIO()
    torch.save([first.state_dict(), [one.detach() for one in parameters(first)]], file)
    file.seek(0)
    state, values = torch.load(file, weights_only=True)
    resumed = make()
    with torch.no_grad():
        for one, value in zip(parameters(resumed), values, strict=True):
            one.copy_(value)
    resumed.load_state_dict(state)
    for step in range(4, 6):
        set_gradients(resumed, step)
        resumed.step()
    for one, other in zip(parameters(whole), parameters(resumed), strict=True):
        assert torch.equal(one, other)
        ours, theirs = whole.state[one], resumed.state[other]
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name])), name
            assert torch.as_tensor(ours[name]).dtype == torch.as_tensor(theirs[name]).dtype


def test_a_state_without_steps_loads():
    lean = make()
    lean.load_state_dict(make().state_dict())
    assert not lean.state


def test_matrices_without_gradient_stay():
    lean = make()
    before = parameters(lean)[1].detach().clone()
    parameters(lean)[0].grad = torch.ones(9)
    lean.step()
    assert torch.equal(parameters(lean)[1], before)
    assert len(lean.state) == 1


# --- what the training loop sets


def test_found_inf_leaves_everything_as_it_is():
    lean = make()
    set_gradients(lean, 0)
    lean.step()
    kept = [one.detach().clone() for one in parameters(lean)]
    states = [
        {name: torch.as_tensor(value).clone() for name, value in lean.state[one].items()} for one in parameters(lean)
    ]
    for one in parameters(lean):
        one.grad[0] = float("nan")
    lean.found_inf = torch.ones(())
    lean.step()
    for one, before, state in zip(parameters(lean), kept, states, strict=True):
        assert torch.equal(one, before)
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(lean.state[one][name], state[name]), name
    lean.found_inf = torch.zeros(())
    set_gradients(lean, 1)
    lean.step()
    assert matrix_state(lean)["step"] == 2
    assert not any(torch.equal(one, before) for one, before in zip(parameters(lean), kept, strict=True))


def test_grad_scale_divides_the_gradients():
    scaled, plain = make(), make()
    for step in range(3):
        for optimizer in (scaled, plain):
            set_gradients(optimizer, step)
        for one in parameters(scaled):
            one.grad *= 1024
        scaled.grad_scale = torch.tensor(1024.0)
        scaled.step()
        plain.step()
    for one, other in zip(parameters(scaled), parameters(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_grad_scaler_skips_and_goes_on():
    lean = make()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    matrix = parameters(lean)[1]
    start = matrix.detach().clone()
    scaler.scale(sum(one.sum() for one in parameters(lean)) * float("inf")).backward()
    scaler.step(lean)
    scaler.update()
    assert torch.equal(matrix, start)
    assert scaler.get_scale() == 4
    lean.zero_grad()
    scaler.scale(sum(one.sum() for one in parameters(lean))).backward()
    scaler.step(lean)
    scaler.update()
    torch.testing.assert_close(matrix.detach(), start - 0.1)  # a first step is lr long
    assert matrix_state(lean)["step"] == 1


def test_the_learning_rate_of_all_groups_counts():
    lean = make()
    for group in lean.param_groups:
        group["lr"] = 0.0
    kept = [one.detach().clone() for one in parameters(lean)]
    set_gradients(lean, 0)
    lean.step()
    assert all(torch.equal(one, before) for one, before in zip(parameters(lean), kept, strict=True))


def fusion_losses(make_optimizer) -> list[float]:
    """Losses of the fusion layer alone, from published weights: views with missing joints, each a shuffled other."""
    generator = torch.Generator().manual_seed(0)
    side = 12
    views = 3
    joints = 20
    orders = [torch.randperm(side * side, generator=generator) for _ in range(views)]
    torch.manual_seed(0)
    fusion = CrossViewFusion(views, (side, side))
    optimizer = make_optimizer(fusion)
    grid = torch.arange(side, dtype=torch.float32)
    losses = []
    for _ in range(1500):
        x, y = torch.rand(2, 4, joints, 1, generator=generator) * (side - 1)
        maps = (-(grid - y).square() / 2).exp()[..., None] * (-(grid - x).square() / 2).exp()[..., None, :]
        target = torch.stack([maps.flatten(2)[..., order] for order in orders], 1).unflatten(-1, (side, side))
        seen = (torch.rand(4, views, joints, 1, 1, generator=generator) < 0.7).float()
        loss = (fusion(target * seen) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
def test_the_fusion_layer_learns_as_with_adam():
    other = nn.Parameter(torch.zeros(1))
    lean = fusion_losses(lambda fusion: LeanAdam(fusion.parameters(), [other], 1e-3, 0))
    plain = fusion_losses(lambda fusion: torch.optim.Adam(fusion.parameters(), lr=1e-3, fused=True))
    ends = [sum(losses[-100:]) / 100 for losses in (plain, lean)]
    print(f"first loss {plain[0]:.4f}, mean of the last 100 of 1500: Adam {ends[0]:.6f}, LeanAdam {ends[1]:.6f}")
    assert ends[0] < plain[0] / 5
    assert ends[1] == pytest.approx(ends[0], rel=0.02)
