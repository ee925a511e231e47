"""Prepare MPII: from mpii_human_pose_v1_u12_1.mat to the annotation files for training and validation.

    python run/data/prepare_mpii.py --mat mpii_human_pose_v1_u12_1.mat --valid-list valid.json

ROOT/mpii/annot receives trainval.json, test.json and a report. With a validation list it also receives train.json,
valid.json and gt_valid.mat, in the original structure.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.runtime.command_line import plain_parser, run_main
from lib.dataset.prepare.mpii_preparation import MpiiSettings, prepare_mpii


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = plain_parser(__doc__)
    add = parser.add_argument
    add("--mat", type=Path, required=True, help="MPII's annotation file")
    add("--root", type=Path, default=Path("data"), help="receives mpii/annot; images are read from its mpii/images")
    add(
        "--valid-list",
        type=Path,
        help="validation list: text or JSON with image names, another valid.json, or valid.h5 of the stacked "
        "hourglass; without it there is no training/validation split",
    )
    add("--single-person", action="store_true", help="keep only people sufficiently separated from others")
    add("--images", type=Path, help="folder of the images for --zip (default: ROOT/mpii/images)")
    add("--zip", action="store_true", help="write the annotated images to ROOT/mpii/images.zip")
    add("--allow-missing", action="store_true", help="leave out people whose image is missing")
    add(
        "--force",
        action="store_true",
        help="replace annotation files, gt_valid.mat and (--zip) images.zip of other programs; without --valid-list, "
        "remove an earlier split",
    )
    return parser.parse_args()


def main() -> None:
    """Prepare and print the report."""
    args = parse_args()
    settings = MpiiSettings(
        mat=args.mat,
        root=args.root,
        valid_list=args.valid_list,
        single_person=args.single_person,
        images=args.images,
        as_zip=args.zip,
        allow_missing=args.allow_missing,
        force=args.force,
    )
    print(prepare_mpii(settings))


if __name__ == "__main__":
    run_main(main)
