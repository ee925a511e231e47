"""Training pass of a backbone over the images of all views at once, eager or compiled."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.models.view_batch_norm import ViewBatchNorm2d, per_view, take_statistics, update_running_statistics

logger = logging.getLogger(__name__)

# (backbone, its batch norms, images (V*B, 3, H_in, W_in)) -> heatmaps (V*B, J, H, W), statistics
Pass = Callable[[nn.Module, list[ViewBatchNorm2d], Tensor], tuple[Tensor, Tensor]]


def one_pass_norms(backbone: nn.Module) -> list[ViewBatchNorm2d] | None:
    """Return the batch norms of a backbone, or None if one of them cannot have statistics per view in one pass."""
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    fits = all(type(norm) is ViewBatchNorm2d and norm.momentum == norms[0].momentum for norm in norms)
    return norms if fits else None


def train_all_views(
    backbone: nn.Module,
    norms: list[ViewBatchNorm2d],
    images: Tensor,
    num_views: int,
    compiled: CompiledPass | None = None,
) -> Tensor:
    """Run a backbone in training mode on all views; batch statistics per view, as in the original code.

    Outputs, gradients and running statistics equal the ones of a call per view, in view order.

    Args:
        backbone: the network.
        norms: its one_pass_norms().
        images: (V*B, 3, H_in, W_in), the views one after the other.
        num_views: number of views V.
        compiled: runs batches of its size; None = run all eagerly.

    Returns:
        (V*B, J, H, W).
    """
    norms = [norm for norm in norms if norm.training]
    if not norms:
        return backbone(images)
    with per_view(norms, num_views):
        run = _run if compiled is None else compiled
        heatmaps, statistics = run(backbone, norms, images)
    update_running_statistics(norms, statistics)
    return heatmaps


def _run(backbone: nn.Module, norms: list[ViewBatchNorm2d], images: Tensor) -> tuple[Tensor, Tensor]:
    """Run the backbone inside per_view(). It changes no tensor, so it may be repeated and captured in a CUDA graph."""
    return backbone(images), take_statistics(norms)


class CompiledPass:
    """Training pass through torch.compile for full batches; other batches, and all if compiling fails, run eagerly.

    The first full batch makes a trial of forward and backward pass, whose results are dropped. If the trial fails, one
    warning is logged.
    """

    def __init__(self, num_groups: int, uses_graphs: bool, backend: str = "inductor") -> None:
        """
        Args:
            num_groups: B of a full batch. Compiling takes many seconds per size, so there is one.
            uses_graphs: replay CUDA graphs. Their gradients are overwritten by the next pass, so the gradient must
                be used before it.
            backend: backend of torch.compile.
        """
        self.num_groups = num_groups
        self.uses_graphs = uses_graphs
        self._backend = backend
        self._compiled: Pass | None = None  # None before the trial

    def __call__(self, backbone: nn.Module, norms: list[ViewBatchNorm2d], images: Tensor) -> tuple[Tensor, Tensor]:
        """Return heatmaps (V*B, J, H, W) and the statistics of take_statistics()."""
        if len(images) != self.num_groups * norms[0].num_views:
            return _run(backbone, norms, images)
        if self._compiled is None:
            self._compiled = self._compile(backbone, norms, images)
        if self._compiled is _run:
            return _run(backbone, norms, images)
        return self._replay(self._compiled, backbone, norms, images)

    def _replay(
        self, compiled: Pass, backbone: nn.Module, norms: list[ViewBatchNorm2d], images: Tensor
    ) -> tuple[Tensor, Tensor]:
        if not self.uses_graphs:
            return compiled(backbone, norms, images)
        torch.compiler.cudagraph_mark_step_begin()
        heatmaps, statistics = compiled(backbone, norms, images)
        return heatmaps.clone(), statistics  # the next replay overwrites them; the statistics are used at once

    def _compile(self, backbone: nn.Module, norms: list[ViewBatchNorm2d], images: Tensor) -> Pass:
        """Return the compiled pass after a trial, or the eager pass."""
        start = time.perf_counter()
        weights = [weight for weight in backbone.parameters() if weight.requires_grad]
        try:
            options = {"mode": "reduce-overhead"} if self.uses_graphs else {}
            compiled = torch.compile(_run, backend=self._backend, dynamic=False, fullgraph=True, **options)
            for _ in range(2 if self.uses_graphs else 1):  # the first call warms up, the second captures the graphs
                heatmaps, _ = self._replay(compiled, backbone, norms, images)
                torch.autograd.grad(heatmaps.sum(), weights, allow_unused=True)
            if images.is_cuda:
                torch.cuda.synchronize(images.device)
        except Exception as error:  # compilers raise errors of any kind
            cause = getattr(error, "inner_exception", error)  # torch wraps the compiler's error
            logger.warning(
                "TRAIN.COMPILE: torch.compile failed (%s: %s); training runs without it, more slowly",
                type(cause).__name__,
                next(iter(str(cause).splitlines()), ""),
            )
            for norm in norms:
                norm.batch_statistics = None
            return _run
        logger.info("TRAIN.COMPILE: backbone compiled in %.1f s", time.perf_counter() - start)
        return compiled
