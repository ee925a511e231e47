"""Estimate 3D poses from predicted heatmaps on the CPU; needs numpy, not torch.

    python run/pose3d/estimate.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml

Methods (--method): rpsm, the recursive pictorial structure; rpsm+refine, from there to the best place between the
pixels; psm, the first grid of rpsm alone; triangulate, each joint by itself from all views; triangulate_robust, from
those views and peaks that agree.
Reads predicted_heatmaps.h5 of the run directory (run/pose2d/valid.py writes it).
Writes beside it poses3d.npz (poses3d_<method>.npz), results_3d.json and results_3d.csv (methods and settings side by
side), config_estimate.yaml (the merged configuration) and a log.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.pose3d.inference import estimate_and_print, estimate_parser
from lib.core.runtime.command_line import run_main
from lib.multiviews.pictorial.backend_numpy import NumpyBackend


def main() -> None:
    args = estimate_parser(__doc__).parse_args()
    estimate_and_print(args, "estimate", NumpyBackend)


if __name__ == "__main__":
    run_main(main)
