"""Torch data set of groups of views: single images, groups, pseudo-groups and mixtures."""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from lib.dataset.groups import Part
from lib.dataset.sample import SampleSettings, load_sample
from lib.utils.joints import UNION_20, JointSet


class MultiviewDataset(Dataset):
    """Data set whose items are dictionaries of arrays with a leading view axis V.

    Keys: crops (V, H_in, W_in, 3), is_multiview (bool), image_index (V,) for image_name(), and the other keys of
    load_sample().
    """

    def __init__(self, parts: Sequence[Part], settings: SampleSettings, augment: bool, seed: int = 0) -> None:
        """
        Args:
            parts: groups, concatenated.
            settings: sizes and augmentation.
            augment: apply random scale, rotation and shift, for training.
            seed: seed of augmentation and random views; an item depends on (seed, epoch, index) only.
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
        """Annotated joints: the joint set of the only source, or the union joints for a mixture."""
        sets = {part.annotations.joint_set for part in self.parts}
        return sets.pop() if len(sets) == 1 else UNION_20

    @property
    def has_head_sizes(self) -> bool:
        """Whether at least one person has a head size."""
        sizes = [part.annotations.head_size for part in self.parts]
        return any(size is not None and np.isfinite(size).any() for size in sizes)

    def image_name(self, image_index: int) -> str:
        """Return the path of an image below its images folder."""
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
        """Return the index of an item's part, the rows of its images, and its random generator."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = int(np.searchsorted(self._group_ends, index, side="right"))
        part = self.parts[which]
        rows = part.groups[index - self._group_ends[which] + len(part.groups)]
        rng = np.random.default_rng((self._seed, epoch, index))
        return which, rng.choice(rows, 1) if part.random_view else rows, rng

    def images_of(self, epoch: int, index: int) -> np.ndarray:
        """Return the image indices of an item, for image_name(), without reading images."""
        which, rows, _ = self._draw(epoch, index)
        return rows + self._image_starts[which]
