"""Detect the person in the videos of your own cameras with BlazePose, which needs no training.

    python run/data/detect_people.py --videos DIR --cameras Calib.toml --out detections.npz

Writes a file for the flag --detections of run/demo/multiview.py and run/data/prepare_own.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.config_io import load_config
from lib.core.own_cameras.heatmap_poses import detect_people
from lib.core.own_cameras.recording import load_recording
from lib.core.runtime.command_line import plain_parser, run_main
from lib.dataset.own_cameras.blazepose_files import DEFAULT_CFG
from lib.dataset.own_cameras.name_matching import MATCH_HELP
from lib.utils.errors import InputError


def main() -> None:
    """Detect the person and write the detections."""
    parser = plain_parser(__doc__)
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder with one video per camera")
    parser.add_argument("--cameras", type=Path, required=True, metavar="TOML", help="calibration of the cameras")
    parser.add_argument("--views", nargs="+", default=[], metavar="NAME", help="cameras to use (default: all)")
    parser.add_argument("--match", nargs="+", default=[], metavar="CAMERA=FILE", help=MATCH_HELP)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".npz file to write")
    args = parser.parse_args()
    if args.out.suffix != ".npz":
        raise InputError(f"--out: expected a name ending in .npz, received {args.out}")
    recording = load_recording(args.cameras, args.videos, views=args.views, match=args.match)
    found = detect_people(recording, load_config(DEFAULT_CFG))
    found.save(args.out)
    print(f"{args.out}: {len(found.points)} frames of {', '.join(found.view_names)}")


if __name__ == "__main__":
    run_main(main)
