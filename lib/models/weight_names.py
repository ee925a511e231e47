"""Names of tensors in weight files, translated to the names of our networks.

Our names: `backbone.<name of torchvision or of the official HRNet>` and `fusion.weight`. Names of the original code:
`resnet.` for any backbone, `resnet.mobilenetv2.features...` with flat blocks, and `aggre_layer.aggre.<n>.weight`.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lib.utils.errors import InputError

ORIGINAL_FUSION = "aggre_layer.aggre."
_FLAT_LAYER = re.compile(r"^(.*features\.\d+\.conv\.)(\d+)\.(\w+)$")
_NESTED_LAYER = re.compile(r"features\.\d+\.conv\.\d+\.\d+\.")
# index in a flat block -> index in a torchvision block, which groups convolution, batch norm and ReLU6
_EXPANDED_BLOCK = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
_PLAIN_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}


def state_tensors(content: Any, source: str) -> dict[str, Tensor]:
    """Return name -> tensor of a loaded file, without the prefix of data-parallel training.

    Args:
        content: a state dict, or a checkpoint with a `state_dict`.
        source: name of the file in errors.

    Raises:
        InputError: there are no tensors.
    """
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = {str(name).removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{source}: expected a state dict or a checkpoint with 'state_dict', received no weights")
    return tensors


def to_model_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a multi-view network, except for the fusion matrices of the original code.

    Args:
        state: our names, or names of the original code -> tensor.

    Returns:
        `backbone.*`, `fusion.*` or `aggre_layer.aggre.<n>.weight` -> tensor.
    """
    renamed = {re.sub(r"^resnet\.", "backbone.", name): value for name, value in state.items()}
    return _nest_mobilenet({name.replace(".mobilenetv2.", ".", 1): value for name, value in renamed.items()})


def to_backbone_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an ImageNet file, a single-view network or a multi-view network; drop the fusion.

    Returns:
        Name in the backbone -> tensor.
    """
    model_names = to_model_names(state)
    backbone = {name.removeprefix("backbone."): value for name, value in model_names.items() if not is_fusion(name)}
    return {name.removeprefix("mobilenetv2."): value for name, value in backbone.items()}


def is_fusion(name: str) -> bool:
    """Return whether a tensor belongs to the fusion, by our name or the original code's."""
    return name.startswith(("fusion.", ORIGINAL_FUSION))


def _nest_mobilenet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the flat blocks of a MobileNetV2 to the nested blocks of torchvision; keep other names."""
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
