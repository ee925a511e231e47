"""Loading weights: ImageNet files into a backbone, checkpoints into a whole network."""

import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lib.models.fusion import CrossViewFusion
from lib.models.multiview_pose import MultiViewPose
from lib.models.weight_names import ORIGINAL_FUSION, is_fusion, state_tensors, to_backbone_names, to_model_names
from lib.utils.errors import InputError, unknown_name
from lib.utils.files.torch_file import first_not_finite, load_checkpoint

logger = logging.getLogger(__name__)

HEAD_LAYERS = ("deconv_layers", "final_layer")  # not in ImageNet files


@dataclass(frozen=True)
class LoadReport:
    """Comparison of the tensors of a network and of a file; names are the network's.

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
            parts.append(f"missing or of another shape: {fresh}")
        if self.unexpected:
            parts.append(f"not used: {_layers(self.unexpected)}")
        return "; ".join(parts)


def load_pretrained(
    backbone: nn.Module, path: str | os.PathLike, layers: Sequence[str] = ("*",), whole: bool = False
) -> LoadReport:
    """Load an ImageNet file, a single-view pose network or a multi-view checkpoint into a backbone.

    Unless `whole`, the head keeps its values if the file lacks it or has another shape. Fusion weights are ignored.

    Args:
        backbone: a pose network.
        path: file with names of torchvision, of the official HRNet, of the flat MobileNetV2, or a checkpoint of this
            project or of the original code.
        layers: top-level layers to load (HRNet's PRETRAINED_LAYERS); "*" first = all. A file with a fitting head is a
            pose network, which is loaded in full.
        whole: require the head, because the backbone will not be trained.

    Returns:
        The report, which is also logged.

    Raises:
        InputError: missing or damaged file, unknown layer, another backbone, or, with `whole`, another head.
    """
    _check_layers(backbone, layers)
    wanted = backbone.state_dict()
    state = to_backbone_names(state_tensors(load_checkpoint(path), str(path)))
    if not (whole or _has_head(wanted, state)):
        wanted = _select_layers(wanted, layers)
        state = _select_layers(state, layers)
    report = compare(wanted, state)
    leftovers = tuple(getattr(backbone, "imagenet_leftovers", ()))
    _check_fit(report, str(path), type(backbone).__name__, state, optional=HEAD_LAYERS, leftovers=leftovers)
    if whole:
        _check_head(report, str(path))
    _copy(wanted, state, report, str(path))
    return report


def load_model(model: MultiViewPose, path: str | os.PathLike) -> LoadReport:
    """Load a checkpoint or state dict of this project or of the original code into a whole network.

    Args:
        model: the network; the file must contain all of its tensors.
        path: checkpoint.pth.tar, model_best.pth.tar or final_state.pth.tar; not read if the network has no tensors of
            its own.

    Returns:
        The report, which is also logged.

    Raises:
        InputError: missing or damaged file, another backbone, or fusion weights for another rig or heatmap size.
    """
    if not model.state_dict():
        logger.info("the weights of the network are fixed; no checkpoint is needed")
        return LoadReport([], [], [], [])
    return load_model_state(model, load_checkpoint(path), str(path))


def load_model_state(model: MultiViewPose, content: Any, source: str) -> LoadReport:
    """Load the content of a file into a whole network; see load_model().

    Args:
        model: the network.
        content: a state dict, or a dict with a `state_dict`.
        source: name of the file in messages.
    """
    state = to_model_names(state_tensors(content, source))
    wanted = model.state_dict()  # shares memory with the parameters
    if not any(is_fusion(name) for name in wanted):
        dropped = [name for name in state if is_fusion(name)]
        if dropped:
            logger.info("%s: fusion weights ignored; NETWORK.FUSION needs none", source)
        state = {name: value for name, value in state.items() if not is_fusion(name)}
    elif _has_backbone(state) or not _has_backbone(wanted):  # otherwise _check_fit reports that nothing fits
        if not _has_backbone(wanted):  # fixed backbone: only the fusion is loaded, on whatever backbone it was trained
            state = {name: value for name, value in state.items() if is_fusion(name)}
        _check_fusion(model, state, source)
        if isinstance(model.fusion, CrossViewFusion) and "fusion.weight" not in state:
            matrices = wanted.pop("fusion.weight").flatten(0, 1)  # views, not copies: 0.8 GB with 64 x 64 px
            wanted.update({f"{ORIGINAL_FUSION}{n}.weight": matrix for n, matrix in enumerate(matrices)})
    report = compare(wanted, state)
    _check_fit(report, source, type(model.backbone).__name__, state)
    _copy(wanted, state, report, source)
    return report


def _has_backbone(names: Iterable[str]) -> bool:
    return any(name.startswith("backbone.") for name in names)


def compare(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> LoadReport:
    """Compare names and shapes of a network with a file.

    `num_batches_tracked` may be missing: old files lack it, and it has no effect here.
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
        raise InputError("MODEL_EXTRA.PRETRAINED_LAYERS: expected names of layers or '*', received none")
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
    """Raise an InputError if the head of a file is missing or differs."""
    names = [*report.missing, *(name for name, _, _ in report.mismatched), *report.unexpected]
    differing = [name for name in names if name.startswith(HEAD_LAYERS)]
    if differing:
        raise InputError(
            f"{source}: {_layers(differing)} are missing or of another network, but TRAIN.FREEZE_BACKBONE "
            "does not train them; set NETWORK.PRETRAINED to a trained pose network"
        )


@torch.no_grad()
def _copy(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], report: LoadReport, source: str) -> None:
    for name in report.loaded:
        _check_tensor(state[name], wanted[name].is_floating_point(), f"{source}: '{name}'")
    for name in report.loaded:
        wanted[name].copy_(state[name])
    logger.info("%s: %s", source, report)


