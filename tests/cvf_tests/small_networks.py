"""Configurations of small networks: 64 px crops, 16 px heatmaps, random weights."""

from __future__ import annotations

from pathlib import Path

from easydict import EasyDict

from lib.core.config_io import load_config

SMALL = ["NETWORK.IMAGE_SIZE", "64", "NETWORK.HEATMAP_SIZE", "16", "NETWORK.PRETRAINED", "''"]


def small_config(folder: Path, backbone: str = "pose_resnet", *opts: str) -> EasyDict:
    """Write an experiment into a folder and load it, with ResNet-18 unless `opts` say otherwise."""
    path = folder / f"{backbone}.yaml"
    path.write_text(f"BACKBONE_MODEL: {backbone}\nMODEL: multiview_{backbone}\n")
    return load_config(path, [*SMALL, "POSE_RESNET.NUM_LAYERS", "18", *opts])
