"""Prepare Human3.6M: from the official archives to images and annotation.

    python run/data/prepare_h36m.py --raw DOWNLOADS --root data

DOWNLOADS holds metadata.xml and the folders S1, S5, ... of the unpacked archives Poses_D3_Positions_mono,
Poses_D2_Positions, Videos and, optionally, Poses_D3_Positions_mono_universal. ROOT/h36m receives images (or
images.zip), training and validation annotation in the original structure and as memory-mapped arrays, and a report.
An interrupted preparation resumes after the last finished clip. Results of earlier calls are kept, so subjects can be
downloaded, prepared and deleted one after another.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.runtime.command_line import plain_parser, run_main
from lib.dataset.prepare.h36m_clips import ImageSettings
from lib.dataset.prepare.h36m_preparation import PrepareSettings, prepare_h36m
from lib.dataset.prepare.h36m_report import h36m_report
from lib.utils.files.atomic import write_bytes

REPORT = "h36m/annot/prepare_h36m.md"


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    data = PrepareSettings(Path(), Path())
    images = ImageSettings()
    parser = plain_parser(__doc__)
    add = parser.add_argument
    add("--raw", type=Path, required=True, help="folder with S1, S5, ... and metadata.xml")
    add("--metadata", type=Path, help="path of metadata.xml (default: RAW/metadata.xml)")
    add("--root", type=Path, default=Path("data"), help="DATASET.ROOT; receives h36m/")
    add("--subjects", type=int, nargs="+", default=list(data.subjects), help="subjects to prepare")
    add("--actions", type=int, nargs="+", default=list(data.actions), help="action ids to prepare")
    add("--step", type=int, default=images.step, help="take every STEP-th frame of a video")
    add("--jpeg-quality", type=int, default=images.jpeg_quality, help="JPEG quality, 1 to 100")
    add("--zip", action="store_true", help="images.zip instead of folders of images; needs their disk space twice")
    add("--workers", type=int, default=os.cpu_count() or 1, help="number of processes")
    add("--keep-going", action="store_true", help="skip recordings with missing or damaged files")
    add("--force", action="store_true", help="replace images and annotation that another program made")
    return parser.parse_args()


def main() -> None:
    """Prepare the data set, then write and print the report."""
    args = parse_args()
    settings = PrepareSettings(
        raw=args.raw,
        metadata=args.metadata or args.raw / "metadata.xml",
        subjects=tuple(args.subjects),
        actions=tuple(args.actions),
        images=ImageSettings(args.step, args.jpeg_quality, args.zip),
        keep_going=args.keep_going,
        force=args.force,
    )
    start = time.perf_counter()
    text = h36m_report(prepare_h36m(args.root, settings, args.workers), args.root)
    write_bytes(args.root / REPORT, text.encode())
    print(f"{text}\nReport: {args.root / REPORT} ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    run_main(main)
