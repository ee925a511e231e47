"""Train a heatmap network with cross-view fusion.

    python run/pose2d/train.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml

Runs on CUDA where there is one, else on the CPU. TensorBoard: tensorboard --logdir log
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import logging

import torch
from tensorboardX import SummaryWriter

from lib.core.cli import collect_opts, make_parser, run_main
from lib.core.config_io import dataset_root, load_config
from lib.core.debug import DebugPictures
from lib.core.device import autocast_dtype, select_device
from lib.core.function import train_one_epoch, validate
from lib.core.run_setup import start_run
from lib.core.solver import build_optimizer, learning_rate, set_learning_rate
from lib.core.training_state import Progress, load_training_state, save_training_state
from lib.dataset.build import build_dataset, build_loader
from lib.models.build import build_model
from lib.utils.checkpoint import save_checkpoint
from lib.utils.curves import save_curves

logger = logging.getLogger("train")

CURVES = ("epoch", "loss", "accuracy", "jdr")


def main() -> None:
    parser = make_parser(__doc__, "--frequent", "--gpus", "--workers", "--modelDir", "--logDir", "--dataDir",
                         "--data-format")  # fmt: skip
    args = parser.parse_args()
    config = load_config(args.cfg, collect_opts(args))
    directory = start_run(config, args.cfg, "train")
    device = select_device(config)
    torch.manual_seed(config.SEED)

    root = dataset_root(config)
    train_set = build_dataset(config, root, is_train=True)
    test_set = build_dataset(config, root, is_train=False)
    train_loader, test_loader = build_loader(config, train_set, True), build_loader(config, test_set, False)
    logger.info("training: %d groups of %d views; validation: %d of %d",
                len(train_set), train_set.num_views, len(test_set), test_set.num_views)  # fmt: skip

    model = build_model(config, train_set.num_views, is_train=True).to(device)
    logger.info("network: %s on %s, %.1f M weights", config.MODEL, config.BACKBONE_MODEL,
                sum(p.numel() for p in model.parameters()) / 1e6)  # fmt: skip
    optimizer = build_optimizer(config, model)
    checkpoint = directory / "checkpoint.pth.tar"
    progress = Progress(epoch=config.TRAIN.BEGIN_EPOCH)
    if config.TRAIN.RESUME and checkpoint.is_file():
        progress = load_training_state(checkpoint, config.MODEL, model, optimizer)
        logger.info("resumed from %s at epoch %d, best score %.4f", checkpoint, progress.epoch, progress.best_perf)
    elif config.TRAIN.RESUME:
        logger.info("TRAIN.RESUME: there is no %s; training starts from the beginning", checkpoint)

    products = autocast_dtype(config, device)
    debug = DebugPictures(config, directory / "debug")
    with SummaryWriter(str(Path(config.LOG_DIR) / directory.relative_to(config.OUTPUT_DIR))) as board:
        for epoch in range(progress.epoch, config.TRAIN.END_EPOCH):
            set_learning_rate(optimizer, learning_rate(config, epoch))
            row = {"epoch": epoch, "learning_rate": learning_rate(config, epoch)}
            row |= train_one_epoch(model, train_loader, optimizer, config, epoch, device,
                                   debug.hook(f"train_{epoch:03d}"), board.add_scalar, products)  # fmt: skip
            last = epoch + 1 == config.TRAIN.END_EPOCH
            if last or (epoch + 1) % config.TRAIN.VALIDATE_EVERY == 0:
                result = validate(model, test_loader, config, device, debug=debug.hook(f"valid_{epoch:03d}"))
                logger.info("epoch %d, validation on %d images:\n%s", epoch, result.num_images, result.tables())
                row["jdr"] = progress.perf = result.perf
            for name, value in row.items():
                board.add_scalar(f"epoch/{name}", value, epoch)
            progress.history.append(row)
            progress.epoch = epoch + 1
            if row.get("jdr", -1.0) > progress.best_perf:
                progress.best_perf = row["jdr"]
                save_checkpoint(model.state_dict(), directory / "model_best.pth.tar")
                logger.info("epoch %d: best score so far, %.4f", epoch, progress.best_perf)
            save_training_state(checkpoint, config.MODEL, model, optimizer, progress)
            curves = [{key: row[key] for key in CURVES if key in row} for row in progress.history]
            save_curves(directory / "training_curves.png", curves, title=args.cfg)

    save_checkpoint(model.state_dict(), directory / "final_state.pth.tar")
    logger.info("done: best score %.4f; weights in %s", progress.best_perf, directory)


if __name__ == "__main__":
    run_main(main)
