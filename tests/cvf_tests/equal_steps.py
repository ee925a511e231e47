"""Train some steps with batch norm in evaluation mode, in one process or as a process of torchrun.

    python tests/cvf_tests/equal_steps.py CFG OUT

Rank 0 stores the losses and the weights, to compare runs with different numbers of processes.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lib.core.build_data import build_dataset, build_loader
from lib.core.build_model import build_model
from lib.core.config_io import dataset_root, load_config
from lib.core.training.epoch import EpochHooks, EpochMeters, EpochSettings, train_one_epoch
from lib.core.training.optimizer import build_optimizer
from lib.core.training.step import TrainStep
from lib.multiviews.cameras import CropCameras
from lib.utils.parallel.distributed import process_group
from lib.utils.parallel.ranks import SINGLE_PROCESS, ranks_from_environment


class Frozen(nn.Module):
    """A model whose batch norm stays in evaluation mode."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = False
        return self

    def forward(self, images: torch.Tensor, views: CropCameras) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self.model(images, views)


def main(cfg: str, out: str) -> None:
    torch.set_num_threads(1)
    config = load_config(cfg)
    ranks = ranks_from_environment() or SINGLE_PROCESS
    device = torch.device("cpu")
    config.TRAIN.BATCH_SIZE //= ranks.world_size
    torch.manual_seed(0)
    with process_group(ranks, device):
        loader = build_loader(config, build_dataset(config, dataset_root(config), True), True, ranks)
        model = Frozen(build_model(config, 4, is_train=True))
        optimizer = build_optimizer(config.TRAIN, model)
        wrapped = model if ranks.world_size == 1 else DistributedDataParallel(model, gradient_as_bucket_view=True)
        step = TrainStep(wrapped, optimizer, device)
        settings = EpochSettings(loader.dataset.settings, device, config.PRINT_FREQ)
        losses = []
        hooks = EpochHooks(report=lambda step, values, batch, result: losses.append(values))
        for epoch in range(2):
            meters = EpochMeters(20, device)
            losses.append(train_one_epoch(step, loader, meters, settings, epoch, hooks, 0, ranks))
    if ranks.is_main:
        torch.save({"losses": losses, "weights": model.model.state_dict()}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
