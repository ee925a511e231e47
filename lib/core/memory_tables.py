"""Accounts of the memory of training and validation as Markdown tables."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.core.config_io import load_config
from lib.core.memory import ACTIVATIONS, GRADIENTS, PARTS, STATE, WEIGHTS, Account, training_account, validation_account
from lib.utils.tables import markdown_table

GIB = 2**30
CARD_GIB = 24
RESERVE_GIB = 2  # of the card: CUDA itself, workspaces of cuDNN, gaps between tensors
VARIANTS: dict[str, Mapping[str, str]] = {
    "as published": {},
    "FUSION_STATE bfloat16": {"FUSION_STATE": "bfloat16"},
    "AMP bf16": {"AMP": "bf16"},
    "both": {"FUSION_STATE": "bfloat16", "AMP": "bf16"},
}


def parts_table(config: Any) -> str:
    """Account part by part for one configuration.

    Args:
        config: the configuration, as in training_account().

    Returns:
        A Markdown table, GiB, and a line that says whether it fits the card.
    """
    training, validation = training_account(config), validation_account(config)
    without = training_account(_changed(config, {"FUSION_STATE": "float32"}, aggre=False))
    fused = [WEIGHTS, GRADIENTS, STATE, ACTIVATIONS] if config.NETWORK.AGGRE else []
    rows: list[list[Any]] = [
        [part, training.most.get(part, 0) / GIB, training.peak.get(part, 0) / GIB,
         (training.most[part] - without.most[part]) / GIB if part in fused else None]
        for part in PARTS
    ]  # fmt: skip
    between = between_epochs(training, validation)
    rows += [
        ["training, sum", None, training.total / GIB, (training.total - without.total) / GIB if fused else None],
        ["validation between epochs, sum", None, between / GIB, None],
        ["valid.py, sum", None, validation.total / GIB, None],
    ]
    batches = f"{config.TRAIN.BATCH_SIZE} groups in training, {config.TEST.BATCH_SIZE} in validation"
    header = [f"GiB; {batches}", "most of it", "when the sum is largest", "for the fusion"]
    need = max(training.total, between) / GIB
    verdict = "fits" if need <= CARD_GIB - RESERVE_GIB else "does not fit"
    return (f"{markdown_table(header, rows, 2)}\n\n{need:.2f} GiB: {verdict} a card of {CARD_GIB} GiB, "
            f"{RESERVE_GIB} GiB of it set aside for CUDA, workspaces of cuDNN and gaps between tensors.")  # fmt: skip


def variants_table(paths: Iterable[str | os.PathLike], root: str | os.PathLike, opts: Sequence[str] = ()) -> str:
    """Compare experiments as they are and with the switches that save memory.

    Args:
        paths: YAML files.
        root: folder that their names are relative to.
        opts: KEY VALUE pairs for all of them.

    Returns:
        A Markdown table: GiB of training per VARIANTS, of validation, and the first variant that fits the card.
    """
    rows = [_variants_row(load_config(path, opts), Path(path).relative_to(root).as_posix()) for path in paths]
    header = ["GiB", "groups", *VARIANTS, "valid.py", f"fits {CARD_GIB} GiB"]
    return markdown_table(header, rows, 1)


def between_epochs(training: Account, validation: Account) -> int:
    """Return the bytes that train.py needs while it validates: gradients and optimizer state stay."""
    return validation.total + training.most[GRADIENTS] + training.most[STATE]


def _variants_row(config: Any, name: str) -> list[Any]:
    validation = validation_account(config)
    needs: dict[str, float | None] = {}
    fits = "no"
    for variant, settings in VARIANTS.items():
        needs[variant] = None
        if config.NETWORK.AGGRE or "FUSION_STATE" not in settings:
            training = training_account(_changed(config, settings, config.NETWORK.AGGRE))
            needs[variant] = training.total / GIB
            need = max(training.total, between_epochs(training, validation))
            fits = variant if fits == "no" and need <= (CARD_GIB - RESERVE_GIB) * GIB else fits
    return [name, config.TRAIN.BATCH_SIZE, *needs.values(), validation.total / GIB, fits]


def _changed(config: Any, settings: Mapping[str, str], aggre: bool) -> Any:
    changed = copy.deepcopy(config)
    changed.TRAIN.update(settings)
    changed.NETWORK.AGGRE = aggre
    return changed
