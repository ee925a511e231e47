"""A network with given outputs, and the network inputs of a loader."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lib.dataset.network_input import NetworkInput, network_input
from lib.multiviews.cameras import CropCameras

CPU = torch.device("cpu")


class Table(nn.Module):
    """Return given heatmaps, batch after batch. One weight makes it trainable."""

    def __init__(self, outputs: Iterable[tuple[Tensor, Tensor | None]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.outputs = iter(outputs)

    def forward(self, images: Tensor, views: CropCameras | None = None) -> tuple[Tensor, Tensor | None]:
        single, fused = next(self.outputs)
        return single * self.weight, None if fused is None else fused * self.weight


def inputs_of(loader: DataLoader) -> list[NetworkInput]:
    """Return the network inputs of all batches."""
    return [network_input(batch, loader.dataset.settings, CPU) for batch in loader]
