"""Fetch the demo videos, four cameras with 100 frames each, from the package pose2sim (BSD-3-Clause) on PyPI.

    python run/demo/fetch_demo.py --out data/demo

Writes OUT/videos/cam0*.mp4 and the license of the package. Nothing is installed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import logging
from fnmatch import fnmatch

from lib.core.runtime.command_line import plain_parser, run_main
from lib.utils.files.wheel import extract, opened_wheel

logger = logging.getLogger("fetch_demo")

PACKAGE = "pose2sim==0.10.49"
VIDEOS = {1: "Pose2Sim/Demo_SinglePerson/videos/", 2: "Pose2Sim/Demo_MultiPerson/videos/"}  # by number of people


def main() -> None:
    """Fetch the videos unless they exist."""
    parser = plain_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/demo"), help="folder that receives videos/")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="wheel downloaded earlier")
    parser.add_argument("--people", type=int, choices=tuple(VIDEOS), default=1, help="people in the videos")
    args = parser.parse_args()
    if (args.out / "videos").is_dir():
        logger.info("%s: exists", args.out / "videos")
        return
    license_file = args.out / "LICENSE-pose2sim"
    with opened_wheel(PACKAGE, 51, args.wheel) as wheel:
        pattern = f"{VIDEOS[args.people]}*.mp4"
        found = extract(wheel, args.out / "videos", lambda name: fnmatch(name, pattern), license_file, pattern)
    logger.info("%s: %d videos (Pose2Sim, BSD-3-Clause, see %s)", args.out / "videos", len(found), license_file.name)


if __name__ == "__main__":
    run_main(main)
