"""Predict the heatmaps of the validation set and compute detection rates (JDR; on MPII also PCKh).

    python run/pose2d/valid.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml

Writes predicted_heatmaps.h5 and results_2d.json into the run directory. An evaluation of another fusion, test set,
weights file or way to find peaks than the trained configuration's has a directory of its own in evaluations/; the 3D
scripts with the same --opts find it. Several GPUs (--gpus 0,1, or torchrun) share the work and write the same file.
With --locations-only the file has joint positions without heatmaps: enough for pseudo labels, not for 3D poses.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse
import logging
from contextlib import nullcontext
from typing import Any

from lib.core.build_data import build_dataset, build_loader
from lib.core.build_model import build_model
from lib.core.config_io import dataset_root, load_config
from lib.core.evaluation2d.provenance import prediction_provenance, warn_of_replacement
from lib.core.evaluation2d.results_2d import report_results_2d
from lib.core.evaluation2d.validate import validate
from lib.core.evaluation2d.validation_settings import ValidationSettings, stored_peaks
from lib.core.run_directory import DEBUG_FOLDER, evaluation_directory, log_disk_usage, start_run, weights_file
from lib.core.runtime.command_line import Refused, collect_opts, make_parser, run_main
from lib.core.runtime.device import num_processes, select_device
from lib.core.runtime.launch import run_processes
from lib.core.runtime.run_identity import check_evaluates_own_training, record_run
from lib.core.training.debug_images import DebugImages
from lib.dataset.multiview_dataset import MultiviewDataset
from lib.models.weights import load_model
from lib.utils.errors import InputError
from lib.utils.files.prediction_file import PredictionFile, PredictionWriter
from lib.utils.joints import UNION_20, union_subset
from lib.utils.parallel.distributed import process_group
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks, ranks_from_environment

logger = logging.getLogger("valid")


def parse_args() -> argparse.Namespace:
    flags = ("--frequent", "--gpus", "--workers", "--modelDir", "--dataDir", "--data-format", "--state", "--model-file")
    parser = make_parser(__doc__, *flags)
    parser.add_argument("--logDir", action=Refused, help="refused: validation writes nothing for TensorBoard; omit it")
    switches = {
        "--post-process": ("TEST.POST_PROCESS", "quarter-px shift of the peaks"),
        "--flip-test": ("TEST.FLIP_TEST", "average with the mirrored image; without fusion only"),
    }
    for flag, (key, text) in switches.items():
        parser.add_argument(flag, dest=f"key:{key}", action="store_const", const="true", help=f"{text} ({key})")
    less = parser.add_mutually_exclusive_group()
    less.add_argument("--no-heatmaps", action="store_true", help="compute detection rates without the HDF5 file")
    less.add_argument("--locations-only", action="store_true", help="write joint positions without heatmaps")
    return parser.parse_args()


def validate_run(args: argparse.Namespace, config: Any, ranks: Ranks) -> None:
    """Validate as one of `ranks.world_size` processes."""
    directory = start_run(config, args.cfg, "valid", ranks.is_main)
    device = select_device(config.GPUS, config.CUDNN, ranks)
    with process_group(ranks, device):
        dataset = build_dataset(config, dataset_root(config), is_train=False)
        loader = build_loader(config, dataset, False, ranks)
        model = build_model(config, dataset.num_views)
        weights = weights_file(config, directory)
        load_model(model, weights)
        logger.info("weights: %s; %s", weights, dataset.contents())

        predictions = directory / config.TEST.HEATMAP_LOCATION_FILE
        output = "nothing" if args.no_heatmaps else "locations" if args.locations_only else "heatmaps"
        is_writer = ranks.is_main and output != "nothing"
        if is_writer:
            warn_of_replacement(config, predictions)
        images = DebugImages(config.DEBUG, dataset.settings, directory / DEBUG_FOLDER)
        with open_writer(config, dataset, predictions, output, weights) if is_writer else nullcontext() as writer:
            result = validate(
                model.to(device),
                loader,
                ValidationSettings.from_config(config, output, with_peaks=output == "heatmaps"),
                device,
                writer,
                (lambda step, batch, _, routed: images.save("valid", step, batch, routed)) if ranks.is_main else None,
                ranks,
            )
    if result is not None:
        record_run(config, args.cfg, directory, "valid")
        report_results_2d(result, config, directory, weights)
        logger.info(
            "%d images; mean JDR %.2f %% (TEST.JDR_THRESHOLD %s; %.2f %% with the original code's)%s",
            result.num_images,
            100 * result.perf,
            result.jdr_threshold,
            100 * result.original_perf,
            "" if output == "nothing" else f"; {output} in {predictions}",
        )
        log_disk_usage(config, directory)


def open_writer(config: Any, dataset: MultiviewDataset, path: Path, output: str, weights: Path) -> PredictionWriter:
    """Open the prediction file for heatmaps and locations, or for locations only."""
    heatmap_wh = config.NETWORK.HEATMAP_SIZE if output == "heatmaps" else None
    names = [UNION_20.names[joint] for joint in union_subset(dataset.joint_set)]
    return PredictionWriter(
        path,
        len(dataset) * dataset.num_views,
        names,
        heatmap_wh,
        dataset.num_views,
        config.TEST.HEATMAP_COMPRESSION,
        config.TEST.HEATMAP_DTYPE,
        prediction_provenance(config, weights),
        stored_peaks(config) if output == "heatmaps" else None,
    )


def check_heatmaps_stay(path: Path) -> None:
    """Raise an InputError if a file without heatmaps would replace one with heatmaps, which the 3D scripts need."""
    try:
        with PredictionFile(path):
            pass
    except InputError:  # missing, or without heatmaps
        return
    raise InputError(
        f"{path}: has heatmaps, which the 3D scripts need and --locations-only would delete; remove it, or write to "
        "another file with --opts TEST.HEATMAP_LOCATION_FILE"
    )


def main() -> None:
    args = parse_args()
    config = load_config(args.cfg, collect_opts(args))
    ValidationSettings.from_config(config)  # refuses settings before processes start
    directory = evaluation_directory(config, args.cfg)
    check_evaluates_own_training(config, args.cfg, directory)
    if args.locations_only:
        check_heatmaps_stay(directory / config.TEST.HEATMAP_LOCATION_FILE)
    ranks = ranks_from_environment()
    count = num_processes(config.GPUS)
    if ranks is None and count > 1:
        sys.exit(run_processes(count, "validation stops; run it again"))
    validate_run(args, config, ranks or SINGLE_PROCESS)


if __name__ == "__main__":
    run_main(main, "to need less, use a smaller TEST.BATCH_SIZE")
