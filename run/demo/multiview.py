"""3D poses of a person in videos of own, calibrated cameras.

    python run/demo/multiview.py --videos DIR --cameras Calib.toml --detections DIR --out OUT
    python run/demo/multiview.py --videos DIR --cameras Calib.toml --cfg YAML --checkpoint FILE --out OUT

Writes poses3d.npz and .csv, a video of the views with the projected pose beside the turning pose, statistics and a
report. Without detections and without a checkpoint the person is found by MediaPipe, where it is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse

from lib.core.config_io import load_config
from lib.core.own_cameras.arguments import add_recording, read_recording
from lib.core.own_cameras.fit_tables import pose_tables, require_poses
from lib.core.own_cameras.pipeline import (
    AGREEMENT,
    REPORT,
    EstimateSettings,
    estimate,
    left_out_table,
    poses_by_method,
    save_poses,
)
from lib.core.own_cameras.recording import Capture
from lib.core.pose3d.make_prior import load_prior
from lib.core.pose3d.methods import METHODS
from lib.core.runtime.command_line import plain_parser, run_main
from lib.multiviews.recording.robust_poses import RobustPoses, RobustSettings
from lib.utils.errors import InputError
from lib.utils.files.atomic import make_directory


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = plain_parser(__doc__)
    add_recording(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="gets the results")
    add("--cfg", metavar="YAML", help="experiment of the network")
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights of the network; detections, if given as well, tell where the person is",
    )
    add("--opts", nargs="*", action="extend", default=[], metavar="KEY VALUE", help="configuration keys of the network")
    add(
        "--method",
        choices=(AGREEMENT, *METHODS),
        help=f"{AGREEMENT}: every joint from the largest set of views that "
        "agree (default with detections); with a network also those of run/pose3d/estimate.py (default rpsm)",
    )
    add("--leave-one-out", action="store_true", help="also predict the joints of each view from the others")
    add("--no-video", action="store_true", help="no video")
    return parser.parse_args()


def from_network(args: argparse.Namespace, capture: Capture, robust: RobustSettings) -> tuple[Capture, RobustPoses]:
    """Run the network and, where asked for, a method of 3D inference on its heatmaps."""
    from lib.core.own_cameras.network import predict  # torch, which detections do not need

    config = load_config(args.cfg, args.opts)
    needs_prior = args.method in METHODS and METHODS[args.method].needs_prior
    has_file = Path(config.PICT_STRUCT.PAIRWISE_FILE or "-").is_file()
    prior = load_prior(config.PICT_STRUCT) if needs_prior and has_file else None
    places = None
    if capture.points is not None:
        seen = capture.poses(robust)
        require_poses(seen, capture.check(), capture.rig)
        places = seen.places
    capture, prediction = predict(capture, config, args.checkpoint, places)
    poses = capture.poses(robust)
    if args.method == AGREEMENT:
        return capture, poses
    require_poses(poses, capture.check(), capture.rig)
    save_poses(args.out, capture, poses)  # if the method cannot be used, that much is there
    return capture, poses_by_method(capture, prediction, config, args.method, poses, prior)


def check_args(args: argparse.Namespace) -> None:
    """Raise an InputError for flags that do not go together."""
    if args.checkpoint and not args.cfg:
        raise InputError("--checkpoint needs --cfg, the experiment that the network was trained with")
    if args.method != AGREEMENT and not args.checkpoint:
        raise InputError(f"--method {args.method} works on heatmaps: it needs --cfg and --checkpoint")
    if (args.cfg or args.opts) and not args.checkpoint:
        raise InputError("--cfg and --opts tell of a network: they need --checkpoint, its weights")


def main() -> None:
    """Estimate and print the tables."""
    args = parse_args()
    if args.method is None:
        args.method = "rpsm" if args.checkpoint else AGREEMENT
    check_args(args)
    (capture, robust), poses = read_recording(args, look=not args.checkpoint), None
    settings = EstimateSettings(args.method, robust, args.leave_one_out, not args.no_video)
    settings.check(len(capture.rig))
    make_directory(args.out)
    if args.checkpoint:
        capture, poses = from_network(args, capture, robust)
    results = estimate(capture, args.out, settings, poses)
    print(f"\n{pose_tables(results['statistics'])}\n")
    if args.leave_one_out:
        print(f"{left_out_table(results['leave_one_out_px'])}\n")
    print(f"{args.out / REPORT} holds the report")


if __name__ == "__main__":
    run_main(main)
