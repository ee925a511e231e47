"""Check a prepared data set: counts, images, cameras against joints, synchronization, boxes, limbs.

    python run/data/check.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml
    python run/data/check.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml --refine

Checks the training and the evaluation data of the configuration. A finding names the convention that would be right.
With --refine, the published calibration of each subject is compared with the one that the predictions of
run/pose2d/valid.py fit best. Writes check.md and contact sheets to check/ in the run directory. Exit code 0: no errors;
1: errors; 2: the data cannot be read.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse
from itertools import chain

from lib.core.config_io import dataset_root, load_config
from lib.core.data_check.check_data import CheckSettings, check_data
from lib.core.data_check.findings import report, verdict
from lib.core.data_check.published_rigs import check_published_rigs
from lib.core.run_directory import CHECK_FOLDER, CHECK_NAME, evaluation_directory, run_directory
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.utils.errors import InputError
from lib.utils.files.atomic import write_bytes


def number_of_images(text: str) -> int | None:
    """Parse --images: a number, or "all" (None)."""
    if text == "all":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"--images: expected a number or 'all', received '{text}'")
    return int(text)


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "--modelDir", "--dataDir", "--data-format", "--workers")
    parser.add_argument("--images", default="400", metavar="N", help="number of images to read, or 'all'")
    parser.add_argument("--out", type=Path, metavar="DIR", help="report folder (check/ in the run directory)")
    parser.add_argument("--refine", action="store_true", help="refine the calibration with the stored 2D predictions")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    num_images = number_of_images(args.images)
    config = load_config(args.cfg, collect_opts(args))
    settings = CheckSettings(num_images, max(1, config.WORKERS))
    directory = args.out or run_directory(config, args.cfg) / CHECK_FOLDER
    checks = [check_data(config, directory, settings)]
    if args.refine:  # first, since its predictions may be missing
        checks.insert(0, check_published_rigs(config, evaluation_directory(config, args.cfg)))
    results = []
    for result in chain.from_iterable(checks):
        results.append(result)
        print(f"\n# {result.title}\n")
        print("\n\n".join(section.markdown() for section in result.sections))
    text = report(results, f"Check of {dataset_root(config)}")
    write_bytes(directory / CHECK_NAME, text.encode())
    print(f"\n# Verdict\n\n{verdict(results)}\n\n{directory / CHECK_NAME} holds this report, with images.")
    if any(result.num_errors for result in results):
        sys.exit(1)


if __name__ == "__main__":
    run_main(main)
