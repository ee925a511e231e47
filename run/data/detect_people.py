"""Detect the person in the videos of your own cameras with BlazePose (optional package mediapipe).

    python run/data/detect_people.py --videos DIR --cameras Calib.toml --out detections.npz

Writes a file for the flag --detections of run/demo/multiview.py and run/data/prepare_own.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.runtime.command_line import plain_parser, run_main
from lib.dataset.own_cameras.blazepose import detect_people
from lib.dataset.own_cameras.calibration_file import load_rig
from lib.dataset.own_cameras.videos import open_videos
from lib.utils.errors import InputError


def main() -> None:
    """Detect the person and write the detections."""
    parser = plain_parser(__doc__)
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder with one video per camera")
    parser.add_argument(
        "--cameras", type=Path, required=True, metavar="TOML", help="calibration, for the names of the cameras"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".npz file to write")
    args = parser.parse_args()
    if args.out.suffix != ".npz":
        raise InputError(f"--out: expected a name ending in .npz, received {args.out}")
    names = load_rig(args.cameras).names
    found = detect_people(open_videos(args.videos, names), names)
    found.save(args.out)
    print(f"{args.out}: {len(found.points)} frames of {', '.join(names)}")


if __name__ == "__main__":
    run_main(main)
