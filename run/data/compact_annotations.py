"""Convert annotation pickles to memory-mapped arrays, which open at once and are shared by all processes.

    python run/data/compact_annotations.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml

Writes a folder of arrays next to every pickle of the training and the validation data set, for crops and for whole
images. The loaders use the arrays until a pickle changes.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.config_io import dataset_root, load_config
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.dataset.data_sets import annotation_file, has_views
from lib.dataset.storage.memmap_writer import save_compact
from lib.utils.errors import InputError


def main() -> None:
    args = make_parser(__doc__, "--dataDir").parse_args()
    config = load_config(args.cfg, collect_opts(args))
    section = config.DATASET
    subsets = ((section.TRAIN_DATASET, section.TRAIN_SUBSET), (section.TEST_DATASET, section.TEST_SUBSET))
    files = [
        annotation_file(name, section, dataset_root(config), subset, crop)
        for name, subset in subsets
        if has_views(name)
        for crop in (True, False)
    ]
    by_path = {file.path: file for file in files}
    found = [file for file in by_path.values() if file.path.is_file()]
    if not found:
        raise InputError(f"none of these files exists: {', '.join(map(str, by_path)) or 'no multi-view data set'}")
    for file in found:
        start = time.perf_counter()
        annotations = file.read()
        save_compact(annotations, file)
        size = sum(part.stat().st_size for part in file.compact_folder.iterdir()) / 1e6
        seconds = time.perf_counter() - start
        print(f"{file.compact_folder}: {len(annotations)} records, {size:.0f} MB, {seconds:.0f} s")


if __name__ == "__main__":
    run_main(main)
