"""Loader of images that are partly covered by other images, to show a trained network joints that it cannot see."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from lib.dataset.loader import BatchLoader, EpochBatches
from lib.dataset.multiview_dataset import MultiviewDataset

COVERED_SHARE = 0.35  # of the images
PATCH_SIZES = (1 / 8, 15 / 32)  # smallest and largest side of a patch, relative to the image


class OccludedImages:
    """The batches of a loader, with a patch of another image of the batch pasted into a third of the crops."""

    def __init__(self, loader: BatchLoader, seed: int) -> None:
        """
        Args:
            loader: loader of whole groups.
            seed: of the patches.
        """
        self._loader = loader
        self._seed = seed

    @property
    def dataset(self) -> MultiviewDataset:
        """The data set of the loader."""
        return self._loader.dataset

    @property
    def batch_sampler(self) -> EpochBatches:
        """The batches of the loader."""
        return self._loader.batch_sampler

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        rng = np.random.default_rng(self._seed)
        for batch in self._loader:
            yield {**batch, "crops": paste_patches(batch["crops"], rng)}


def paste_patches(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Paste a patch of another image of the batch into a third of the crops (B, V, H_in, W_in, 3)."""
    flat = crops.flatten(0, 1)
    result = flat.clone()
    sides = flat.shape[1:3]
    low, high = PATCH_SIZES
    for index in np.flatnonzero(rng.random(len(flat)) < COVERED_SHARE):
        height, width = (int(rng.integers(int(side * low), int(side * high))) for side in sides)
        (top, y), (left, x) = (
            rng.integers(0, side - size, 2) for side, size in zip(sides, (height, width), strict=True)
        )
        source = flat[rng.integers(len(flat))]
        result[index, top : top + height, left : left + width] = source[y : y + height, x : x + width]
    return result.unflatten(0, crops.shape[:2])
