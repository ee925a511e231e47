"""Make the memory-mapped form of annotation pickles: it opens at once and is shared by all processes.

    python run/data/compact_annotations.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml

Writes a folder of arrays beside every pickle of the configuration's data sets (training and validation, boxes and
whole images); the loaders use it from then on, and notice when a pickle has been made anew.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.compact_annotations import compact_annotations
from lib.core.config_io import load_config
from lib.core.runtime.command_line import collect_opts, make_parser, run_main


def main() -> None:
    args = make_parser(__doc__, "--dataDir").parse_args()
    for line in compact_annotations(load_config(args.cfg, collect_opts(args))):
        print(line)


if __name__ == "__main__":
    run_main(main)
