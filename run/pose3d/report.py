"""Report on the 3D results of a run: tables, charts, frames, animations, comparison with other runs and the paper.

    python run/pose3d/report.py --cfg experiments-local/synthetic/resnet18/128_fusion.yaml
    python run/pose3d/report.py --cfg ... --frames 0 12 40 --sequence 9 Walking --compare output/.../other_run

Needs the results of run/pose3d/estimate.py and the images. Writes contact_sheet.png and the folder report/ (report.md,
report.html, comparison.md, comparison.csv, figures) into the run directory; for --poses NAME.npz, report_NAME/.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse
from importlib.util import find_spec
from typing import Any

from lib.core.config_io import load_config
from lib.core.pose3d.methods import chosen_method
from lib.core.pose3d.results_3d import default_poses_name
from lib.core.report.comparison import comparison, load_runs, save_comparison
from lib.core.report.report_page import ReportSettings, report_directory, warn_if_outdated, write_report
from lib.core.report.run_page import SingleView
from lib.core.report.run_poses import RunPoses, load_run_poses
from lib.core.run_directory import evaluation_directory
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.utils.errors import InputError


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "--modelDir", "--dataDir", "--data-format", "--state", "--model-file")
    add = parser.add_argument
    add(
        "--poses",
        metavar="FILE",
        help="pose file in the run directory (default: the file that estimate.py writes for this configuration)",
    )
    add("--compare", nargs="+", default=[], metavar="RUN", help="run directories or results_3d.json files")
    add("--tables-only", action="store_true", help="write the comparison only, from results_3d.json; needs no images")
    add(
        "--frames",
        type=int,
        nargs="+",
        metavar="N",
        help="frames to draw (default: evenly spaced frames in the contact sheet, figures of a typical and the worst)",
    )
    add("--animate", type=int, nargs=2, metavar=("START", "STOP"), help="animate the frames START to STOP - 1")
    add("--sequence", nargs="+", metavar="ID", help="animate a recording: SUBJECT ACTION [SUBACTION], e.g. 9 Walking 1")
    add("--format", choices=("mp4", "gif"), default="mp4", help="format of animations")
    add("--fps", type=float, default=10.0, help="frames per second of animations")
    add("--turn", type=float, default=20.0, help="speed of the orbiting camera, degrees per second; 0 = fixed camera")
    add("--whole-images", action="store_true", help="whole images instead of crops in figures and animations")
    return parser.parse_args()


def find_animations(args: argparse.Namespace, run: RunPoses) -> dict[str, list[int]]:
    """Return the frames of --animate and --sequence by file name."""
    if not 0 < args.fps < float("inf"):
        raise InputError(f"--fps: expected a positive number, received {args.fps}")
    found = {}
    if args.animate:
        start, stop = args.animate
        if stop <= start:
            raise InputError(f"--animate: expected START below STOP, received {start} {stop}")
        run.check_frames([start, stop - 1], "--animate")
        found[f"frames_{start}_{stop}"] = list(range(start, stop))
    if args.sequence:
        if len(args.sequence) not in (2, 3):
            raise InputError(f"--sequence: expected SUBJECT ACTION [SUBACTION], received {' '.join(args.sequence)}")
        found[f"sequence_{'_'.join(args.sequence)}"] = run.recording(*args.sequence)
    return found


def find_single_view(config: Any, directory: Path) -> SingleView | None:
    """Return what predicts the heatmaps before fusion; None without torch, fusion or the weights of the predictions."""
    if find_spec("torch") is None:
        return None
    from lib.core.report.single_view import load_single_view

    return load_single_view(config, directory)


def main() -> None:
    args = parse_args()
    config = load_config(args.cfg, collect_opts(args))
    directory = evaluation_directory(config, args.cfg)
    poses_name = args.poses or default_poses_name(config, chosen_method("rpsm", config.PICT_STRUCT.REFINE))
    compared = load_runs([directory, *args.compare])
    if args.tables_only:
        warn_if_outdated(directory, compared)
        save_comparison(report_directory(directory, poses_name), compared)
    else:
        run = load_run_poses(config, directory, poses_name)
        settings = ReportSettings(
            args.frames, find_animations(args, run), f".{args.format}", args.fps, args.turn, args.whole_images
        )
        write_report(run, compared, settings, find_single_view(config, directory))
    if args.compare or args.tables_only:
        print(f"\n{comparison(compared)}")


if __name__ == "__main__":
    run_main(main)
