"""Signs that a training does not learn."""

import math
from collections.abc import Sequence
from typing import Any

from lib.models.registry import fusion_name
from lib.utils.joints import UNION_20

LARGE_LOSS = 10.0  # relative to the loss of empty heatmaps
LOW_JDR = 0.1  # a network that always answers the center of the crop finds the root, 1 joint of 17


def unsuitable_initialization(network: Any) -> list[str]:
    """Return the keys, each with the value to set, that initialize a network without pretrained weights badly.

    The original code's initialization expects an ImageNet backbone.

    Args:
        network: section NETWORK of the configuration.
    """
    keys = {"INIT": "kaiming"}
    if fusion_name(network) == "learned":
        keys["FUSION_INIT"] = "zeros"
    return [f"NETWORK.{key} {value}" for key, value in keys.items() if network[key] == "published"]


def remedy(network: Any) -> str:
    """Return what to change if a network does not learn; settings that are made already are not named.

    Args:
        network: section NETWORK of the configuration.
    """
    start = []
    if not network.PRETRAINED:
        keys = unsuitable_initialization(network)
        start = [f"start from pretrained weights (NETWORK.PRETRAINED){', or set ' if keys else ''}{' '.join(keys)}"]
    return "; ".join([*start, "try a smaller TRAIN.LR", "check the data with run/data/check.py"])


def empty_heatmap_loss(network: Any, num_views: int) -> float:
    """Return the loss of heatmaps that are 0 everywhere, if all joints are visible.

    A target is a Gaussian with peak 1, whose square has the integral pi * SIGMA^2.

    Args:
        network: section NETWORK of the configuration.
        num_views: number of views V.
    """
    width, height = network.HEATMAP_SIZE
    num_losses = 1 if fusion_name(network) == "none" else 2  # of routed and of single-view heatmaps
    return num_losses * num_views * len(UNION_20) * math.pi * network.SIGMA**2 / (width * height)


def learning_problem(history: Sequence[dict[str, float]], empty_loss: float, network: Any) -> str | None:
    """Return in one line why a training seems not to learn, or None.

    Args:
        history: rows of the epochs with `loss` and, where validated, `jdr`.
        empty_loss: of empty_heatmap_loss().
        network: section NETWORK of the configuration.
    """
    signs = []
    loss = history[-1]["loss"]
    if loss > LARGE_LOSS * empty_loss:
        signs.append(f"loss {loss:.3g} is {loss / empty_loss:.0f} times that of empty heatmaps")
    rates = [row["jdr"] for row in history if "jdr" in row]
    if len(rates) > 1 and max(rates) < LOW_JDR:
        signs.append(f"JDR is at most {100 * max(rates):.1f} % after {len(rates)} validations")
    return f"the training does not learn: {'; '.join(signs)}; {remedy(network)}" if signs else None
