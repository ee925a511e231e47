"""Weights from files: ImageNet weights for a backbone, checkpoints (ours and published) for a whole network."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lib.models.fusion import CrossViewFusion
from lib.models.multiview_pose import MultiViewPose
from lib.models.weight_names import PUBLISHED_FUSION, is_fusion, state_tensors, to_backbone_names, to_model_names
from lib.utils.errors import InputError, unknown_name
from lib.utils.files.torch_file import load_checkpoint

logger = logging.getLogger(__name__)

HEAD_LAYERS = ("deconv_layers", "final_layer")  # not in ImageNet files; fresh if they are absent or do not fit


@dataclass(frozen=True)
class LoadReport:
    """What a file gave to a network; names are the network's own.

    Attributes:
        loaded: tensors taken from the file.
        missing: tensors of the network that the file lacks.
        unexpected: tensors of the file that the network lacks.
        mismatched: (name, shape in the network, shape in the file).
    """

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        fresh = _layers([*self.missing, *(name for name, _, _ in self.mismatched)])
        if fresh:
            parts.append(f"not in the file or of another shape: {fresh}")
        if self.unexpected:
            parts.append(f"not used: {_layers(self.unexpected)}")
        return "; ".join(parts)


def load_pretrained(
    backbone: nn.Module, path: str | os.PathLike, layers: Sequence[str] = ("*",), whole: bool = False
) -> LoadReport:
    """Start a backbone from ImageNet weights, from a single-view pose network or from a multi-view checkpoint.

    The head may be absent from the file or have other shapes; it then keeps its values, unless `whole`. Fusion weights
    are not read.

    Args:
        backbone: a pose network.
        path: torchvision's or the flat MobileNetV2 names, torchvision's ResNet or the official HRNet ones, or a
            checkpoint of this project or of the released code.
        layers: top-level layers to load from a file without this network's head (HRNet's PRETRAINED_LAYERS); "*" first
            means all. A file with the head is a pose network and is loaded in full.
        whole: the head must be in the file too: the backbone will not be trained.

    Returns:
        The report, which is also logged in one line.

    Raises:
        InputError: missing or damaged file, unknown layer, nothing fits, the file holds another backbone, or another
            head or none where `whole` wants this one.
    """
    _check_layers(backbone, layers)
    wanted = backbone.state_dict()
    state = to_backbone_names(state_tensors(load_checkpoint(path), str(path)))
    if not (whole or _has_head(wanted, state)):
        wanted, state = _select_layers(wanted, layers), _select_layers(state, layers)
    report = compare(wanted, state)
    leftovers = tuple(getattr(backbone, "imagenet_leftovers", ()))
    _check_fit(report, str(path), type(backbone).__name__, state, optional=HEAD_LAYERS, leftovers=leftovers)
    if whole:
        _check_head(report, str(path))
    _copy(wanted, state, report)
    logger.info("%s: %s", path, report)
    return report


def load_model(model: MultiViewPose, path: str | os.PathLike) -> LoadReport:
    """Load a checkpoint or plain state dict, with our names or those of the released code, into a whole network.

    Args:
        model: the network; every one of its tensors must be in the file.
        path: checkpoint.pth.tar, model_best.pth.tar or final_state.pth.tar.

    Returns:
        The report, which is also logged in one line.

    Raises:
        InputError: missing or damaged file, nothing fits, another backbone, or fusion for another rig or map size.
    """
    return load_model_state(model, load_checkpoint(path), str(path))


def load_model_state(model: MultiViewPose, content: Any, source: str) -> LoadReport:
    """Load what a file held into a whole network; see `load_model`.

    Args:
        model: the network.
        content: a state dict with our names or published ones, or a dict that holds one as `state_dict`.
        source: name of the file in messages.
    """
    state = to_model_names(state_tensors(content, source))
    wanted = model.state_dict()  # shares memory with the parameters
    if not any(is_fusion(name) for name in wanted):  # no fusion, or one without weights
        dropped = [name for name in state if is_fusion(name)]
        if dropped:
            logger.info("%s: fusion weights left out, because the configuration asks for none", source)
        state = {name: value for name, value in state.items() if not is_fusion(name)}
    elif any(name.startswith("backbone.") for name in state):  # else nothing fits, which is reported as such
        _check_fusion(model, state, source)
        if "fusion.weight" in wanted and "fusion.weight" not in state:
            matrices = wanted.pop("fusion.weight").flatten(0, 1)  # views: 0.8 GB at 64 x 64 are not copied
            wanted.update({f"{PUBLISHED_FUSION}{n}.weight": matrix for n, matrix in enumerate(matrices)})
    report = compare(wanted, state)
    _check_fit(report, source, type(model.backbone).__name__, state)
    _copy(wanted, state, report)
    logger.info("%s: %s", source, report)
    return report


def compare(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> LoadReport:
    """Compare names and shapes of a network with those of a file.

    Counters of batch norms (`num_batches_tracked`) have no effect here and may be missing: old files lack them.
    """
    present = [name for name in wanted if name in state]
    return LoadReport(
        loaded=[name for name in present if wanted[name].shape == state[name].shape],
        missing=[name for name in wanted if name not in state and not name.endswith("num_batches_tracked")],
        unexpected=[name for name in state if name not in wanted],
        mismatched=[
            (name, tuple(wanted[name].shape), tuple(state[name].shape))
            for name in present
            if wanted[name].shape != state[name].shape
        ],
    )


def _check_layers(backbone: nn.Module, layers: Sequence[str]) -> None:
    if not layers:
        raise InputError("MODEL_EXTRA.PRETRAINED_LAYERS is empty; name layers, or '*' for all")
    known = [name for name, _ in backbone.named_children()]
    for layer in layers if layers[0] != "*" else ():
        if layer not in known:
            raise unknown_name("layer", layer, known, "MODEL_EXTRA.PRETRAINED_LAYERS")


def _select_layers(state: Mapping[str, Tensor], layers: Sequence[str]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if layers[0] == "*" or name.split(".")[0] in layers}


def _has_head(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    report = compare({name: value for name, value in wanted.items() if name.startswith(HEAD_LAYERS)}, state)
    return not (report.missing or report.mismatched)


def _check_head(report: LoadReport, source: str) -> None:
    """Refuse a file whose head is absent or another one, beside a trunk that fits."""
    names = [*report.missing, *(name for name, _, _ in report.mismatched), *report.unexpected]
    differing = [name for name in names if name.startswith(HEAD_LAYERS)]
    if differing:
        raise InputError(
            f"{source}: {_layers(differing)} are absent or of another network, but TRAIN.FREEZE_BACKBONE "
            "does not train them; set NETWORK.PRETRAINED to a trained pose network"
        )


@torch.no_grad()
def _copy(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], report: LoadReport) -> None:
    for name in report.loaded:
        wanted[name].copy_(state[name])


def _layers(names: Sequence[str]) -> str:
    """Shorten tensor names to their first part, each once."""
    return ", ".join(dict.fromkeys(name.removeprefix("backbone.").split(".")[0] for name in names))


def _check_fit(
    report: LoadReport,
    source: str,
    network: str,
    state: Mapping[str, Tensor],
    optional: tuple[str, ...] = (),
    leftovers: tuple[str, ...] = (),
) -> None:
    """Refuse a file that holds another network.

    Args:
        report: comparison of the network with the file.
        source: the file.
        network: name of the network.
        state: the weights of the file.
        optional: layers that may be missing or have other shapes.
        leftovers: beginnings of names that the file may have in excess.
    """
    if not report.loaded:
        first = next(iter(state), None)
        raise InputError(f"{source}: no tensor fits {network}; the first name in the file is '{first}'")
    problems = [
        f"'{name}' expected shape {expected}, received {received}"
        for name, expected, received in report.mismatched
        if not name.startswith(optional)
    ]
    problems += [f"'{name}' is missing" for name in report.missing if not name.startswith(optional)]
    problems += [
        f"'{name}' is not part of it" for name in report.unexpected if not name.startswith(optional + leftovers)
    ]
    if problems:
        raise InputError(
            f"{source}: holds another network than {network}: {problems[0]} ({len(problems)} differences in all); "
            f"check BACKBONE_MODEL, POSE_RESNET, MODEL_EXTRA, NETWORK.NUM_JOINTS and NETWORK.FUSION"
        )


def _check_fusion(model: MultiViewPose, state: Mapping[str, Tensor], source: str) -> None:
    """Compare the fusion of a file with the model's; matrices in terms of views and pixels."""
    names = [name for name in state if is_fusion(name)]
    if not names:
        raise InputError(
            f"{source}: has no fusion weights; set NETWORK.FUSION none, or train a fusion from it with "
            "NETWORK.PRETRAINED"
        )
    has_matrices = any(name == "fusion.weight" or name.startswith(PUBLISHED_FUSION) for name in names)
    if has_matrices != isinstance(model.fusion, CrossViewFusion):
        received = "the matrices of NETWORK.FUSION learned" if has_matrices else f"'{names[0]}'"
        raise InputError(
            f"{source}: expected weights of {type(model.fusion).__name__}, received {received}; set NETWORK.FUSION "
            "as it was in the training"
        )
    if not has_matrices:
        return
    expected = tuple(model.fusion.weight.shape)
    if "fusion.weight" in state:
        received = tuple(state["fusion.weight"].shape)
    else:
        matrices = [value for name, value in state.items() if name.startswith(PUBLISHED_FUSION)]
        num_views = (1 + math.isqrt(1 + 4 * len(matrices))) // 2  # from V (V - 1) matrices
        received = (num_views, len(matrices) // num_views, *matrices[0].shape)
    if received != expected:
        raise InputError(
            f"{source}: fusion is for {received[0]} views and maps of {received[-1]} pixels, but the data set and "
            f"NETWORK.HEATMAP_SIZE give {expected[0]} views and {expected[-1]} pixels"
        )
