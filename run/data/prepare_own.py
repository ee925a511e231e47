"""Make a training set without annotation from videos of own cameras and 2D detections.

    python run/data/prepare_own.py --videos DIR --cameras Calib.toml --detections DIR --root data/own --validation 45 60

Writes images, annotation, the limb-length prior and a report into ROOT, in the layout of Human3.6M; joints on which
the views do not agree are not trained on.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse

from lib.core.own_cameras.arguments import add_recording, read_recording
from lib.core.own_cameras.labels import REPORT, LabelSettings, make_labels
from lib.core.runtime.command_line import plain_parser, run_main
from lib.dataset.own_cameras.dataset_writer import WriteSettings


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = plain_parser(__doc__)
    add_recording(parser)
    add = parser.add_argument
    add("--root", type=Path, default=Path("data/own"), help="folder to make")
    add(
        "--validation",
        type=int,
        nargs=2,
        metavar=("START", "STOP"),
        help="frames for validation, START to "
        "STOP - 1, numbered as those of --frames; the others are for training (default: the last quarter)",
    )
    add("--max-side", type=int, help="longer side of the images, px; larger ones are made smaller")
    add("--jpeg-quality", type=int, default=95, help="1 to 100")
    add("--zip", action="store_true", help="images.zip instead of folders of images")
    add("--force", action="store_true", help="replace a data set that this script made")
    return parser.parse_args()


def main() -> None:
    """Make the data set and print the report."""
    args = parse_args()
    capture, robust = read_recording(args)
    if args.validation:
        split = capture.positions(*args.validation, "--validation")
    else:
        split = (len(capture) - max(1, len(capture) // 4), len(capture))
    write = WriteSettings(split, args.max_side, args.jpeg_quality, args.zip)
    print(make_labels(capture, args.root, LabelSettings(write, robust), args.force))
    print(f"{args.root / REPORT} holds this report")


if __name__ == "__main__":
    run_main(main)
