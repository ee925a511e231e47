"""Train a heatmap network with cross-view fusion.

    python run/pose2d/train.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml
    python run/pose2d/train.py --cfg ... --gpus 0,1                          # a process per GPU of this machine
    torchrun --nproc-per-node 8 run/pose2d/train.py --cfg ...                # the same; several machines too

Runs on CUDA where there is one, else on the CPU. SIGTERM and Ctrl-C end it after the step, with a checkpoint and exit
code 75; the same command with TRAIN.RESUME true goes on there. TensorBoard: tensorboard --logdir log
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse
import logging
from typing import Any

import torch
from torch import nn

from lib.core.checkpoints import NAME
from lib.core.cli import collect_opts, make_parser, run_main
from lib.core.config_io import BEST_NAME, dataset_root, load_config
from lib.core.device import autocast_dtype, num_processes, prepare_model, select_device
from lib.core.launch import run_processes
from lib.core.profile import StepProfiler
from lib.core.run_setup import start_run
from lib.core.solver import build_optimizer
from lib.core.train_step import TrainStep
from lib.core.training import Training
from lib.core.training_state import Progress, load_training_state
from lib.dataset.build import build_dataset, build_loader
from lib.models.build import build_model
from lib.utils.checks import InputError
from lib.utils.distributed import process_group
from lib.utils.ranks import SINGLE, Ranks, ranks_of_environment

logger = logging.getLogger("train")

LESS_MEMORY = ("a smaller TRAIN.BATCH_SIZE (TEST.BATCH_SIZE in validation), TRAIN.ACCUMULATE, TRAIN.AMP bf16 and "
               "TRAIN.CHECKPOINT_ACTIVATIONS true need less; run/pose2d/memory.py tells how much")  # fmt: skip


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "--frequent", "--gpus", "--workers", "--modelDir", "--logDir", "--dataDir",
                         "--data-format")  # fmt: skip
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on from this checkpoint")
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="record N steps into trace.json")
    return parser.parse_args()


def checkpoint_to_resume(args: argparse.Namespace, config: Any, directory: Path) -> Path | None:
    """Return the checkpoint that --resume or TRAIN.RESUME names, if there is one."""
    path = args.resume or directory / NAME
    if args.resume or (config.TRAIN.RESUME and path.is_file()):
        return path
    if config.TRAIN.RESUME:
        logger.info("TRAIN.RESUME: there is no %s; training starts from the beginning", path)
    return None


def resume(path: Path, config: Any, directory: Path, model: nn.Module, step: TrainStep) -> Progress:
    """Load a checkpoint; its best score counts only where the weights that reached it are."""
    progress = load_training_state(path, config.MODEL, model, step.optimizer, step.scaler)
    logger.info("resumed from %s at epoch %d, step %d; best score %.4f", path, progress.epoch, progress.step,
                progress.best_perf)  # fmt: skip
    if progress.best_perf >= 0 and not (directory / BEST_NAME).is_file():
        logger.info("the weights of that score are not in %s; the best of what follows will be", directory)
        progress.best_perf = -1.0
    return progress


def train(args: argparse.Namespace, config: Any, ranks: Ranks) -> None:
    """Train as one of `ranks.world_size` processes."""
    directory = start_run(config, args.cfg, "train", ranks.is_main)
    device = select_device(config, ranks)
    torch.manual_seed(config.SEED)
    with process_group(ranks, device):
        root = dataset_root(config)
        train_set, test_set = (build_dataset(config, root, is_train) for is_train in (True, False))
        loaders = build_loader(config, train_set, True, ranks), build_loader(config, test_set, False, ranks)
        logger.info("training: %d groups of %d views; validation: %d of %d",
                    len(train_set), train_set.num_views, len(test_set), test_set.num_views)  # fmt: skip
        checkpoint = checkpoint_to_resume(args, config, directory)
        model = build_model(config, train_set.num_views, is_train=True, resumes=checkpoint is not None)
        logger.info("network: %s on %s, %.1f M weights", config.MODEL, config.BACKBONE_MODEL,
                    sum(p.numel() for p in model.parameters()) / 1e6)  # fmt: skip
        wrapped = prepare_model(model, config, device, ranks)
        optimizer = build_optimizer(config, model)
        step = TrainStep(wrapped, optimizer, config, device, autocast_dtype(config, device))
        progress = Progress(epoch=config.TRAIN.BEGIN_EPOCH)
        if checkpoint is not None:
            progress = resume(checkpoint, config, directory, model, step)
        profiler = StepProfiler(args.profile if ranks.is_main else 0, directory, device)
        try:
            Training(config, directory, model, step, loaders, progress, device, ranks, profiler).run()
        finally:
            profiler.stop()


def main() -> None:
    args = parse_args()
    config = load_config(args.cfg, collect_opts(args))
    ranks = ranks_of_environment()
    count = num_processes(config)
    if config.TRAIN.SYNC_BN and config.GPUS.startswith("cpu"):
        raise InputError("TRAIN.SYNC_BN: torch synchronises batch norm on GPUs alone; set it false for GPUS cpu")
    if ranks is None and count > 1:
        sys.exit(run_processes(count, "training stops. TRAIN.RESUME true goes on from the last checkpoint"))
    train(args, config, ranks or SINGLE)


if __name__ == "__main__":
    run_main(main, LESS_MEMORY)
