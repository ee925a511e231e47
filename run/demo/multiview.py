"""3D poses of a person in videos of your own calibrated cameras.

    python run/demo/multiview.py --videos DIR --cameras Calib.toml --out OUT
    python run/demo/multiview.py --videos DIR --cameras Calib.toml --detections DIR --out OUT
    python run/demo/multiview.py --videos DIR --cameras Calib.toml --cfg YAML --checkpoint FILE --out OUT

Writes poses3d.npz and poses3d.csv, a video of the views next to the 3D pose, statistics, and a report as Markdown and
as an interactive page. Without detections and without a checkpoint, BlazePose finds the person and makes the heatmaps;
it needs no training.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse

from lib.core.export.export_poses import FORMATS, check_formats
from lib.core.multiview import network_and_method, poses_of_recording
from lib.core.own_cameras.arguments import add_recording, load, robust_settings
from lib.core.own_cameras.recording_poses import AGREEMENT
from lib.core.own_cameras.recording_results import PAGE, REPORT, left_out_table
from lib.core.own_cameras.recording_tables import pose_tables
from lib.core.pose3d.methods import METHODS
from lib.core.runtime.command_line import plain_parser, run_main
from lib.dataset.own_cameras.blazepose_files import DEFAULT_CFG
from lib.utils.errors import InputError


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = plain_parser(__doc__)
    add_recording(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--cfg", metavar="YAML", help=f"experiment of the network; without detections default {DEFAULT_CFG}")
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights of the network; --detections, if given as well, locate the person",
    )
    add("--opts", nargs="*", action="extend", default=[], metavar="KEY VALUE", help="configuration keys of the network")
    add(
        "--method",
        choices=(AGREEMENT, *METHODS),
        help=f"{AGREEMENT}: triangulate each joint from the views that agree, then --smooth (default with detections); "
        "the others, as in run/pose3d/estimate.py, need heatmaps (default rpsm with a checkpoint, rpsm+refine with "
        "BlazePose)",
    )
    add("--leave-one-out", action="store_true", help="also predict the joints of each view from the other views")
    add("--no-video", action="store_true", help="write no video")
    add("--export", nargs="+", choices=tuple(FORMATS), default=[], help="also write the poses as run/pose3d/export.py")
    return parser.parse_args()


def main() -> None:
    """Estimate the poses and print their tables."""
    args = parse_args()
    check_formats(args.export)
    config, method = network_and_method(
        args.cfg, args.checkpoint, args.opts, args.method, has_detections=args.detections is not None
    )
    recording = load(args)
    settings = robust_settings(args, recording)
    if args.leave_one_out and len(recording.rig) < 3:
        raise InputError(f"--leave-one-out needs 3 views, received {len(recording.rig)}")
    found = poses_of_recording(
        recording, config, args.checkpoint, method, settings, args.frames, args.synchronize, args.out
    )
    results = found.save(args.out, video=not args.no_video, leave_one_out=args.leave_one_out)
    print(f"\n{pose_tables(results['statistics'])}\n")
    if args.leave_one_out:
        print(f"{left_out_table(results['leave_one_out_px'])}\n")
    for path, content in found.export(args.out, args.export).items():
        print(f"{path}: {content}")
    print(f"report: {args.out / REPORT}, to look at: {args.out / PAGE}")


if __name__ == "__main__":
    run_main(main)
