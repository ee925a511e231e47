"""Fetch BlazePose's networks, which find and outline people, from the package mediapipe (Apache-2.0) on PyPI.

    python run/demo/fetch_blazepose.py --out models/blazepose

Writes OUT/pose_detection.tflite, OUT/pose_landmark_full.tflite and the license of the package. Nothing is installed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.runtime.command_line import plain_parser, run_main
from lib.dataset.own_cameras.blazepose_files import fetch_blazepose


def main() -> None:
    """Fetch the networks unless they exist."""
    parser = plain_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("models/blazepose"), help="folder that receives the networks")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="wheel downloaded earlier")
    args = parser.parse_args()
    fetch_blazepose(args.out, args.wheel)


if __name__ == "__main__":
    run_main(main)
