"""Configuration -> memory-mapped forms of its annotation pickles."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from lib.core.config_io import dataset_root
from lib.dataset.build_groups import MULTIVIEW_NAMES, conventions_of
from lib.dataset.compact import save_compact
from lib.dataset.h36m import annotation_path
from lib.dataset.read_records import read_records
from lib.utils.checks import InputError
from lib.utils.joints import H36M_17


def compact_annotations(config: Any) -> Iterator[str]:
    """Write the folder of arrays beside each pickle that the configuration's data sets have.

    Args:
        config: the configuration.

    Yields:
        A line on each folder that was written.

    Raises:
        InputError: there is no pickle, one is damaged, or the disk refuses.
    """
    keys, conventions = config.DATASET, conventions_of(config)
    wanted = {
        (annotation_path(dataset_root(config) / "h36m", subset, crop))
        for name, subset in ((keys.TRAIN_DATASET, keys.TRAIN_SUBSET), (keys.TEST_DATASET, keys.TEST_SUBSET))
        if name in MULTIVIEW_NAMES
        for crop in (True, False)
    }
    found = sorted(path for path in wanted if path.is_file())
    if not found:
        raise InputError(f"none of these is there: {', '.join(map(str, sorted(wanted))) or 'no multi-view data set'}")
    for path in found:
        start = time.perf_counter()
        annotations = read_records(path, path.parents[1] / "images", "h36m", H36M_17, conventions)
        folder = save_compact(annotations, path, conventions)
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        yield f"{folder}: {len(annotations)} records, {size:.0f} MB, {time.perf_counter() - start:.0f} s"
