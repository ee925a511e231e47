"""Write backbone and fusion as one ONNX file, and compare it with torch.

    python run/pose2d/export_onnx.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml
    python run/pose2d/export_onnx.py --cfg ... --checkpoint FILE --opts NETWORK.FUSION epipolar_max --views 6

Needs requirements-onnx.txt. Writes network.onnx into the directory of the evaluation. The weights are the ones that
run/pose2d/valid.py evaluates. See docs/export.md for inputs and outputs.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse

from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.onnx_export import check_onnx, export_onnx, require_onnx
from lib.core.run_directory import ONNX_NAME, TRAINING_CAMERAS_NAME, evaluation_directory, weights_file
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.dataset.camera_rigs import load_rigs
from lib.models.weights import load_model
from lib.utils.errors import InputError

DEFAULT_VIEWS = 4


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "--modelDir", "--dataDir", "--state", "--model-file")
    add = parser.add_argument
    add("--checkpoint", type=Path, metavar="FILE", help="weights (default: the weights that valid.py evaluates)")
    add("--out", type=Path, metavar="FILE", help=f"the file (default: {ONNX_NAME} in the evaluation's directory)")
    add("--views", type=int, metavar="V", help="views in the file (default: those of the training, or 4)")
    add("--batch", type=int, default=1, metavar="B", help="groups in the file")
    add("--threads", type=int, default=2, metavar="N", help="processor threads of the comparison")
    return parser.parse_args()


def num_views_of(args: argparse.Namespace, weights: Path) -> int:
    """Return --views, or the number of views of the training next to the weights, or DEFAULT_VIEWS."""
    if args.views is not None:
        return args.views
    rigs = weights.parent / TRAINING_CAMERAS_NAME
    return len(load_rigs(rigs)[0]) if rigs.is_file() else DEFAULT_VIEWS


def main() -> None:
    args = parse_args()
    require_onnx()
    for name in ("views", "batch", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name}: expected at least 1, received {value}")
    opts = [*collect_opts(args), *(["TEST.MODEL_FILE", str(args.checkpoint)] if args.checkpoint else [])]
    config = load_config(args.cfg, opts)
    directory = evaluation_directory(config, args.cfg)
    weights = weights_file(config, directory)
    num_views = num_views_of(args, weights)
    model = build_model(config, num_views)
    load_model(model, weights)
    model.eval()
    path = args.out or directory / ONNX_NAME
    export_onnx(model, config, path, num_views, args.batch)
    found = check_onnx(model, config, path, num_views, args.batch, args.threads)
    differences = ", ".join(f"{name} {value:.1e}" for name, value in found.difference.items())
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {num_views} views, batch {args.batch}; weights {weights}")
    print(f"largest difference from torch: {differences}")
    print(f"{args.threads} threads, shortest run: torch {found.torch_s:.2f} s, onnxruntime {found.onnx_s:.2f} s")


if __name__ == "__main__":
    run_main(main)
