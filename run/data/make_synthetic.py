"""Make the synthetic data set: a procedural world in the layout of Human3.6M and MPII.

python run/data/make_synthetic.py --root data/synthetic
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.runtime.command_line import plain_parser, run_main
from lib.dataset.synthetic.generate import SetSettings, is_made, make_dataset
from lib.dataset.synthetic.scene import WorldSettings


def parse_args() -> argparse.Namespace:
    """Parse the command line; defaults come from the settings classes."""
    world, data = WorldSettings(), SetSettings()
    parser = plain_parser(__doc__)
    add = parser.add_argument
    add("--root", type=Path, default=Path("data/synthetic"), help="folder to make")
    add("--subjects", type=int, nargs="+", default=list(data.subjects), help="9 and 11 are for validation")
    add("--actions", type=int, nargs="+", default=list(data.actions), help="Human3.6M's ids")
    add("--groups-per-train", type=int, default=data.train_groups, help="frames per training recording")
    add("--groups-per-validation", type=int, default=data.validation_groups, help="frames per validation recording")
    add("--frame-step", type=int, default=data.frame_step, help="distance of the frames, in 1/50 s")
    add("--mpii-train", type=int, default=data.mpii_train, help="single images for training")
    add("--mpii-valid", type=int, default=data.mpii_valid, help="single images for validation")
    add("--views", type=int, default=world.num_views, help="cameras per rig")
    add("--image-size", type=int, default=world.image_size, help="side of the multi-view images, px")
    add(
        "--occluders",
        type=float,
        default=world.occluders,
        help="pieces of furniture in front of each camera on average, 0 to 4",
    )
    add(
        "--rig",
        type=int,
        nargs="+",
        default=[world.rig],
        help="0: like Human3.6M's; other numbers: less regular rigs. With several, the training subjects take turns on "
        "them, and the validation subjects are on the first",
    )
    add("--jpeg-quality", type=int, default=data.jpeg_quality, help="1 to 100")
    add("--seed", type=int, default=world.seed, help="equal seeds give equal data")
    add("--workers", type=int, default=2, help="processes; they do not affect the result")
    add("--zip", action="store_true", help="images.zip instead of folders of images")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="replace an existing synthetic data set")
    existing.add_argument(
        "--reuse", action="store_true", help="keep an existing one; refuse it if it was made with other options"
    )
    return parser.parse_args()


def main() -> None:
    """Make the data set and print its size."""
    args = parse_args()
    settings = SetSettings(
        world=WorldSettings(args.seed, args.views, args.image_size, args.occluders, args.rig[0]),
        subjects=tuple(args.subjects),
        actions=tuple(args.actions),
        train_groups=args.groups_per_train,
        validation_groups=args.groups_per_validation,
        frame_step=args.frame_step,
        mpii_train=args.mpii_train,
        mpii_valid=args.mpii_valid,
        jpeg_quality=args.jpeg_quality,
        more_rigs=tuple(args.rig[1:]),
    )
    if args.reuse and is_made(args.root, settings, args.zip):
        print(f"{args.root}: exists")
        return
    start = time.perf_counter()
    counts = make_dataset(args.root, settings, args.workers, args.zip, args.force)
    contents = ", ".join(f"{count} {what}" for what, count in counts.items())
    print(f"{args.root}: {contents} (views: {args.views}) in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    run_main(main)
