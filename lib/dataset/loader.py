"""Batches: order, distribution over ranks, and loader."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from lib.dataset.multiview_dataset import MultiviewDataset
from lib.utils.parallel.processes import leave_termination_to_parent
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks


class EpochBatches(Sampler):
    """Sampler that yields one rank's share of every batch as lists of (epoch, index).

    Order and augmentation depend on seed and epoch only, not on the number of ranks and workers, nor on the step a
    resumed epoch starts from. Call set_epoch() before each pass.
    """

    def __init__(
        self,
        num_items: int,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        ranks: Ranks = SINGLE_PROCESS,
        every_item: bool = True,
    ) -> None:
        """
        Args:
            num_items: length of the data set.
            batch_size: items per rank and step.
            shuffle: use another order in each epoch.
            seed: seed of the order.
            ranks: this process and the number of processes.
            every_item: keep a last step with fewer items than ranks; ranks without an item get the first item of the
                step. Otherwise such a step is dropped.
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
        """Return the number of items of all ranks before a step."""
        return min(step * self._step_size, self._num_items)

    def step_after(self, num_items: int) -> int:
        """Return the step to resume from after `num_items` items; some of its items may be repeated."""
        return len(self) if num_items >= self._num_items else min(num_items // self._step_size, len(self))

    def shares(self, step: int) -> list[int]:
        """Return the number of items per rank in a step: equal shares, plus 1 for the first ranks."""
        part, rest = divmod(self.items_before(step + 1) - self.items_before(step), self._ranks.world_size)
        return [part + (rank < rest) for rank in range(self._ranks.world_size)]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self.order()
        for step in range(self._first_step, self._num_steps):
            batch = self.batch(order, step)
            share = np.array_split(batch, self._ranks.world_size)[self._ranks.rank]
            yield [(self._epoch, int(index)) for index in (share if len(share) else batch[:1])]


def make_loader(dataset: MultiviewDataset, batches: EpochBatches, num_workers: int) -> DataLoader:
    """Return a loader of one rank's share of the batches; keys as in MultiviewDataset, with a leading axis B."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker,
        persistent_workers=num_workers > 0,
        generator=torch.Generator(),  # the default generator would advance with each pass, also of a resumed epoch
    )


def _start_worker(worker_idx: int) -> None:
    cv2.setNumThreads(0)  # parallelism comes from the number of processes
    leave_termination_to_parent()  # signals reach the whole process group; the parent finishes its step and saves
