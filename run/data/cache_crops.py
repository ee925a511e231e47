"""Write the ready crops of an experiment's images, so that training and validation need not decode the images.

    python run/data/cache_crops.py --cfg YAML --opts DATASET.CROP_CACHE data/crops

Writes one file per source of images into DATASET.CROP_CACHE, for the training data unless scale, rotation or shift is
random, and for the validation data. DATASET.FLIP mirrors crops after reading, so it needs no files of its own.
Existing files are kept. train.py and valid.py read them with the same --opts.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.config_io import dataset_root, load_config
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.dataset.data_sets import build_parts, held_out_parts
from lib.dataset.sample import SampleSettings
from lib.dataset.storage.crop_cache import CropFile, write_crops
from lib.utils.errors import InputError


def main() -> None:
    parser = make_parser(__doc__, "--dataDir", "--data-format")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="number of processes")
    args = parser.parse_args()
    config = load_config(args.cfg, collect_opts(args))
    if not config.DATASET.CROP_CACHE:
        raise InputError("DATASET.CROP_CACHE: expected a folder, received ''; add --opts DATASET.CROP_CACHE DIR")
    folder = Path(config.DATASET.CROP_CACHE)
    settings = SampleSettings.from_config(config)
    root = dataset_root(config)
    parts = build_parts(config.DATASET, root, False)
    parts += held_out_parts(config.DATASET, root) if config.DATASET.HELD_OUT_SUBJECTS else []
    if settings.moves_crops:
        print("training data: scale, rotation or shift is random, so no crop is ready")
    else:
        parts = build_parts(config.DATASET, root, True) + parts
    for part in parts:
        file = CropFile.of_part(folder, part, settings)
        if file.path.is_file():
            print(f"{file.path}: exists ({file.describe()})")
            continue
        print(f"{file.path}: {file.describe()}", flush=True)
        start = time.perf_counter()
        write_crops(file, args.workers)
        print(f"  written in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    run_main(main)
