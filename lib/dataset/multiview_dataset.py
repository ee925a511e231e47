"""Groups of views as items; one class serves single images, groups, pseudo-groups and mixtures of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset, Sampler

from lib.dataset.annotations import Annotations
from lib.dataset.joints_dataset import SampleSettings, load_sample
from lib.utils.joints import UNION_20, JointSet


@dataclass(frozen=True)
class Part:
    """Groups out of one source.

    Attributes:
        annotations: the images.
        groups: (G, V) rows of the annotations.
        is_multiview: the views show one instant, so fusion has a meaning.
        random_view: yield one random view of each group instead of all.
    """

    annotations: Annotations
    groups: np.ndarray
    is_multiview: bool
    random_view: bool = False


class MultiviewDataset(Dataset):
    """Items are dictionaries with one leading view axis V.

    Keys: images (V, 3, H_in, W_in), is_multiview (bool), image_index (V,) for image_name(), and the others of
    load_sample() with the view axis in front.
    """

    def __init__(self, parts: Sequence[Part], settings: SampleSettings, augment: bool, seed: int = 0) -> None:
        """
        Args:
            parts: their groups follow each other.
            settings: sizes and augmentation.
            augment: training: random scale and rotation as in `settings`.
            seed: of augmentation and random views; the same (seed, epoch, index) gives the same item in any
                process.
        """
        self.parts = list(parts)
        self.settings = settings
        self._augment = augment and (settings.scale_factor > 0 or settings.rot_factor > 0)
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
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = int(np.searchsorted(self._group_ends, index, side="right"))
        part = self.parts[which]
        rows = part.groups[index - self._group_ends[which] + len(part.groups)]
        rng = np.random.default_rng((self._seed, epoch, index))
        if part.random_view:
            rows = rng.choice(rows, 1)
        views = [load_sample(part.annotations, row, self.settings, rng if self._augment else None) for row in rows]
        item = {key: np.stack([view[key] for view in views]) for key in views[0]}
        item["images"] = item.pop("image")
        item["is_multiview"] = np.asarray(part.is_multiview)
        item["image_index"] = rows + self._image_starts[which]
        return item


class EpochSampler(Sampler):
    """Yields (epoch, index): the order, and what a data set draws for an item, depend on nothing else.

    Attributes:
        epoch: set it before each pass over the loader.
    """

    def __init__(self, num_items: int, shuffle: bool, seed: int = 0) -> None:
        self.epoch = 0
        self._num_items = num_items
        self._shuffle = shuffle
        self._seed = seed

    def __len__(self) -> int:
        return self._num_items

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self._num_items)
        if self._shuffle:
            np.random.default_rng((self._seed, self.epoch)).shuffle(order)
        return ((self.epoch, int(index)) for index in order)
