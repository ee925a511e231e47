"""Adam that keeps the moments of large matrices in bfloat16, half of their size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam

CHUNK = 1 << 20  # weights per update: the only temporaries are of this size, and stay in a CPU's cache
_SHIFT = 611_953  # prime: moves the noise from chunk to chunk
_LOW_BITS = 16  # a bfloat16 is the high half of a float32
_MOMENTS = ("exp_avg", "exp_avg_sq")


class LeanAdam(torch.optim.Optimizer):
    """torch's fused Adam, with the moments of some parameters in bfloat16.

    The update itself is torch's, in float32; only what is kept of the moments is rounded, up or down at random so
    that the mean is exact. Rounding to the nearest would freeze the second moment: a step takes about 1/1000 of it
    away, and bfloat16, with 8 significant bits, resolves 1/256. The noise is a function of the seed and of the
    number of steps: runs repeat, and a resumed run equals an uninterrupted one, bit by bit.

    As in torch's fused Adam, `found_inf` (device tensor, 1 = leave weights and moments as they are) and `grad_scale`
    (device tensor that divides the gradients) are honoured as attributes, set by the training loop or GradScaler.

    Args:
        matrices: contiguous float32 parameters whose moments are kept in bfloat16.
        others: parameters that torch.optim.Adam updates, at least one.
        lr: learning rate.
        seed: of the rounding noise, at least 0.

    Source: Kingma and Ba, Adam, ICLR 2015; Gupta et al., Deep Learning with Limited Numerical Precision, ICML 2015.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter], lr: float, seed: int) -> None:
        self._adam = torch.optim.Adam(others, lr=lr, fused=True)
        self._seed = seed
        self._step_supports_amp_scaling = True  # tells GradScaler to set found_inf and grad_scale
        super().__init__([*self._adam.param_groups, {"params": list(matrices)}], self._adam.defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update all parameters that have a gradient; returns what the closure returns."""
        scaling = {name: getattr(self, name, None) for name in ("grad_scale", "found_inf")}
        # torch's Adam works on the groups and the state of this object, which loading a state replaces.
        self._adam.param_groups = self.param_groups[:1]
        self._adam.state = self.state
        self._adam.grad_scale, self._adam.found_inf = scaling["grad_scale"], scaling["found_inf"]
        loss = self._adam.step(closure)
        for parameter in self.param_groups[1]["params"]:
            if parameter.grad is not None:
                self._update(parameter, scaling)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state_dict(); torch's own would give the moments the type of the weights."""
        indices = state_dict["param_groups"][1]["params"]
        parameters = self.param_groups[1]["params"]
        others = {index: state for index, state in state_dict["state"].items() if index not in indices}
        super().load_state_dict({**state_dict, "state": others})
        for index, parameter in zip(indices, parameters, strict=True):
            if index in state_dict["state"]:
                state = state_dict["state"][index]
                self.state[parameter] = state | {name: state[name].to(parameter.device) for name in ("step", *_MOMENTS)}

    def _update(self, parameter: nn.Parameter, scaling: dict[str, Tensor | None]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)  # updates made, which found_inf decides
            state["calls"] = 0  # updates asked for: known without asking the device
            state |= {name: torch.zeros_like(parameter, dtype=torch.bfloat16) for name in _MOMENTS}
        size = min(CHUNK, parameter.numel())
        noise = self._noise(2 * size, state["calls"], parameter.device)
        exact = torch.empty(2, size, device=parameter.device)
        flat = [tensor.view(-1).split(size) for tensor in (parameter, parameter.grad, *(state[m] for m in _MOMENTS))]
        for number, (weights, gradient, *kept) in enumerate(zip(*flat, strict=True)):
            step = state["step"].clone()  # every chunk makes the same step
            moments = [room[: len(moment)].copy_(moment) for room, moment in zip(exact, kept, strict=True)]
            self._adam_update(weights, gradient, moments, step, scaling)
            for n, (moment, values) in enumerate(zip(kept, moments, strict=True)):
                start = (number * _SHIFT + n * size // 2) % size
                round_at_random(values, noise[start : start + len(values)], moment)
        state["step"], state["calls"] = step, state["calls"] + 1

    def _adam_update(
        self, weights: Tensor, gradient: Tensor, moments: list[Tensor], step: Tensor, scaling: dict[str, Tensor | None]
    ) -> None:
        group = self.param_groups[1]
        beta1, beta2 = group["betas"]
        adam(
            [weights],
            [gradient],
            moments[:1],
            moments[1:],
            [],
            [step],
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            eps=group["eps"],
            weight_decay=0.0,
            **scaling,
        )

    def _noise(self, size: int, calls: int, device: torch.device) -> Tensor:
        """(size,) int32, uniform over the bits that bfloat16 lacks."""
        (seed,) = np.random.SeedSequence((self._seed, calls)).generate_state(1)
        generator = torch.Generator(device).manual_seed(int(seed))
        return torch.randint(1 << _LOW_BITS, (size,), dtype=torch.int32, device=device, generator=generator)


def round_at_random(values: Tensor, noise: Tensor, rounded: Tensor) -> None:
    """Round float32 to bfloat16, away from 0 with the probability of the part that is cut off.

    Args:
        values: float32; overwritten.
        noise: int32 of the same shape, uniform in [0, 65536).
        rounded: bfloat16 of the same shape; receives the result.
    """
    values.view(torch.int32).add_(noise).bitwise_and_(-1 << _LOW_BITS)
    rounded.copy_(values)  # exact: the low bits are 0
