"""Show what the fusion has learned: the weights that a pixel gives to the other views, and its epipolar lines.

    python run/pose2d/show_fusion.py --cfg experiments-local/synthetic/resnet18/128_fusion.yaml
    python run/pose2d/show_fusion.py --cfg ... --group 20 --view 2 --joint rwri lank nose
    python run/pose2d/show_fusion.py --cfg ... --pixel 140 96 --pixel 150 210

Needs the weights of run/pose2d/train.py and the images. Writes fusion_weights.png into the run directory, one row per
pixel, and prints the share of positive weight near the true epipolar lines.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse

from lib.core.config_io import load_config
from lib.core.fusion_report.epipolar_share import measure_shares, shares_text
from lib.core.fusion_report.fusion_figure import joint_marks, make_fusion_figure, pixel_marks
from lib.core.fusion_report.trained_fusion import check_index, load_trained_fusion
from lib.core.run_directory import FUSION_FIGURE_NAME, evaluation_directory
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.utils.errors import InputError


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "--modelDir", "--dataDir", "--data-format", "--state", "--model-file")
    add = parser.add_argument
    add("--group", type=int, metavar="N", help="test group to draw, from 0 (default: the middle one)")
    add("--view", type=int, default=1, metavar="V", help="target view, from 1")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--joint", nargs="+", default=["rwri"], metavar="NAME", help="show the pixels of these true joints"
    )
    what.add_argument(
        "--pixel",
        type=float,
        nargs=2,
        action="append",
        metavar=("X", "Y"),
        help="show a pixel of the original image; may be repeated",
    )
    add("--sample", type=int, default=50, metavar="N", help="number of test groups for the share of weight")
    add("--out", metavar="FILE", help="PNG file (default: fusion_weights.png in the run directory)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = load_config(args.cfg, collect_opts(args))
    directory = evaluation_directory(config, args.cfg)
    path = Path(args.out) if args.out else directory / FUSION_FIGURE_NAME
    if path.suffix.lower() != ".png":
        raise InputError(f"--out: expected a .png file, received {path}")
    if args.sample < 1:
        raise InputError(f"--sample: expected at least 1 group, received {args.sample}")

    trained = load_trained_fusion(config, directory)
    index = len(trained) // 2 if args.group is None else args.group
    check_index(index, len(trained), "groups", "--group")
    check_index(args.view, trained.num_views, "views", "--view", first=1)
    group = trained.group(index)
    data_format = config.DATASET.DATA_FORMAT
    view = args.view - 1
    if args.pixel:
        marks = pixel_marks(trained, group, view, args.pixel, data_format)
    else:
        marks = joint_marks(trained, group, view, args.joint)
    make_fusion_figure(path, trained, group, view, marks, data_format)
    sample = trained.spread(args.sample)
    print(f"\n{shares_text(measure_shares(trained, sample), len(sample))}\n\nfigure: {path}")


if __name__ == "__main__":
    run_main(main)
