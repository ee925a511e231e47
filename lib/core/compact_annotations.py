"""Configuration -> memory-mapped forms of its annotation pickles."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from lib.core.config_io import dataset_root
from lib.dataset.data_sets import annotation_file, has_views
from lib.dataset.storage.memmap_writer import save_compact
from lib.utils.errors import InputError


def compact_annotations(config: Any) -> Iterator[str]:
    """Write the folder of arrays beside each pickle that the configuration's data sets have.

    Args:
        config: the configuration.

    Yields:
        A line on each folder that was written.

    Raises:
        InputError: there is no pickle, one is damaged, or the disk refuses.
    """
    keys = config.DATASET
    root = dataset_root(config)
    subsets = ((keys.TRAIN_DATASET, keys.TRAIN_SUBSET), (keys.TEST_DATASET, keys.TEST_SUBSET))
    files = [
        annotation_file(name, keys, root, subset, crop)
        for name, subset in subsets
        if has_views(name)
        for crop in (True, False)
    ]
    by_path = {file.path: file for file in files}
    found = [file for file in by_path.values() if file.path.is_file()]
    if not found:
        raise InputError(f"none of these is there: {', '.join(map(str, by_path)) or 'a multi-view data set'}")
    for file in found:
        start = time.perf_counter()
        annotations = file.read()
        save_compact(annotations, file)
        size = sum(part.stat().st_size for part in file.compact_folder.iterdir()) / 1e6
        seconds = time.perf_counter() - start
        yield f"{file.compact_folder}: {len(annotations)} records, {size:.0f} MB, {seconds:.0f} s"
