"""Estimate 3D poses from predicted heatmaps on the CPU, with numba's kernels or numpy; needs no torch.

    python run/pose3d/estimate.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml

Methods (--method):
    rpsm                recursive pictorial structure model
    rpsm+refine         rpsm, then a fit of all joints with subpixel accuracy
    rpsm+learned        rpsm+refine, then the learned refinement (run/pose3d/train_refinement.py)
    psm                 pictorial structure model without recursion
    triangulate         triangulation of each joint from all views
    triangulate_robust  triangulation of each joint from the views and peaks that agree
Reads predicted_heatmaps.h5 (run/pose2d/valid.py) in the run directory. Writes there poses3d.npz or
poses3d_<method>.npz, results_3d.json and results_3d.csv (all methods and settings), config_estimate.yaml and a log.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.core.pose3d.inference import estimate_and_print, estimate_parser
from lib.core.runtime.command_line import run_main
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.utils.errors import InputError


def main() -> None:
    parser = estimate_parser(__doc__)
    parser.add_argument("--threads", type=int, metavar="N", help="threads; default: all usable processors")
    args = parser.parse_args()
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads: expected at least 1, received {args.threads}")
    estimate_and_print(args, "estimate", lambda: make_cpu_backend(args.threads))


if __name__ == "__main__":
    run_main(main)
