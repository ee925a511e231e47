"""Which fusion a configuration asks for; imports no torch."""

from __future__ import annotations

from typing import Any


def fusion_kind(cfg: Any) -> str:
    """Return the fusion that the configuration asks for: NETWORK.FUSION or, where that is unset, NETWORK.AGGRE."""
    return cfg.NETWORK.FUSION or ("learned" if cfg.NETWORK.AGGRE else "none")
