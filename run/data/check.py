"""Check a prepared data set: counts, images, cameras against joints, synchrony, boxes, limbs.

    python run/data/check.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml

Looks at the training and the evaluation data of the configuration and says what is wrong and which convention would be
right. Writes check.md and pictures into check/ below the run directory. Exit code 0: nothing is wrong; 1: something is;
2: it cannot be read.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse

from lib.core.config_io import dataset_root, load_config
from lib.core.data_check.check_data import CheckSettings, check_data, report, save_report, verdict
from lib.core.run_directory import CHECK_FOLDER, CHECK_NAME, run_directory
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.utils.errors import InputError


def number_of_images(text: str) -> int | None:
    """Parse --images: a number or "all"."""
    if text == "all":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"--images: expected a number or 'all', received '{text}'")
    return int(text)


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "--modelDir", "--dataDir", "--data-format", "--workers")
    parser.add_argument("--images", default="400", metavar="N", help="images to read, or 'all'")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the report, instead of the run directory's")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    num_images = number_of_images(args.images)
    config = load_config(args.cfg, collect_opts(args))
    settings = CheckSettings(num_images, max(1, config.WORKERS))
    directory = args.out or run_directory(config, args.cfg) / CHECK_FOLDER
    results = []
    for checked in check_data(config, directory, settings):
        results.append(checked)
        print(f"\n# {checked.title}\n")
        print("\n\n".join(section.markdown() for section in checked.sections))
    save_report(report(results, f"Check of {dataset_root(config)}"), directory / CHECK_NAME)
    print(f"\n# Verdict\n\n{verdict(results)}\n\n{directory / CHECK_NAME} holds this report, with pictures.")
    if any(checked.num_errors for checked in results):
        sys.exit(1)


if __name__ == "__main__":
    run_main(main)
