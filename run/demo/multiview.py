"""3D poses of a person in videos of your own calibrated cameras.

    python run/demo/multiview.py --videos DIR --cameras Calib.toml --out OUT
    python run/demo/multiview.py --videos DIR --cameras Calib.toml --detections DIR --out OUT
    python run/demo/multiview.py --videos DIR --cameras Calib.toml --cfg YAML --checkpoint FILE --out OUT

Writes poses3d.npz and poses3d.csv, a video of the views next to the 3D pose, statistics, and a report. Without
detections and without a checkpoint, BlazePose finds the person and makes the heatmaps; it needs no training.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse
from typing import Any

from lib.core.config_io import load_config
from lib.core.export.export_poses import FORMATS, ExportSettings, check_formats, export_poses
from lib.core.own_cameras.arguments import add_recording, load, robust_settings, select_frames
from lib.core.own_cameras.blazepose_files import DEFAULT_CFG
from lib.core.own_cameras.recording import Recording, associate, synchronize, with_detections
from lib.core.own_cameras.recording_poses import AGREEMENT, poses_by_method, smooth, triangulate
from lib.core.own_cameras.recording_results import POSES, REPORT, left_out_table, save_recording_poses, save_results
from lib.core.own_cameras.recording_tables import pose_tables
from lib.core.pose3d.make_prior import load_prior
from lib.core.pose3d.methods import METHODS
from lib.core.runtime.command_line import plain_parser, run_main
from lib.models.registry import BACKBONES
from lib.multiviews.recording.robust_poses import RobustPoses, RobustSettings
from lib.utils.errors import InputError
from lib.utils.files.atomic import make_directory


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


def load_network_config(args: argparse.Namespace) -> Any:
    """Return the configuration of the network, None if detections replace it; set the default of --method.

    Raises:
        InputError: flags exclude each other.
    """
    if args.checkpoint and not args.cfg:
        raise InputError("--checkpoint needs --cfg, the experiment that the network was trained with")
    if not args.checkpoint and args.detections is not None:
        if args.cfg or args.opts:
            raise InputError("--cfg and --opts configure a network: they need --checkpoint, its weights")
        if args.method not in (None, AGREEMENT):
            raise InputError(f"--method {args.method} uses heatmaps: it needs --cfg and --checkpoint")
        args.method = AGREEMENT
        return None
    config = load_config(args.cfg or DEFAULT_CFG, args.opts)
    is_fixed = BACKBONES[config.BACKBONE_MODEL].is_fixed
    if not is_fixed and not args.checkpoint:
        raise InputError(f"--cfg {args.cfg}: its network needs --checkpoint, its weights")
    args.method = args.method or ("rpsm+refine" if is_fixed else "rpsm")
    return config


def with_found_people(recording: Recording, config: Any, checkpoint: Path | None) -> Recording:
    """Add BlazePose's detections, from which sync offsets are estimated."""
    if checkpoint:
        raise InputError("--synchronize estimates offsets from detections: name them with --detections")
    from lib.core.own_cameras.heatmap_poses import detect_people  # torch

    return with_detections(recording, detect_people(recording, config))


def poses_from_network(
    args: argparse.Namespace, config: Any, recording: Recording, settings: RobustSettings
) -> tuple[Recording, RobustPoses]:
    """Run the network, triangulate its joints, and apply the 3D method if one is given."""
    # These import torch, which detections do not need.
    from lib.core.own_cameras.heatmap_poses import poses_from_heatmaps
    from lib.core.own_cameras.network import predict

    needs_prior = args.method in METHODS and METHODS[args.method].needs_prior
    has_file = Path(config.PICT_STRUCT.PAIRWISE_FILE or "-").is_file()
    prior = load_prior(config.PICT_STRUCT) if needs_prior and has_file else None
    if BACKBONES[config.BACKBONE_MODEL].is_fixed:
        return poses_from_heatmaps(recording, config, args.method, settings, prior)
    roots = None
    if recording.points is not None:
        roots = smooth(triangulate(recording, settings), recording, settings).positions
    recording, prediction = predict(recording, config, args.checkpoint, roots)
    poses = smooth(triangulate(recording, settings), recording, settings)
    if args.method != AGREEMENT:
        save_recording_poses(args.out, recording, poses)  # remain if the method fails
        poses = poses_by_method(recording, prediction, config, args.method, poses, prior)
    return recording, poses


def main() -> None:
    """Estimate the poses and print their tables."""
    args = parse_args()
    check_formats(args.export)
    config = load_network_config(args)
    recording = load(args)
    if args.synchronize and args.detections is None:
        recording = with_found_people(recording, config, args.checkpoint)
    settings = robust_settings(args, recording)
    if args.leave_one_out and len(recording.rig) < 3:
        raise InputError(f"--leave-one-out needs 3 views, received {len(recording.rig)}")
    if recording.detections is not None:
        recording = synchronize(associate(recording), correct=args.synchronize)
    recording = select_frames(recording, args)
    make_directory(args.out)
    if config is not None:
        recording, poses = poses_from_network(args, config, recording, settings)
    else:
        poses = smooth(triangulate(recording, settings), recording, settings)
    left_out = settings if args.leave_one_out else None
    results = save_results(args.out, recording, poses, args.method, left_out, video=not args.no_video)
    print(f"\n{pose_tables(results['statistics'])}\n")
    if args.leave_one_out:
        print(f"{left_out_table(results['leave_one_out_px'])}\n")
    exported = export_poses(args.out / POSES, args.export, settings=ExportSettings(rate=recording.rate))
    for path, content in exported.items():
        print(f"{path}: {content}")
    print(f"report: {args.out / REPORT}")


if __name__ == "__main__":
    run_main(main)
