"""Configuration -> network, by the names in lib/models/registry.py."""

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from lib.core.training.learning_check import unsuitable_initialization
from lib.models.initialize import initialize
from lib.models.multiview_pose import MultiViewPose
from lib.models.registry import BACKBONES, FUSIONS, fusion_name, model_names
from lib.models.weights import load_pretrained
from lib.utils.errors import InputError, naming_part, unknown_name

logger = logging.getLogger(__name__)


def build_model(config: Any, num_views: int, is_train: bool = False, resumes: bool = False) -> MultiViewPose:
    """Build the multi-view network on the CPU.

    Args:
        config: configuration: MODEL, BACKBONE_MODEL, NETWORK, the section of the backbone, DATA_DIR,
            TRAIN.FREEZE_BACKBONE and TRAIN.CHECKPOINT_ACTIVATIONS.
        num_views: number of views V of the data set; only fusions depend on it.
        is_train: build for training, from the weights of NETWORK.PRETRAINED.
        resumes: a checkpoint will be loaded, so skip NETWORK.PRETRAINED.

    Raises:
        InputError: unknown name, invalid settings, fewer than 2 views with fusion, wrong NETWORK.HEATMAP_SIZE, or a
            missing or unsuitable weight file.
    """
    name = config.BACKBONE_MODEL
    if config.MODEL not in model_names():
        raise unknown_name("model", config.MODEL, model_names(), "MODEL")
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES, "BACKBONE_MODEL")
    if f"multiview_{name}" != config.MODEL:
        logger.warning("MODEL is %s, but BACKBONE_MODEL is %s; using the backbone", config.MODEL, name)
    is_fixed = BACKBONES[name].is_fixed
    is_frozen = is_train and config.TRAIN.FREEZE_BACKBONE
    if is_train and is_fixed and not is_frozen:
        raise InputError(
            f"BACKBONE_MODEL {name}: its weights are fixed, it cannot be trained; choose another backbone, or train "
            "only a fusion with TRAIN.FREEZE_BACKBONE true"
        )
    network = config.NETWORK
    settings = config[BACKBONES[name].section]
    build_backbone = partial(BACKBONES[name].build, network.NUM_JOINTS, settings)
    with naming_part(f"backbone {name}"):
        if is_fixed:
            backbone = build_backbone()
            _check_output(name, backbone, network, torch.device("cpu"))
        else:
            _check_backbone(name, build_backbone, network)
            backbone = build_backbone()
            initialize(backbone, network.INIT)
    fusion = build_fusion(network, num_views)
    if is_frozen and (fusion is None or not list(fusion.parameters())):
        raise InputError(f"TRAIN.FREEZE_BACKBONE: with NETWORK.FUSION {fusion_name(network)} nothing is left to train")
    if is_train and not resumes and not is_fixed:
        path = os.path.join(config.DATA_DIR, network.PRETRAINED) if network.PRETRAINED else ""
        if not path:
            _warn_of_published_init(network)
        _load_initial_weights(backbone, path, settings.get("PRETRAINED_LAYERS", ["*"]), is_frozen)
    return MultiViewPose(backbone, fusion, is_train and config.TRAIN.CHECKPOINT_ACTIVATIONS, is_frozen)


def build_fusion(network: Any, num_views: int) -> nn.Module | None:
    """Build the fusion layer, None without fusion.

    Args:
        network: configuration section NETWORK.
        num_views: number of views V.

    Raises:
        InputError: fewer than 2 views.
    """
    name = fusion_name(network)
    build = FUSIONS[name].build
    if build is None:
        return None
    if num_views < 2:
        raise InputError(
            f"NETWORK.FUSION {name}: expected at least 2 views, received {num_views}; turn fusion off with "
            "--opts NETWORK.FUSION none"
        )
    width, height = network.HEATMAP_SIZE
    with naming_part(f"fusion {name}"):
        fusion = build(num_views, (height, width), network.FUSION_INIT)
    if not hasattr(fusion, "num_views"):
        raise InputError(f"fusion {name}: expected an attribute num_views (None = any number of views), received none")
    return fusion


def _warn_of_published_init(network: Any) -> None:
    """Warn if random weights are drawn as the original code does, which expects an ImageNet backbone."""
    unsuitable = unsuitable_initialization(network)
    if unsuitable:
        logger.warning(
            "NETWORK.PRETRAINED '': a network from random weights hardly learns with the published initialization; set "
            "%s",
            " ".join(unsuitable),
        )


def _load_initial_weights(backbone: nn.Module, path: str, layers: list[str], is_frozen: bool) -> None:
    if not path:
        if is_frozen:
            raise InputError(
                "NETWORK.PRETRAINED: expected a trained pose network, received ''; TRAIN.FREEZE_BACKBONE does not "
                "train the backbone"
            )
        logger.info("NETWORK.PRETRAINED is '': all weights are random (NETWORK.INIT)")
        return
    if not os.path.isfile(path):
        raise InputError(
            f"NETWORK.PRETRAINED: no such file {path}; put the weights there, or start from random weights with "
            "--opts NETWORK.PRETRAINED '' NETWORK.INIT kaiming NETWORK.FUSION_INIT zeros"
        )
    load_pretrained(backbone, path, layers, whole=is_frozen)


def _check_backbone(name: str, build_backbone: Callable[[], nn.Module], network: Any) -> None:
    """Check the output and the last layer of a backbone on the meta device."""
    with torch.device("meta"):
        backbone = build_backbone().eval()
    _check_output(name, backbone, network, torch.device("meta"))
    if not isinstance(getattr(backbone, "final_layer", None), nn.Conv2d):
        raise InputError(f"backbone {name}: expected its last convolution under the name final_layer, received none")


def _check_output(name: str, backbone: nn.Module, network: Any, device: torch.device) -> None:
    """Compare NETWORK.HEATMAP_SIZE and NUM_JOINTS with the output of the backbone."""
    width, height = network.IMAGE_SIZE
    with torch.no_grad():
        output = backbone(torch.zeros(2, 3, height, width, device=device))
    if output.ndim != 4 or output.shape[:2] != (2, network.NUM_JOINTS):
        raise InputError(
            f"backbone {name}: expected heatmaps (2, {network.NUM_JOINTS}, H, W) of 2 images, received "
            f"{tuple(output.shape)}"
        )
    made = list(output.shape[:-3:-1])
    if made != list(network.HEATMAP_SIZE):
        raise InputError(
            f"NETWORK.HEATMAP_SIZE: expected {made[0]} x {made[1]} (width x height), which {name} makes from "
            f"NETWORK.IMAGE_SIZE {width} x {height}, received {network.HEATMAP_SIZE[0]} x {network.HEATMAP_SIZE[1]}; "
            "change either"
        )
