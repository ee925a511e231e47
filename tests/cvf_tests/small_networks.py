"""Small networks (64 px crops, 16 px heatmaps, random weights) and the names of their tensors."""

from __future__ import annotations

from pathlib import Path

from easydict import EasyDict
from torch import nn

from lib.core.config_io import load_config

SMALL = ["NETWORK.IMAGE_SIZE", "64", "NETWORK.HEATMAP_SIZE", "16", "NETWORK.PRETRAINED", "''"]


def small_config(folder: Path, backbone: str = "pose_resnet", *opts: str) -> EasyDict:
    """Write an experiment into a folder and load it, with ResNet-18 unless `opts` say otherwise."""
    path = folder / f"{backbone}.yaml"
    path.write_text(f"BACKBONE_MODEL: {backbone}\nMODEL: multiview_{backbone}\n")
    return load_config(path, [*SMALL, "POSE_RESNET.NUM_LAYERS", "18", *opts])


DECONV_HEAD = {"final_layer.weight", "final_layer.bias"} | {
    f"deconv_layers.{layer}.{entry}"
    for deconv in (0, 3, 6)
    for layer, entry in [(deconv, "weight")]
    + [(deconv + 1, entry) for entry in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
}


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor in the state of a network."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}
