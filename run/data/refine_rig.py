"""Repair the calibration of your own cameras from a person who walks through them.

    python run/data/refine_rig.py --cameras Calib.toml --detections DIR --out Calib_refined.toml
    python run/data/refine_rig.py --cameras Calib.toml --detections DIR --out Calib_refined.toml --focal --height 1.78

Adjusts rotations and centers of the cameras, one sync offset and drift per camera and, with --focal, the focal lengths,
to the 2D detections of all frames. Writes Calib_refined.toml, and next to it a report (.md), results (.json) and a
figure of both rigs from above (.png). A rig that is right is copied unchanged. Exit code 0: the written calibration is
good; 1: not to be trusted, with the reason, and no calibration is written; 2: wrong arguments or files.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse

from lib.core.own_cameras.arguments import add_files, load, select_frames
from lib.core.own_cameras.recording import associate
from lib.core.rig_refinement.refine_recording import refine_recording, save_refined_recording
from lib.core.rig_refinement.rig_report import rig_results, verdict_text, view_table
from lib.core.runtime.command_line import plain_parser, run_main
from lib.multiviews.rig.rig_verdict import NOT_TRUSTED
from lib.utils.errors import InputError


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = plain_parser(__doc__)
    add_files(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="TOML", help="calibration to write")
    add("--focal", action="store_true", help="also estimate the focal lengths")
    add("--height", type=float, metavar="M", help="height of the person, m; sets the scale (default: the given rig's)")
    return parser.parse_args()


def main() -> None:
    """Refine the rig and print the verdict."""
    args = parse_args()
    if args.detections is None:
        raise InputError("--detections: expected 2D detections; run/data/detect_people.py makes them from videos")
    if args.out.suffix != ".toml" or args.out.resolve() == args.cameras.resolve():
        raise InputError(f"--out: expected a .toml file other than --cameras, received {args.out}")
    _check_replaceable(args)
    recording = select_frames(associate(load(args)), args)
    result = refine_recording(recording, args.focal, None if args.height is None else 1000 * args.height)
    save_refined_recording(args.out, args.cameras, recording, result)
    if result.verdict.refinement is not None:
        print(f"\n{view_table(rig_results(recording, result)['views'])}\n")
    for note in result.verdict.notes:
        print(f"- {note}")
    print(f"{verdict_text(result)}\nreport: {args.out.with_suffix('.md')}")
    if result.verdict.kind == NOT_TRUSTED:
        sys.exit(1)


def _check_replaceable(args: argparse.Namespace) -> None:
    """Refuse to replace an input, or a calibration that this command has not written."""
    outputs = {args.out.with_suffix(suffix).resolve() for suffix in (".toml", ".md", ".json", ".png")}
    if args.detections.resolve() in outputs:
        raise InputError(f"--out: {args.out} would replace {args.detections}; name another file")
    if args.out.is_file():
        content = args.out.read_bytes()
        if b"refined_from" not in content and content != args.cameras.read_bytes():
            raise InputError(f"--out: {args.out} exists and is not a result of this command; name another file")


if __name__ == "__main__":
    run_main(main)
