"""From the configuration to a network, through dictionaries of names."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from torch import nn

from lib.models.epipolar_fusion import AdaptiveFusion, EpipolarFusion
from lib.models.fusion import CrossViewFusion
from lib.models.fusion_kind import fusion_kind
from lib.models.initialize import initialize
from lib.models.multiview_pose import MultiViewPose
from lib.models.pose_hrnet import HRStage, PoseHRNet
from lib.models.pose_mobilenetv2 import PoseMobileNetV2
from lib.models.pose_resnet import PoseResNet
from lib.models.weights import load_pretrained
from lib.utils.errors import InputError, unknown_name

logger = logging.getLogger(__name__)


def _deconv_arguments(cfg: Any) -> dict[str, Any]:
    head = cfg.POSE_RESNET
    if not head.NUM_DECONV_LAYERS == len(head.NUM_DECONV_FILTERS) == len(head.NUM_DECONV_KERNELS):
        raise InputError(
            f"POSE_RESNET.NUM_DECONV_LAYERS is {head.NUM_DECONV_LAYERS}, but there are {len(head.NUM_DECONV_FILTERS)} "
            f"NUM_DECONV_FILTERS and {len(head.NUM_DECONV_KERNELS)} NUM_DECONV_KERNELS; make them equal"
        )
    return {
        "num_joints": cfg.NETWORK.NUM_JOINTS,
        "deconv_filters": head.NUM_DECONV_FILTERS,
        "deconv_kernels": head.NUM_DECONV_KERNELS,
        "deconv_with_bias": head.DECONV_WITH_BIAS,
        "final_kernel": head.FINAL_CONV_KERNEL,
    }


def _resnet(cfg: Any) -> PoseResNet:
    return PoseResNet(cfg.POSE_RESNET.NUM_LAYERS, **_deconv_arguments(cfg))


def _mobilenetv2(cfg: Any) -> PoseMobileNetV2:
    return PoseMobileNetV2(**_deconv_arguments(cfg))


def _hrnet(cfg: Any) -> PoseHRNet:
    extra = cfg.MODEL_EXTRA
    stages = []
    for name in ("STAGE2", "STAGE3", "STAGE4"):
        stage = extra[name]
        if not stage.NUM_BRANCHES == len(stage.NUM_CHANNELS) == len(stage.NUM_BLOCKS):
            raise InputError(
                f"MODEL_EXTRA.{name}.NUM_BRANCHES is {stage.NUM_BRANCHES}, but NUM_BLOCKS has {len(stage.NUM_BLOCKS)} "
                f"and NUM_CHANNELS {len(stage.NUM_CHANNELS)} entries; make them equal"
            )
        stages.append(HRStage(stage.NUM_MODULES, stage.NUM_BLOCKS, stage.NUM_CHANNELS, stage.BLOCK))
    return PoseHRNet(stages, cfg.NETWORK.NUM_JOINTS, extra.FINAL_CONV_KERNEL)


BACKBONES = {"pose_resnet": _resnet, "pose_mobilenetv2": _mobilenetv2, "pose_hrnet": _hrnet}
MODELS = {f"multiview_{backbone}": backbone for backbone in BACKBONES}  # one implementation serves all


def build_backbone(cfg: Any) -> nn.Module:
    """Build the single-view network named by BACKBONE_MODEL, weights not yet initialised as configured.

    Args:
        cfg: the configuration: BACKBONE_MODEL, NETWORK, POSE_RESNET, MODEL_EXTRA.

    Returns:
        Network (B, 3, H_in, W_in) -> (B, J, H, W).

    Raises:
        InputError: unknown backbone, or settings it cannot have.
    """
    if cfg.BACKBONE_MODEL not in BACKBONES:
        raise unknown_name("backbone", cfg.BACKBONE_MODEL, BACKBONES, "BACKBONE_MODEL")
    return BACKBONES[cfg.BACKBONE_MODEL](cfg)


def build_model(cfg: Any, num_views: int, is_train: bool = False, resumes: bool = False) -> MultiViewPose:
    """Build the multi-view network.

    Args:
        cfg: the configuration: MODEL, BACKBONE_MODEL, NETWORK, POSE_RESNET, MODEL_EXTRA, TRAIN, DATA_DIR.
        num_views: V of the data set; matters only with fusion.
        is_train: for training, from the weights of NETWORK.PRETRAINED unless that is ''.
        resumes: a checkpoint will be loaded, so those weights are not.

    Returns:
        The network on the CPU. Without fusion it has no such layer.

    Raises:
        InputError: unknown names, impossible settings, fewer than 2 views to fuse, heatmaps of another size than
            NETWORK.HEATMAP_SIZE, a weight file that is missing or does not fit, or a backbone to be frozen that would
            not come from the file whole.
    """
    if cfg.MODEL not in MODELS:
        raise unknown_name("model", cfg.MODEL, MODELS, "MODEL")
    heatmap_hw = _height_width(cfg.NETWORK.HEATMAP_SIZE)
    _check_heatmap_size(cfg, heatmap_hw)
    if MODELS[cfg.MODEL] != cfg.BACKBONE_MODEL:
        logger.warning("MODEL is %s, but the backbone is BACKBONE_MODEL %s", cfg.MODEL, cfg.BACKBONE_MODEL)
    backbone = build_backbone(cfg)
    initialize(backbone, cfg.NETWORK.INIT)
    fusion = build_fusion(cfg, num_views, heatmap_hw)
    frozen = is_train and cfg.TRAIN.FREEZE_BACKBONE
    if frozen and (fusion is None or not list(fusion.parameters())):
        raise InputError(f"TRAIN.FREEZE_BACKBONE: with NETWORK.FUSION {fusion_kind(cfg)} nothing is left to train")
    if is_train and not resumes:
        _start_from_pretrained(backbone, cfg)
    return MultiViewPose(backbone, fusion, is_train and cfg.TRAIN.CHECKPOINT_ACTIVATIONS, frozen)


def build_fusion(cfg: Any, num_views: int, heatmap_hw: tuple[int, int]) -> nn.Module | None:
    """Build the fusion layer; None where there is none.

    Raises:
        InputError: fewer than 2 views to fuse.
    """
    kind = fusion_kind(cfg)
    if kind == "none":
        return None
    if num_views < 2:
        raise InputError(
            f"NETWORK.FUSION {kind} needs at least 2 views, the data set has {num_views}; go without it: "
            "--opts NETWORK.FUSION none"
        )
    if kind == "learned":
        return CrossViewFusion(num_views, heatmap_hw, init=cfg.NETWORK.FUSION_INIT)
    return AdaptiveFusion() if kind == "adaptive" else EpipolarFusion(kind.removeprefix("epipolar_"))


def _start_from_pretrained(backbone: nn.Module, cfg: Any) -> None:
    if not cfg.NETWORK.PRETRAINED:
        if cfg.TRAIN.FREEZE_BACKBONE:
            raise InputError(
                "NETWORK.PRETRAINED is '', but TRAIN.FREEZE_BACKBONE does not train the backbone; name a "
                "trained pose network"
            )
        logger.info("NETWORK.PRETRAINED is '': fresh weights everywhere (NETWORK.INIT %s)", cfg.NETWORK.INIT)
        return
    path = os.path.join(cfg.DATA_DIR, cfg.NETWORK.PRETRAINED)
    if not os.path.isfile(path):
        raise InputError(
            f"NETWORK.PRETRAINED: no such file {path}; put the weights there, or start from fresh ones with "
            f"--opts NETWORK.PRETRAINED ''"
        )
    layers = cfg.MODEL_EXTRA.PRETRAINED_LAYERS if cfg.BACKBONE_MODEL == "pose_hrnet" else ["*"]
    load_pretrained(backbone, path, layers, whole=cfg.TRAIN.FREEZE_BACKBONE)


def _height_width(size_wh: int | list[int]) -> tuple[int, int]:
    width, height = (size_wh, size_wh) if isinstance(size_wh, int) else size_wh
    return int(height), int(width)


def _check_heatmap_size(cfg: Any, heatmap_hw: tuple[int, int]) -> None:
    """Run the backbone on the meta device, which computes shapes alone."""
    height, width = _height_width(cfg.NETWORK.IMAGE_SIZE)
    with torch.device("meta"), torch.no_grad():
        output = build_backbone(cfg).eval()(torch.empty(1, 3, height, width))
    if tuple(output.shape[-2:]) != heatmap_hw:
        raise InputError(
            f"NETWORK.HEATMAP_SIZE is {heatmap_hw[1]} x {heatmap_hw[0]} (width x height), but {cfg.BACKBONE_MODEL} "
            f"makes {output.shape[-1]} x {output.shape[-2]} from NETWORK.IMAGE_SIZE {width} x {height}; change either"
        )
