"""Train a heatmap network with cross-view fusion.

    python run/pose2d/train.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml
    python run/pose2d/train.py --cfg ... --dry-run                           # a few steps; memory, time, disk
    python run/pose2d/train.py --cfg ... --overfit 8                         # can the network learn 8 groups?
    python run/pose2d/train.py --cfg ... --gpus 0,1                          # one process per GPU of this machine
    torchrun --nproc-per-node 8 run/pose2d/train.py --cfg ...                # the same, also on several machines

Runs on CUDA if available, else on the CPU. SIGTERM and Ctrl-C end it after the current step with a checkpoint and exit
code 75; the same command with TRAIN.RESUME true continues. Curves: pip install tensorboard && tensorboard --logdir log
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse
import logging
from contextlib import nullcontext
from typing import Any

import torch

from lib.core.build_data import build_dataset, build_loader
from lib.core.build_model import build_model
from lib.core.config_io import dataset_root, load_config, plain_config
from lib.core.loss import LossSettings
from lib.core.run_directory import CHECKPOINT_NAME, TRAINING_CAMERAS_NAME, log_disk_usage, run_directory, start_run
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.core.runtime.device import (
    autocast_dtype,
    device_names,
    num_processes,
    prepare_model,
    select_device,
    uses_channels_last,
)
from lib.core.runtime.launch import run_processes
from lib.core.runtime.run_identity import (
    check_same_data,
    check_same_experiment,
    log_other_runs,
    record_run,
    warn_of_other_code,
)
from lib.core.training.checkpoint import Progress
from lib.core.training.epoch import EpochSettings
from lib.core.training.loop import Training, check_training
from lib.core.training.optimizer import build_optimizer
from lib.core.training.profiling import profile_steps
from lib.core.training.resume import checkpoint_to_resume, finish_if_complete, resume, resuming_command
from lib.core.training.step import TrainStep
from lib.core.training.trial import OVERFIT_STEPS, dry_run, overfit
from lib.dataset.camera_rigs import rigs_of, save_rigs
from lib.dataset.fingerprint import data_fingerprint
from lib.dataset.multiview_dataset import MultiviewDataset
from lib.utils.errors import InputError
from lib.utils.files.directory_lock import locked_directory
from lib.utils.parallel.distributed import process_group
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks, ranks_from_environment

logger = logging.getLogger("train")

LESS_MEMORY = (
    "to need less, use a smaller TRAIN.BATCH_SIZE (TEST.BATCH_SIZE in validation), TRAIN.ACCUMULATE, TRAIN.AMP bf16 or "
    "TRAIN.CHECKPOINT_ACTIVATIONS true; run/pose2d/memory.py estimates the effect"
)


def parse_args() -> argparse.Namespace:
    parser = make_parser(
        __doc__, "--frequent", "--gpus", "--workers", "--modelDir", "--logDir", "--dataDir", "--data-format"
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--resume", type=Path, metavar="FILE", help="resume from this checkpoint")
    other.add_argument(
        "--profile",
        type=int,
        default=0,
        metavar="N",
        help="only record N training steps into trace.json of the run directory",
    )
    other.add_argument(
        "--dry-run",
        action="store_true",
        help="only make a few steps and validation batches; print memory, times and the files of a training",
    )
    other.add_argument(
        "--overfit",
        type=int,
        metavar="N",
        help="only train on N groups until the loss is near 0; exit code 1 if it is not after --max-steps",
    )
    parser.add_argument(
        "--max-steps", type=int, metavar="N", help="end after N steps in all, with a checkpoint and a validation"
    )
    return parser.parse_args()


def is_in(directory: Path, checkpoint: Path) -> bool:
    """Return whether a checkpoint exists and is in a directory."""
    return checkpoint.is_file() and checkpoint.resolve().parent == directory.resolve()


def record_training_cameras(directory: Path, dataset: MultiviewDataset) -> None:
    """Write the rigs of the groups of views, if the data set has any, into the run directory."""
    for part in dataset.parts:
        if part.is_multiview:
            save_rigs(directory / TRAINING_CAMERAS_NAME, rigs_of(part.annotations, part.groups))


def train(args: argparse.Namespace, config: Any, ranks: Ranks) -> None:
    """Train as one of `ranks.world_size` processes."""
    is_trial = bool(args.dry_run or args.overfit is not None)
    if is_trial:
        directory = run_directory(config, args.cfg)
    else:
        directory = start_run(config, args.cfg, None if args.profile else "train", ranks.is_main)
        log_other_runs(config, args.cfg, directory)
    device = select_device(config.GPUS, config.CUDNN, ranks)
    torch.manual_seed(config.SEED)
    with process_group(ranks, device):
        root = dataset_root(config)
        train_set, test_set = build_dataset(config, root, True), build_dataset(config, root, False, held_out=True)
        loaders = build_loader(config, train_set, True, ranks), build_loader(config, test_set, False, ranks)
        logger.info("training: %s; validation: %s", train_set.contents(), test_set.contents())
        if ranks.world_size > 1:
            batch = config.TRAIN.BATCH_SIZE
            text = "%d processes: a step has %d groups, TRAIN.BATCH_SIZE %d per process"
            logger.info(text, ranks.world_size, ranks.world_size * batch, batch)
        is_new = bool(args.profile) or is_trial
        checkpoint = None if is_new else checkpoint_to_resume(args.resume, config.TRAIN.RESUME, directory)
        model = build_model(config, train_set.num_views, is_train=True, resumes=checkpoint is not None)
        check_training(config, model.fusion, test_set)
        logger.info(
            "network: %s on %s, %.1f M weights",
            config.MODEL,
            config.BACKBONE_MODEL,
            sum(p.numel() for p in model.parameters()) / 1e6,
        )
        step = TrainStep(
            prepare_model(model, config.TRAIN, device, ranks),
            build_optimizer(config.TRAIN, model),
            device,
            config.TRAIN.ACCUMULATE,
            LossSettings.from_config(config.LOSS),
            autocast_dtype(config.TRAIN.AMP, device),
            config.TRAIN.CLIP_NORM,
        )
        channels_last = uses_channels_last(config.TRAIN, device)
        settings = EpochSettings(train_set.settings, device, config.PRINT_FREQ, channels_last)
        if args.profile:
            profile_steps(args.profile, directory, step, loaders[0], settings, ranks)
            return
        if args.dry_run:
            dry_run(config, directory, step, loaders, settings, ranks)
            return
        if args.overfit is not None:
            overfit(args.overfit, args.max_steps or OVERFIT_STEPS, step, train_set, settings, config)
            return
        data = data_fingerprint(train_set)
        plain = plain_config(config)
        first = config.TRAIN.BEGIN_EPOCH
        if checkpoint is not None:
            progress = resume(checkpoint, config.MODEL, directory, model, step, loaders[0].batch_sampler, data, plain)
            warn_of_other_code(checkpoint.parent)
            if finish_if_complete(progress, config.TRAIN.END_EPOCH, directory, step.network, ranks.is_main):
                return
        elif first == config.TRAIN.END_EPOCH:
            logger.info("TRAIN.BEGIN_EPOCH and END_EPOCH are both %d: nothing to train, nothing written", first)
            return
        else:
            check_same_data(config, args.cfg, directory, data)
            progress = Progress(epoch=first, data=data, config=plain)
        if ranks.is_main:
            is_resumed = checkpoint is not None and is_in(directory, checkpoint)
            record_run(config, args.cfg, directory, "train", data, is_resumed)
            record_training_cameras(directory, train_set)
        Training(config, directory, model, step, loaders, progress, settings, ranks, args.max_steps).run()
        if ranks.is_main:
            log_disk_usage(config, directory)


def main() -> None:
    args = parse_args()
    config = load_config(args.cfg, collect_opts(args))
    ranks = ranks_from_environment()
    if args.overfit is not None:
        config.GPUS = device_names(config.GPUS)[0]
        if ranks is not None:
            raise InputError("--overfit: expected one process, received torchrun; run it without")
    if args.max_steps is not None and args.max_steps < 1:
        raise InputError(f"--max-steps: expected at least 1, received {args.max_steps}")
    count = num_processes(config.GPUS)
    if config.TRAIN.BEGIN_EPOCH > config.TRAIN.END_EPOCH:
        raise InputError(
            f"TRAIN.BEGIN_EPOCH: expected at most TRAIN.END_EPOCH {config.TRAIN.END_EPOCH}, received "
            f"{config.TRAIN.BEGIN_EPOCH}; change one of them"
        )
    if config.TRAIN.SYNC_BN and config.GPUS.startswith("cpu"):
        raise InputError(f"TRAIN.SYNC_BN true: expected GPUs, received GPUS {config.GPUS}; set it false")
    directory = run_directory(config, args.cfg)
    checkpoint = args.resume or (directory / CHECKPOINT_NAME if config.TRAIN.RESUME else None)
    is_training = not (args.profile or args.dry_run or args.overfit is not None)
    if is_training and config.TRAIN.BEGIN_EPOCH < config.TRAIN.END_EPOCH:
        resumes = checkpoint is not None and is_in(directory, checkpoint)
        check_same_experiment(config, args.cfg, directory, resumes)
    if ranks is None and count > 1:
        again = resuming_command(config.TRAIN.RESUME)
        sys.exit(run_processes(count, f"training stops; {again} to resume from the last checkpoint"))
    ranks = ranks or SINGLE_PROCESS
    remedy = "train under another NAME (--opts NAME ...)"
    with locked_directory(directory, remedy) if ranks.is_main and is_training else nullcontext():
        train(args, config, ranks)


if __name__ == "__main__":
    run_main(main, LESS_MEMORY)