def _check_tensor(tensor: Tensor, is_floating: bool, where: str) -> None:
    """Raise an InputError for a tensor without usable values; `is_floating`: of the network's tensor."""
    kinds = {
        "a sparse one": tensor.layout != torch.strided,
        "a quantized one": tensor.is_quantized,
        "a meta one": tensor.is_meta,
        "a complex one": tensor.is_complex(),
        "integers": is_floating and not tensor.is_floating_point(),
    }
    kind = next((kind for kind, is_so in kinds.items() if is_so), None)
    if kind:
        raise InputError(f"{where}: expected a plain tensor, received {kind}; save the state dict of the network")
    if first_not_finite(tensor) is not None:
        raise InputError(f"{where}: expected finite weights, received NaN or infinity: the training has diverged")


def _layers(names: Sequence[str]) -> str:
    """Return the layers of tensor names, each once."""
    return ", ".join(dict.fromkeys(name.removeprefix("backbone.").split(".")[0] for name in names))


def _check_fit(
    report: LoadReport,
    source: str,
    network: str,
    state: Mapping[str, Tensor],
    optional: tuple[str, ...] = (),
    leftovers: tuple[str, ...] = (),
) -> None:
    """Raise an InputError if a file holds another network.

    Args:
        report: comparison of network and file.
        source: name of the file.
        network: name of the network.
        state: tensors of the file.
        optional: layers that may be missing or differ.
        leftovers: prefixes of tensors that only the file may have.
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
    problems += [f"'{name}' is unexpected" for name in report.unexpected if not name.startswith(optional + leftovers)]
    if problems:
        raise InputError(
            f"{source}: expected the weights of {network}: {problems[0]} ({len(problems)} differences in total); "
            "check BACKBONE_MODEL, POSE_RESNET, MODEL_EXTRA, NETWORK.NUM_JOINTS and NETWORK.FUSION"
        )


def _check_fusion(model: MultiViewPose, state: Mapping[str, Tensor], source: str) -> None:
    """Raise an InputError if a file has no fusion weights, or weights of another fusion, rig or heatmap size."""
    names = [name for name in state if is_fusion(name)]
    if not names:
        raise InputError(
            f"{source}: has no fusion weights; set NETWORK.FUSION none, or train a fusion from it with "
            "NETWORK.PRETRAINED"
        )
    originals = [state[name] for name in names if name.startswith(ORIGINAL_FUSION)]
    has_matrices = bool(originals) or ("fusion.weight" in names and state["fusion.weight"].ndim == 4)
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
        num_views = (1 + math.isqrt(1 + 4 * len(originals))) // 2  # from V (V - 1) matrices
        received = (num_views, len(originals) // num_views, *originals[0].shape)
    if received != expected:
        raise InputError(
            f"{source}: expected fusion weights for {expected[0]} views and {expected[-1]} heatmap px (data set, "
            f"NETWORK.HEATMAP_SIZE), received {received[0]} views and {received[-1]} px"
        )
