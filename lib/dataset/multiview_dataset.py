"""Groups of views as items; one class serves single images, groups, pseudo-groups and mixtures of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset, Sampler

from lib.dataset.annotations import Annotations
from lib.dataset.sample import SampleSettings, load_sample
from lib.utils.joints import UNION_20, JointSet
from lib.utils.parallel.ranks import SINGLE, Ranks


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


class EpochBatches(Sampler):
    """Yields one rank's share of every batch as lists of (epoch, index).

    The order, and what a data set draws for an item, depend on seed and epoch alone: not on the number of ranks or
    loading processes, nor on where in the epoch the work was taken up.

    Call set_epoch() before each pass.
    """

    def __init__(
        self,
        num_items: int,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        ranks: Ranks = SINGLE,
        every_item: bool = True,
    ) -> None:
        """
        Args:
            num_items: of the data set.
            batch_size: items per rank in a step.
            shuffle: another order each epoch.
            seed: of the order.
            ranks: which share of the batches is this process's.
            every_item: the last step may have fewer items than ranks: those without one get the step's first item
                once more. Otherwise such a step is left out.
        """
        self._epoch = 0
        self._first_step = 0
        self._num_items = num_items
        self._shuffle = shuffle
        self._seed = seed
        self._ranks = ranks
        self._step_size = batch_size * ranks.world_size
        whole, rest = divmod(num_items, self._step_size)
        self._num_steps = whole + (rest > 0 if every_item else rest >= ranks.world_size)

    def __len__(self) -> int:
        return self._num_steps

    def set_epoch(self, epoch: int, first_step: int = 0) -> None:
        """Select the epoch of the next pass and the step to start from, as after resuming.

        Args:
            epoch: index of the epoch, from 0; it seeds order and augmentation.
            first_step: steps before it are skipped.
        """
        self._epoch = epoch
        self._first_step = first_step

    def batch(self, order: np.ndarray, step: int) -> np.ndarray:
        """Return the items of all ranks in a step."""
        return order[step * self._step_size : (step + 1) * self._step_size]

    def order(self) -> np.ndarray:
        """Return the items in the order of the epoch."""
        order = np.arange(self._num_items)
        if self._shuffle:
            np.random.default_rng((self._seed, self._epoch)).shuffle(order)
        return order

    def items_before(self, step: int) -> int:
        """Return how many items of the epoch, of all ranks, come before a step."""
        return min(step * self._step_size, self._num_items)

    def step_after(self, num_items: int) -> int:
        """Return the step to go on with when the first items of the epoch are done; some may come again in it."""
        return len(self) if num_items >= self._num_items else min(num_items // self._step_size, len(self))

    def shares(self, step: int) -> list[int]:
        """Return how many of a step's items each rank has: equal parts, the first ones larger by 1 if need be."""
        part, rest = divmod(self.items_before(step + 1) - self.items_before(step), self._ranks.world_size)
        return [part + (rank < rest) for rank in range(self._ranks.world_size)]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self.order()
        for step in range(self._first_step, self._num_steps):
            batch = self.batch(order, step)
            share = np.array_split(batch, self._ranks.world_size)[self._ranks.rank]
            yield [(self._epoch, int(index)) for index in (share if len(share) else batch[:1])]
