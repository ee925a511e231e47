"""Make the limb prior (PICT_STRUCT.PAIRWISE_FILE) from the training annotations.

    python run/data/make_limb_prior.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml

The file has the structure of the original code's prior, plus skeleton, grid, tolerance and mean lengths. It may
replace another prior, but no other file.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.config_io import load_config
from lib.core.pose3d.make_prior import build_prior, prior_path, prior_table
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.multiviews.pictorial.limb_prior import check_replaceable, save_limb_prior


def main() -> None:
    args = make_parser(__doc__, "--dataDir").parse_args()
    config = load_config(args.cfg, collect_opts(args))
    path = prior_path(config.PICT_STRUCT)
    check_replaceable(path)
    prior, share_within = build_prior(config)
    save_limb_prior(prior, path)
    print(f"\n{prior_table(prior, share_within)}\n")
    print(
        f"{path}: {len(prior.offsets)} limbs from {prior.num_poses} training poses, for {prior.grid.num_bins} bins "
        f"per axis over {prior.grid.edge:g} mm"
    )


if __name__ == "__main__":
    run_main(main)
