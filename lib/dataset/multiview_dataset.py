"""Torch data set of groups of views: single images, groups, pseudo-groups and mixtures."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from lib.dataset.groups import Part
from lib.dataset.sample import CropSource, SampleSettings, load_samples
from lib.utils.joints import UNION_20, JointSet


class _Drawn(NamedTuple):
    """An item: index of its part, (V,) rows of its images, and its random generator, None if nothing is random."""

    part: int
    rows: np.ndarray
    rng: np.random.Generator | None


def _empty_bytes(shape: tuple[int, ...]) -> torch.Tensor:
    """Return uint8 memory that goes to its destination without a copy.

    A loading process gets shared memory, as in torch's default_collate(); the training process pinned memory.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


class MultiviewDataset(Dataset):
    """Data set whose items are dictionaries of arrays with a leading view axis V.

    Keys: crops (V, H_in, W_in, 3) uint8 BGR, is_multiview (bool), image_index (V,) for image_name(), and the keys of
    load_samples().
    """

    def __init__(
        self,
        parts: Sequence[Part],
        settings: SampleSettings,
        augment: bool,
        seed: int = 0,
        caches: Sequence[CropSource] = (),
    ) -> None:
        """
        Args:
            parts: groups, concatenated.
            settings: sizes and augmentation.
            augment: apply the augmentations of the settings, for training.
            seed: seed of augmentation and random views; an item depends on (seed, epoch, index) only.
            caches: ready crops of each part, only if no augmentation moves the crops; () = read the images.
        """
        self.parts = list(parts)
        self.settings = settings
        self._augment = augment and settings.augments
        self._seed = seed
        self._caches = list(caches)
        if self._caches and self._augment and settings.moves_crops:
            raise ValueError("ready crops have no random scale, rotation or shift")
        self._group_ends = np.cumsum([len(part.groups) for part in parts])
        self._image_starts = np.cumsum([0] + [len(part.annotations) for part in parts])

    @property
    def num_views(self) -> int:
        """Views per item."""
        return 1 if self.parts[0].random_view else self.parts[0].groups.shape[1]

    def __len__(self) -> int:
        return int(self._group_ends[-1])

    def contents(self) -> str:
        """Return the items of each kind, e.g. "37 groups of 4 views, 32 pseudo-groups of 4 single images"."""
        views = self.num_views
        singles = f"pseudo-groups of {views} single images" if views > 1 else "images"
        kinds = [f"groups of {views} views" if part.is_multiview else singles for part in self.parts]
        return ", ".join(f"{len(part.groups)} {kind}" for part, kind in zip(self.parts, kinds, strict=True))

    @property
    def has_ready_crops(self) -> bool:
        """Whether the crops are read from files of ready crops."""
        return bool(self._caches)

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
        """Return the item of an index, or of (epoch, index)."""
        return {name: np.asarray(values)[0] for name, values in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> dict[str, np.ndarray | torch.Tensor]:
        """Return the batch of indices or of (epoch, index), with a leading axis B; the crops are a tensor."""
        drawn = [self._draw(*(key if isinstance(key, tuple) else (0, key))) for key in keys]
        width, height = self.settings.image_wh
        memory = _empty_bytes((len(drawn), self.num_views, height, width, 3))
        crops = memory.numpy()
        batch = {"crops": memory}
        for places in self._places(drawn):
            part = self.parts[drawn[places[0]].part]
            rows = np.stack([drawn[place].rows for place in places])
            values = self._load(drawn[places[0]], rows, [crop for place in places for crop in crops[place]])
            values["is_multiview"] = np.full(len(places), part.is_multiview)
            if len(places) == len(drawn):
                return batch | values
            for name, value in values.items():
                if name not in batch:
                    batch[name] = np.empty((len(drawn), *value.shape[1:]), value.dtype)
                batch[name][places] = value
        return batch

    def _places(self, drawn: Sequence[_Drawn]) -> list[list[int]]:
        """Return the places of the items that are loaded together: single items if augmented, else all of a part."""
        if self._augment:
            return [[place] for place in range(len(drawn))]
        parts = [item.part for item in drawn]
        return [[place for place, one in enumerate(parts) if one == part] for part in sorted(set(parts))]

    def _load(self, first: _Drawn, rows: np.ndarray, crops: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Load (n, V) rows of the part of `first`; its generator draws the augmentation."""
        rng = first.rng if self._augment else None
        cache = self._caches[first.part] if self._caches else None
        loaded = load_samples(self.parts[first.part].annotations, rows.ravel(), self.settings, crops, rng, cache)
        values = {name: value.reshape(*rows.shape, *value.shape[1:]) for name, value in loaded.items()}
        return values | {"image_index": rows + self._image_starts[first.part]}

    def _draw(self, epoch: int, index: int) -> _Drawn:
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = int(np.searchsorted(self._group_ends, index, side="right"))
        part = self.parts[which]
        rows = part.groups[index - self._group_ends[which] + len(part.groups)]
        if not (self._augment or part.random_view):  # a generator takes longer than the rows
            return _Drawn(which, rows, None)
        rng = np.random.default_rng((self._seed, epoch, index))
        return _Drawn(which, rng.choice(rows, 1) if part.random_view else rows, rng)

    def images_of(self, epoch: int, index: int) -> np.ndarray:
        """Return the image indices of an item, for image_name(), without reading images."""
        drawn = self._draw(epoch, index)
        return drawn.rows + self._image_starts[drawn.part]
