"""Estimate 3D poses from predicted heatmaps or from images with torch, on CUDA if available.

    python run/pose3d/estimate_cuda.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml
    python run/pose3d/estimate_cuda.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml --from-images

Methods (--method) and poses are the same as in run/pose3d/estimate.py. Peaks are found on the
device; the triangulations run on the CPU.
Reads predicted_heatmaps.h5 (run/pose2d/valid.py) in the run directory. Writes there poses3d_torch.npz or
poses3d_<method>_torch.npz, results_3d.json and results_3d.csv (all methods and settings), config_estimate_cuda.yaml
and a log. With --from-images the network runs on the test images first, batch by batch, as in run/pose2d/valid.py:
no heatmaps are stored, and results_2d.json is written too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import logging

import torch

from lib.core.pose3d.frames import stored_frames
from lib.core.pose3d.from_images import predicted_frames
from lib.core.pose3d.inference import estimate_and_print, estimate_parser
from lib.core.runtime.command_line import run_main
from lib.multiviews.pictorial.backend_torch import TorchBackend
from lib.utils.errors import InputError

logger = logging.getLogger("estimate")


def make_backend(device: str | None) -> TorchBackend:
    """Return the backend for a device; None = CUDA if available, else the CPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device: expected a machine with CUDA, but torch finds none; use --device cpu")
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    detail = torch.cuda.get_device_name() if chosen == "cuda" else f"{torch.get_num_threads()} threads"
    reason = "" if device or chosen == "cuda" else ", no CUDA"
    logger.info("device: %s (%s%s)", chosen, detail, reason)
    return TorchBackend(chosen)


def main() -> None:
    parser = estimate_parser(__doc__, "--gpus", "--workers", "--data-format")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda if available, else cpu")
    parser.add_argument(
        "--from-images", action="store_true", help="predict the heatmaps instead of reading predicted_heatmaps.h5"
    )
    args = parser.parse_args()
    source = predicted_frames if args.from_images else stored_frames
    estimate_and_print(args, "estimate_cuda", lambda: make_backend(args.device), source)


if __name__ == "__main__":
    run_main(main)
