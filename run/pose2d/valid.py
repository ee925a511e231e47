"""Predict heatmaps of the validation set and count the joints that are found (JDR; on MPII also PCKh).

    python run/pose2d/valid.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml

Writes predicted_heatmaps.h5 and results_2d.json into the run directory.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse
import logging

from lib.core.cli import collect_opts, make_parser, run_main
from lib.core.config_io import dataset_root, load_config, weights_file
from lib.core.debug import DebugPictures
from lib.core.device import select_device
from lib.core.evaluate import jdr_summary
from lib.core.function import validate
from lib.core.run_setup import start_run
from lib.dataset.build import build_dataset, build_loader
from lib.models.build import build_model
from lib.models.weights import load_model
from lib.utils.checks import InputError
from lib.utils.files import write_json
from lib.utils.joints import UNION_20, union_subset
from lib.utils.prediction_io import PredictionWriter

logger = logging.getLogger("valid")


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "--frequent", "--gpus", "--workers", "--modelDir", "--logDir", "--dataDir",
                         "--data-format", "--state", "--model-file")  # fmt: skip
    parser.add_argument("--post-process", action="store_true", help="quarter-px shift of the peaks (TEST.POST_PROCESS)")
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored image; without fusion only")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    opts = collect_opts(args) + (["TEST.POST_PROCESS", "true"] if args.post_process else [])
    config = load_config(args.cfg, opts)
    if args.flip_test and config.NETWORK.AGGRE:
        raise InputError("--flip-test: the learned fusion maps pixels of one view to those of another and is wrong for "
                         "mirrored images; use it with NETWORK.AGGRE false")  # fmt: skip
    directory = start_run(config, args.cfg, "valid")
    device = select_device(config)

    dataset = build_dataset(config, dataset_root(config), is_train=False)
    loader = build_loader(config, dataset, is_train=False)
    model = build_model(config, dataset.num_views)
    path = weights_file(config, directory)
    load_model(model, path)
    logger.info("weights: %s; %d groups of %d views", path, len(dataset), dataset.num_views)

    names = [UNION_20.names[joint] for joint in union_subset(dataset.joint_set)]
    predictions = directory / config.TEST.HEATMAP_LOCATION_FILE
    flip_pairs = [(UNION_20.index(a), UNION_20.index(b)) for a, b in UNION_20.flip_pairs] if args.flip_test else None
    debug = DebugPictures(config, directory / "debug").hook("valid")
    with PredictionWriter(predictions, len(dataset) * dataset.num_views, names, config.NETWORK.HEATMAP_SIZE,
                          rows_per_chunk=dataset.num_views) as writer:  # fmt: skip
        result = validate(model.to(device), loader, config, device, writer, flip_pairs, debug)

    write_json(directory / "results_2d.json", {
        "dataset": config.DATASET.TEST_DATASET,
        "subset": config.DATASET.TEST_SUBSET,
        "num_images": result.num_images,
        "weights": str(path),
        "perf": result.perf,
        "jdr": jdr_summary(result.rates, result.joint_names),
        "pckh": result.pckh,
    })  # fmt: skip
    print(f"\n{result.tables()}\n")
    logger.info("%d images; mean JDR %.2f %%; heatmaps in %s", result.num_images, 100 * result.perf, predictions)


if __name__ == "__main__":
    run_main(main)
