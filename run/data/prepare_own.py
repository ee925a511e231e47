"""Make a training set without annotation from videos of your own cameras.

    python run/data/prepare_own.py --videos DIR --cameras Calib.toml --root data/own --validation 45 60

The labels are made from 2D detections (--detections) or, without them, from BlazePose's heatmaps.
Writes images, annotation, the limb prior, and a report into ROOT, in the layout of Human3.6M. Joints on which the
views do not agree are not trained on.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse
from dataclasses import replace

from lib.core.config_io import load_config
from lib.core.own_cameras.arguments import add_recording, load, robust_settings, select_frames
from lib.core.own_cameras.labels import REPORT, make_labels
from lib.core.own_cameras.recording import associate, synchronize, with_detections
from lib.core.runtime.command_line import plain_parser, run_main
from lib.dataset.own_cameras.blazepose_files import DEFAULT_CFG
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
        help="validation frames START to STOP - 1, numbered as in --frames (default: the last quarter)",
    )
    add("--max-side", type=int, metavar="PX", help="longest side of the images; larger images are reduced")
    add("--jpeg-quality", type=int, default=95, help="1 to 100")
    add("--zip", action="store_true", help="write images.zip instead of folders of images")
    add("--force", action="store_true", help="replace a data set that this script made")
    return parser.parse_args()


def main() -> None:
    """Make the data set and print the report."""
    args = parse_args()
    recording = load(args)
    if args.detections is None:
        from lib.core.own_cameras.heatmap_poses import detect_people  # torch, which detections do not need

        recording = with_detections(recording, detect_people(recording, load_config(DEFAULT_CFG)))
    # Peaks of heatmaps are lower where the joint is hidden; other detectors' confidences may mean anything.
    settings = replace(robust_settings(args, recording), weigh_confidence=args.detections is None)
    recording = select_frames(synchronize(associate(recording), correct=args.synchronize), args)
    if args.validation:
        split = recording.positions(*args.validation, "--validation")
    else:
        split = (len(recording) - max(1, len(recording) // 4), len(recording))
    write = WriteSettings(split, args.max_side, args.jpeg_quality, args.zip)
    print(make_labels(recording, args.root, write, settings, args.force))
    print(f"report: {args.root / REPORT}")


if __name__ == "__main__":
    run_main(main)
