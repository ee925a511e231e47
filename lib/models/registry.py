"""Backbones and fusions by name. Imports no torch; the builders do.

To add a backbone: `BACKBONES["name"] = Backbone(build)`. To add a fusion: `FUSIONS["name"] = Fusion(build)`.
The choices of BACKBONE_MODEL, MODEL and NETWORK.FUSION follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib.utils.errors import InputError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Backbone:
    """A single-view heatmap network.

    Attributes:
        build: (number of joints J, configuration section) -> module (B, 3, H_in, W_in) -> (B, J, H, W), whose last
            convolution is named `final_layer`.
        section: configuration section that is passed to `build`.
        is_fixed: the weights are fixed and read by `build`, so the backbone cannot be trained. It needs no
            `final_layer`, and checkpoints do not hold it.
    """

    build: Callable[[int, Any], nn.Module]
    section: str = "POSE_RESNET"
    is_fixed: bool = False


@dataclass(frozen=True)
class Fusion:
    """A fusion of heatmaps across views.

    Attributes:
        build: (number of views V, heatmap (H, W), NETWORK.FUSION_INIT) -> module (heatmaps (B, V, J, H, W), CropCameras
            with leading axes (B, V)) -> (B, V, J, H, W), with an attribute `num_views`, None = any number of views.
            None = no fusion.
        fixed_rig: the weights are for one rig and fixed crops.
        has_weights: it must be trained.
    """

    build: Callable[[int, tuple[int, int], str], nn.Module] | None
    fixed_rig: bool = False
    has_weights: bool = False


def fusion_name(network: Any) -> str:
    """Return the fusion that section NETWORK selects: FUSION or, if it is empty, AGGRE."""
    return network.FUSION or ("learned" if network.AGGRE else "none")


def needs_checkpoint(backbone: str, fusion: str) -> bool:
    """Return whether a network has weights to train, in the fusion or in a backbone that is not fixed."""
    return not BACKBONES[backbone].is_fixed or FUSIONS[fusion].has_weights


def model_names() -> list[str]:
    """Return the values of MODEL: one multi-view network per backbone."""
    return [f"multiview_{name}" for name in BACKBONES]


def _resnet(num_joints: int, settings: Any) -> nn.Module:
    from lib.models.pose_resnet import PoseResNet

    return PoseResNet(settings.NUM_LAYERS, num_joints, **_head_arguments(settings))


def _mobilenetv2(num_joints: int, settings: Any) -> nn.Module:
    from lib.models.pose_mobilenetv2 import PoseMobileNetV2

    return PoseMobileNetV2(num_joints, **_head_arguments(settings))


def _head_arguments(settings: Any) -> dict[str, Any]:
    filters = settings.NUM_DECONV_FILTERS
    kernels = settings.NUM_DECONV_KERNELS
    if not settings.NUM_DECONV_LAYERS == len(filters) == len(kernels):
        raise InputError(
            f"POSE_RESNET.NUM_DECONV_LAYERS is {settings.NUM_DECONV_LAYERS}, but there are {len(filters)} "
            f"NUM_DECONV_FILTERS and {len(kernels)} NUM_DECONV_KERNELS; make them equal"
        )
    return {
        "deconv_filters": filters,
        "deconv_kernels": kernels,
        "deconv_with_bias": settings.DECONV_WITH_BIAS,
        "final_kernel": settings.FINAL_CONV_KERNEL,
    }


def _hrnet(num_joints: int, settings: Any) -> nn.Module:
    from lib.models.pose_hrnet import HRStage, PoseHRNet

    stages = []
    for name in ("STAGE2", "STAGE3", "STAGE4"):
        stage = settings[name]
        if not stage.NUM_BRANCHES == len(stage.NUM_CHANNELS) == len(stage.NUM_BLOCKS):
            raise InputError(
                f"MODEL_EXTRA.{name}.NUM_BRANCHES is {stage.NUM_BRANCHES}, but NUM_BLOCKS has {len(stage.NUM_BLOCKS)} "
                f"and NUM_CHANNELS {len(stage.NUM_CHANNELS)} entries; make them equal"
            )
        stages.append(HRStage(stage.NUM_MODULES, stage.NUM_BLOCKS, stage.NUM_CHANNELS, stage.BLOCK))
    return PoseHRNet(stages, num_joints, settings.FINAL_CONV_KERNEL)


def _blazepose(num_joints: int, settings: Any) -> nn.Module:
    from lib.models.pose_blazepose import build_blazepose

    return build_blazepose(settings.FILE, num_joints)


def _learned(num_views: int, heatmap_hw: tuple[int, int], init: str) -> nn.Module:
    from lib.models.fusion import CrossViewFusion

    return CrossViewFusion(num_views, heatmap_hw, init=init)


def _epipolar(reduction: str) -> nn.Module:
    from lib.models.epipolar_fusion import EpipolarFusion

    return EpipolarFusion(reduction)


def _adaptive(num_views: int, heatmap_hw: tuple[int, int], init: str) -> nn.Module:
    from lib.models.epipolar_fusion import AdaptiveFusion

    return AdaptiveFusion()


BACKBONES = {
    "pose_resnet": Backbone(_resnet),
    "pose_mobilenetv2": Backbone(_mobilenetv2),
    "pose_hrnet": Backbone(_hrnet, section="MODEL_EXTRA"),
    "blazepose": Backbone(_blazepose, section="BLAZEPOSE", is_fixed=True),
}
FUSIONS = {
    "learned": Fusion(_learned, fixed_rig=True, has_weights=True),
    "epipolar_sum": Fusion(lambda *_: _epipolar("sum")),
    "epipolar_max": Fusion(lambda *_: _epipolar("max")),
    "adaptive": Fusion(_adaptive, has_weights=True),
    "none": Fusion(None),
}
