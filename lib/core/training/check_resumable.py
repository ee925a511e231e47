"""Whether a training may go on with a configuration: what it has learned so far depends on some of the keys."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from easydict import EasyDict

from lib.core.config import keys_with_scope
from lib.core.config_io import flat_values
from lib.models.registry import fusion_name
from lib.utils.errors import InputError

logger = logging.getLogger(__name__)


def check_same_run(path: str | os.PathLike, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the configuration that a checkpoint was trained with to the one that it is to go on with.

    Whatever else has changed is logged in one line.

    Args:
        path: the checkpoint, for messages.
        then: its configuration; keys that it lacks had their defaults.
        now: the configuration.

    Raises:
        InputError: another network, target, loss, data set, order of the data, or kind of optimizer.
    """
    before, after = _settings(then), _settings(now)
    changed = {
        key: f"{key} {before[key] or repr(before[key])} -> {after[key] or repr(after[key])}"
        for key in after
        if before[key] != after[key]
    }
    weights_keys = keys_with_scope("weights")
    fixed = ", ".join(text for key, text in changed.items() if key in weights_keys)
    if fixed:
        raise InputError(
            f"{path}: has learned with other settings (then -> now): {fixed}; train anew under another "
            "NAME (--opts NAME ...), or with TRAIN.RESUME false in place of that run"
        )
    if changed:
        logger.info("%s: settings have changed (then -> now): %s", path, ", ".join(changed.values()))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all keys under their whole names; of the two that name a fusion, FUSION says which it is."""
    settings = flat_values(config)
    network = {key: settings.pop(f"NETWORK.{key}") for key in ("AGGRE", "FUSION")}
    del settings["TRAIN.RESUME"]  # asks for what is being done
    return {**settings, "NETWORK.FUSION": fusion_name(EasyDict(network))}
