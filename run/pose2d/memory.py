"""Tell how much memory a training needs on its device, part by part, without data or weights.

    python run/pose2d/memory.py --cfg experiments-local/mixed/resnet50/320_fusion.yaml --opts TRAIN.AMP bf16
    python run/pose2d/memory.py --all

Prints a Markdown table; --all has a row per published experiment, with and without the switches that save memory.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.cli import plain_parser, run_main
from lib.core.config_io import load_config
from lib.core.memory_tables import parts_table, variants_table

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments-local"


def main() -> None:
    parser = plain_parser(__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--cfg", metavar="YAML", help="experiment, e.g. experiments-local/...")
    which.add_argument("--all", action="store_true", help="all experiments of mixed/ and mpii/; takes minutes")
    parser.add_argument("--opts", nargs="*", action="extend", default=[], metavar="KEY VALUE", help="any keys")
    args = parser.parse_args()
    if args.all:
        paths = sorted(path for folder in ("mixed", "mpii") for path in (EXPERIMENTS / folder).rglob("*.yaml"))
        print(variants_table(paths, EXPERIMENTS, args.opts))
    else:
        print(parts_table(load_config(args.cfg, args.opts)))


if __name__ == "__main__":
    run_main(main)
