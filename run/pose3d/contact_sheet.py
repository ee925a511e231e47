"""Draw frames of the validation set: views with heatmaps and 2D joints, the 3D pose from two sides.

    python run/pose3d/contact_sheet.py --cfg experiments-local/synthetic/resnet18/128_fusion.yaml

Needs the results of run/pose2d/valid.py and run/pose3d/estimate.py; writes contact_sheet.png into the run directory.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import logging

from lib.core.cli import collect_opts, make_parser, run_main
from lib.core.config_io import dataset_root, load_config, run_directory
from lib.core.pictures import load_poses, make_contact_sheet, spread_frames

logger = logging.getLogger("contact_sheet")


def main() -> None:
    parser = make_parser(__doc__, "--modelDir", "--dataDir", "--data-format")
    parser.add_argument("--frames", type=int, nargs="+", metavar="N", help="indices of frames (default: spread evenly)")
    parser.add_argument("--count", type=int, default=6, help="how many frames to spread (default 6)")
    args = parser.parse_args()
    config = load_config(args.cfg, collect_opts(args))
    directory = run_directory(config, args.cfg)
    frames = args.frames
    if frames is None:
        frames = spread_frames(len(load_poses(directory / "poses3d.npz")["pose_world"]), args.count)
    make_contact_sheet(config, dataset_root(config), directory, frames, directory / "contact_sheet.png")
    logger.info("frames %s in %s", ", ".join(map(str, frames)), directory / "contact_sheet.png")


if __name__ == "__main__":
    run_main(main)
