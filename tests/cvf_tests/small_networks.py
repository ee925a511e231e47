"""Small networks (64 px crops, 16 px heatmaps, random weights) and the names of their tensors."""

from __future__ import annotations

from pathlib import Path

from easydict import EasyDict
from torch import Tensor, nn

from lib.core.config_io import load_config
from lib.models.registry import Backbone

SMALL = ["NETWORK.IMAGE_SIZE", "64", "NETWORK.HEATMAP_SIZE", "16", "NETWORK.PRETRAINED", "''"]


def small_config(folder: Path, backbone: str = "pose_resnet", *opts: str) -> EasyDict:
    """Write an experiment into a folder and load it, with ResNet-18 unless `opts` say otherwise."""
    path = folder / f"{backbone}.yaml"
    path.write_text(f"BACKBONE_MODEL: {backbone}\nMODEL: multiview_{backbone}\n")
    return load_config(path, [*SMALL, "POSE_RESNET.NUM_LAYERS", "18", *opts])


class TwoConvolutions(nn.Module):
    """A backbone with 800 weights: a training takes as long as the code around the network."""

    def __init__(self, num_joints: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=4, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.final_layer = nn.Conv2d(16, num_joints, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H_in, W_in) to (B, J, H_in / 4, W_in / 4)."""
        return self.final_layer(self.features(images))


TWO_CONVOLUTIONS = Backbone(lambda num_joints, settings: TwoConvolutions(num_joints))


DECONV_HEAD = {"final_layer.weight", "final_layer.bias"} | {
    f"deconv_layers.{layer}.{entry}"
    for deconv in (0, 3, 6)
    for layer, entry in [(deconv, "weight")]
    + [(deconv + 1, entry) for entry in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
}


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor in the state of a network."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}
