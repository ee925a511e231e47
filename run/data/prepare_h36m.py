"""Prepare Human3.6M: from the contents of the official archives to images and annotations.

    python run/data/prepare_h36m.py --raw DOWNLOADS --root data

DOWNLOADS holds S1, S5, ... as the archives Poses_D3_Positions_mono, Poses_D2_Positions, Videos and, if wanted,
Poses_D3_Positions_mono_universal unpack, and metadata.xml. Writes ROOT/h36m: images (or images.zip), the pickles of
training and validation in the published structure, their memory-mapped forms and a report. Interrupted, it goes on
where it was; what an earlier call finished stays, so that subjects may be downloaded, prepared and removed in turn.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.runtime.command_line import plain_parser, run_main
from lib.dataset.prepare.h36m_images import ImageSettings
from lib.dataset.prepare.h36m_preparation import PrepareSettings, prepare_h36m
from lib.dataset.prepare.h36m_report import report
from lib.utils.files.atomic import write_bytes

REPORT = "h36m/annot/prepare_h36m.md"


def parse_args() -> argparse.Namespace:
    """Parse the command line; the defaults come from the settings."""
    data = PrepareSettings(Path(), Path())
    images = ImageSettings()
    parser = plain_parser(__doc__)
    add = parser.add_argument
    add("--raw", type=Path, required=True, help="folder with S1, S5, ... and metadata.xml")
    add("--metadata", type=Path, help="metadata.xml, if it is elsewhere")
    add("--root", type=Path, default=Path("data"), help="DATASET.ROOT; receives h36m/")
    add("--subjects", type=int, nargs="+", default=list(data.subjects), help="which")
    add("--actions", type=int, nargs="+", default=list(data.actions), help="ids")
    add("--step", type=int, default=images.step, help="take every n-th frame of a video")
    add("--jpeg-quality", type=int, default=images.jpeg_quality, help="1 to 100")
    add("--zip", action="store_true", help="one images.zip (stored) instead of folders of images")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    add("--keep-going", action="store_true", help="leave out recordings whose files are missing or damaged")
    add("--force", action="store_true", help="replace images and annotations that something else made")
    return parser.parse_args()


def main() -> None:
    """Prepare and say what is there now."""
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
    text = report(prepare_h36m(args.root, settings, args.workers), args.root)
    write_bytes(args.root / REPORT, text.encode())
    print(f"{text}\n{args.root / REPORT} holds this report. {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    run_main(main)
