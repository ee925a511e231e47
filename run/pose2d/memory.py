"""Estimate the device memory that a training needs, by parts, without data, weights or a GPU.

    python run/pose2d/memory.py --cfg experiments-local/mixed/resnet50/320_fusion.yaml --batch 2 4 8
    python run/pose2d/memory.py --cfg experiments-local/*/*/*_fusion*.yaml

Prints a Markdown table: each experiment as configured, with each key that saves memory, and with all of them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.config_io import load_config
from lib.core.runtime.command_line import plain_parser, run_main
from lib.core.training.memory_estimate import memory_table


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--cfg", nargs="+", required=True, metavar="YAML", help="experiments")
    parser.add_argument("--batch", nargs="+", metavar="N", help="one or several batch sizes, groups (TRAIN.BATCH_SIZE)")
    parser.add_argument("--opts", nargs="*", action="extend", default=[], metavar="KEY VALUE", help="any keys")
    args = parser.parse_args()
    batches = [["TRAIN.BATCH_SIZE", batch] for batch in args.batch or []] or [[]]
    names = ["/".join(Path(path).parts[-3:]) for path in args.cfg]
    configs = [
        (name, load_config(path, [*args.opts, *batch]))
        for name, path in zip(names, args.cfg, strict=True)
        for batch in batches
    ]
    print(memory_table(configs))


if __name__ == "__main__":
    run_main(main)
