"""Batches: order, distribution over ranks, and loader."""

import functools
import logging
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from lib.dataset.multiview_dataset import MultiviewDataset
from lib.utils.errors import InputError
from lib.utils.parallel.processes import leave_termination_to_parent, usable_processors
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)

MAX_THREADS = 4  # a thread copies some 2,000 groups of 256 px per second; more of them hide the delay of network disks
_SHARED_MEMORY = "/dev/shm"
BATCHES_AHEAD = 2  # per thread, as torch's prefetch_factor


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

    @property
    def share(self) -> int:
        """Largest number of items of a rank in a step."""
        return min(-(-self._step_size // self._ranks.world_size), max(1, self._num_items))

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


class BatchLoader(DataLoader):
    """Loader of dictionaries of tensors, keys as in MultiviewDataset, with a leading axis B.

    Processes decode images. Ready crops are only copied, which threads do at the same speed without sending the batches
    from process to process.
    """

    def __init__(self, dataset: MultiviewDataset, batches: EpochBatches, num_workers: int) -> None:
        """
        Args:
            dataset: the data set.
            batches: batches of (epoch, index).
            num_workers: number of loading processes, or maximum number of threads; 0 = load when a batch is needed.
        """
        self._num_threads = min(num_workers, MAX_THREADS) if dataset.has_ready_crops else 0
        num_processes = 0 if dataset.has_ready_crops else num_workers
        super().__init__(
            dataset,
            batch_sampler=batches,
            collate_fn=_unchanged,
            num_workers=num_processes,
            pin_memory=num_processes > 0 and torch.cuda.is_available(),  # the training process loads into pinned memory
            worker_init_fn=_start_worker,
            persistent_workers=num_processes > 0,
            generator=torch.Generator(),  # the default generator would advance with each pass, also of a resumed epoch
        )

    def check_worker_number_rationality(self) -> None:
        """Replace torch's warning, which would come with each loader and again with its first pass."""
        if self.num_workers > usable_processors():
            _warn_of_many_workers(self.num_workers, usable_processors())

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        if self.num_workers and self._iterator is None:
            width, height = self.dataset.settings.image_wh
            batch_bytes = self.batch_sampler.share * self.dataset.num_views * 3 * width * height
            _check_shared_memory(batch_bytes * (1 + BATCHES_AHEAD * self.num_workers), self.num_workers)
        batches = self._read_ahead() if self._num_threads else super().__iter__()
        for batch in batches:
            # Arrays come from a process faster than tensors, each of which needs a connection to it.
            yield {name: torch.as_tensor(values) for name, values in batch.items()}

    def _read_ahead(self) -> Iterator[dict[str, np.ndarray | torch.Tensor]]:
        """Load batches in threads, in order, BATCHES_AHEAD per thread before they are needed."""
        with ThreadPoolExecutor(self._num_threads, "read-ahead") as pool:
            coming: deque[Future] = deque()
            try:
                for keys in self.batch_sampler:
                    coming.append(pool.submit(self.dataset.__getitems__, keys))
                    if len(coming) > BATCHES_AHEAD * self._num_threads:
                        yield coming.popleft().result()
                while coming:
                    yield coming.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)


def _check_shared_memory(needed: int, num_workers: int) -> None:
    """Raise an InputError if the batches that processes load ahead, in bytes, do not fit into the shared memory.

    The processes would end or wait forever. Docker's default is 64 MB.
    """
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:  # not Linux
        return
    if free < needed:
        raise InputError(
            f"WORKERS: expected {needed / 1e6:.0f} MB of shared memory in {_SHARED_MEMORY} for {num_workers} loading "
            f"processes, received {free / 1e6:.0f} MB; start Docker with --shm-size=8g or --ipc=host, or set WORKERS 0"
        )


@functools.cache  # once per program
def _warn_of_many_workers(num_workers: int, num_processors: int) -> None:
    text = "WORKERS: %d loading processes on %d processors; set WORKERS %d"
    logger.warning(text, num_workers, num_processors, num_processors)


def _unchanged(batch: dict[str, np.ndarray | torch.Tensor]) -> dict[str, np.ndarray | torch.Tensor]:
    return batch


def _start_worker(worker_idx: int) -> None:
    cv2.setNumThreads(0)  # parallelism comes from the number of processes
    leave_termination_to_parent()  # signals reach the whole process group; the parent finishes its step and saves
