"""Names of weights in files from elsewhere, translated to ours.

Ours: `backbone.<torchvision's or the official HRNet name>` and `fusion.weight`. Published checkpoints say `resnet.`
for any backbone, `resnet.mobilenetv2.features...` with flat blocks, and `aggre_layer.aggre.<n>.weight`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lib.utils.errors import InputError

PUBLISHED_FUSION = "aggre_layer.aggre."
_FLAT_LAYER = re.compile(r"^(.*features\.\d+\.conv\.)(\d+)\.(\w+)$")
_NESTED_LAYER = re.compile(r"features\.\d+\.conv\.\d+\.\d+\.")
# index in a flat block -> index in torchvision's block, which groups convolution, batch norm and ReLU6
_EXPANDED_BLOCK = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
_PLAIN_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}


def state_tensors(content: Any, source: str) -> dict[str, Tensor]:
    """Take the tensors out of a loaded file and strip what data-parallel training put before their names.

    Args:
        content: a state dict, or a checkpoint dict that holds one as `state_dict`.
        source: name of the file in errors.

    Returns:
        Name -> tensor.

    Raises:
        InputError: there are no tensors.
    """
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = {str(name).removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{source}: holds no weights; expected a state dict or a checkpoint with 'state_dict'")
    return tensors


def to_model_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a multi-view network; ours pass as they are, fusion matrices keep their number.

    Args:
        state: published or own names -> tensor.

    Returns:
        `backbone.*`, `fusion.*` or `aggre_layer.aggre.<n>.weight` -> tensor.
    """
    renamed = {re.sub(r"^resnet\.", "backbone.", name): value for name, value in state.items()}
    return nest_mobilenet({name.replace(".mobilenetv2.", ".", 1): value for name, value in renamed.items()})


def to_backbone_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a single network or of the backbone of a multi-view one; fusion weights are left out.

    Args:
        state: names of an ImageNet file, a single-view pose network or a multi-view checkpoint -> tensor.

    Returns:
        Name inside the backbone -> tensor.
    """
    model_names = to_model_names(state)
    backbone = {name.removeprefix("backbone."): value for name, value in model_names.items() if not is_fusion(name)}
    return {name.removeprefix("mobilenetv2."): value for name, value in backbone.items()}


def is_fusion(name: str) -> bool:
    """Return whether a name belongs to the fusion layer, in our names or the published ones."""
    return name.startswith(("fusion.", PUBLISHED_FUSION))


def nest_mobilenet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename MobileNetV2 blocks that are one flat Sequential to torchvision's nested ones; other names pass."""
    if any(_NESTED_LAYER.search(name) for name in state):
        return dict(state)
    renamed = {}
    for name, value in state.items():
        match = _FLAT_LAYER.match(name)
        if match:
            block, layer, entry = match.groups()
            layers = _EXPANDED_BLOCK if f"{block}6.weight" in state else _PLAIN_BLOCK
            name = f"{block}{layers.get(layer, layer)}.{entry}"
        renamed[name] = value
    return renamed
