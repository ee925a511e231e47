"""Write 3D poses as files for other programs: TRC (OpenSim), C3D, BVH (Blender), CSV, and a folder for Pose2Sim.

    python run/pose3d/export.py --poses OUT/poses3d.npz --to trc c3d bvh csv pose2sim
    python run/pose3d/export.py --poses RUN/poses3d.npz --to c3d --rate 50

Reads poses of run/demo/multiview.py, or with --rate of run/pose3d/estimate.py, one file per recording. Prints units,
axes, rate and names of each file. See docs/export.md.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse

from lib.core.export.export_poses import FORMATS, add_export_flags, export_poses, export_settings
from lib.core.runtime.command_line import plain_parser, run_main


def parse_args() -> argparse.Namespace:
    parser = plain_parser(__doc__)
    add = parser.add_argument
    add("--poses", type=Path, required=True, metavar="NPZ", help="pose file, e.g. poses3d.npz")
    add("--to", nargs="+", required=True, choices=tuple(FORMATS), help="formats")
    add("--out", type=Path, metavar="DIR", help="folder for the files (default: the folder of the pose file)")
    add("--rate", type=float, metavar="HZ", help="frames per second of the video or images (default: the recording's)")
    add_export_flags(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    for path, content in export_poses(args.poses, args.to, args.out, export_settings(args)).items():
        print(f"{path}: {content}")


if __name__ == "__main__":
    run_main(main)
