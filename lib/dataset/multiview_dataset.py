"""Groups of views as items; one class serves single images, groups, pseudo-groups and mixtures of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from lib.dataset.groups import Part
from lib.dataset.sample import SampleSettings, load_sample
from lib.utils.joints import UNION_20, JointSet


class MultiviewDataset(Dataset):
    """Items are dictionaries with one leading view axis V.

    Keys: crops (V, H_in, W_in, 3), is_multiview (bool), image_index (V,) for image_name(), and the others of
    load_sample() with the view axis in front.
    """

    def __init__(self, parts: Sequence[Part], settings: SampleSettings, augment: bool, seed: int = 0) -> None:
        """
        Args:
            parts: their groups follow each other.
            settings: sizes and augmentation.
            augment: training: random scale, rotation and shift as in `settings`.
            seed: of augmentation and random views; the same (seed, epoch, index) gives the same item in any
                process.
        """
        self.parts = list(parts)
        self.settings = settings
        self._augment = augment and settings.augments
        self._seed = seed
        self._group_ends = np.cumsum([len(part.groups) for part in parts])
        self._image_starts = np.cumsum([0] + [len(part.annotations) for part in parts])

    @property
    def num_views(self) -> int:
        """Views per item."""
        return 1 if self.parts[0].random_view else self.parts[0].groups.shape[1]

    def __len__(self) -> int:
        return int(self._group_ends[-1])

    @property
    def joint_set(self) -> JointSet:
        """The joints that are annotated: those of the only source, or the union of a mixture."""
        sets = {part.annotations.joint_set for part in self.parts}
        return sets.pop() if len(sets) == 1 else UNION_20

    @property
    def has_head_sizes(self) -> bool:
        """Whether the head of at least one person is annotated."""
        sizes = [part.annotations.head_size for part in self.parts]
        return any(size is not None and np.isfinite(size).any() for size in sizes)

    def image_name(self, image_index: int) -> str:
        """Return the path of an image below its folder."""
        part = int(np.searchsorted(self._image_starts, image_index, side="right")) - 1
        return self.parts[part].annotations.image_name(image_index - self._image_starts[part])

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, np.ndarray]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        which, rows, rng = self._draw(epoch, index)
        part = self.parts[which]
        views = [load_sample(part.annotations, row, self.settings, rng if self._augment else None) for row in rows]
        item = {key: np.stack([view[key] for view in views]) for key in views[0]}
        item["crops"] = item.pop("crop")
        item["is_multiview"] = np.asarray(part.is_multiview)
        item["image_index"] = rows + self._image_starts[which]
        return item

    def _draw(self, epoch: int, index: int) -> tuple[int, np.ndarray, np.random.Generator]:
        """Return the part of an item, the rows of its images, and the source of its augmentation."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = int(np.searchsorted(self._group_ends, index, side="right"))
        part = self.parts[which]
        rows = part.groups[index - self._group_ends[which] + len(part.groups)]
        rng = np.random.default_rng((self._seed, epoch, index))
        return which, rng.choice(rows, 1) if part.random_view else rows, rng

    def images_of(self, epoch: int, index: int) -> np.ndarray:
        """Return the image indices of an item, for image_name(); reads no image."""
        which, rows, _ = self._draw(epoch, index)
        return rows + self._image_starts[which]
