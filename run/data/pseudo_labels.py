"""Make a training set without annotation: predictions of a network on which the views agree.

    python run/pose2d/valid.py --cfg YAML --locations-only --opts DATASET.TEST_SUBSET train DATASET.TEST_STEP 5
    python run/data/pseudo_labels.py --cfg YAML --root data/free --opts DATASET.TEST_SUBSET train DATASET.TEST_STEP 5
    python run/pose2d/train.py --cfg YAML --opts NAME free DATASET.ROOT data/free DATASET.TRAIN_STEP 1

Reads the joint locations that valid.py with the same options has written; TEST.MODEL_FILE names other weights than the
run's. Images are linked, the validation set is unchanged. Joints on which too few views agree are not trained on.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.config_io import load_config
from lib.core.own_cameras.pseudo_labels import PseudoLabelSettings, make_pseudo_labels
from lib.core.run_directory import evaluation_directory
from lib.core.runtime.command_line import collect_opts, make_parser, run_main


def main() -> None:
    """Make the data set and print the report."""
    parser = make_parser(__doc__, "--modelDir", "--dataDir")
    add = parser.add_argument
    add("--root", type=Path, required=True, help="folder to make")
    add(
        "--tolerance",
        type=float,
        default=PseudoLabelSettings.tolerance,
        help="largest reprojection error of a kept joint, share of the crop side length",
    )
    add("--min-views", type=int, help="views that must agree (default: 3, or 2 with two views)")
    add("--force", action="store_true", help="replace a data set that this script made")
    args = parser.parse_args()
    config = load_config(args.cfg, collect_opts(args))
    settings = PseudoLabelSettings(args.tolerance, args.min_views)
    print(make_pseudo_labels(config, evaluation_directory(config, args.cfg), args.root, settings, args.force))


if __name__ == "__main__":
    run_main(main)
