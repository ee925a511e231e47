"""What can be known to go wrong before the first step of a training."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from lib.core.evaluation2d.validate import learned_joints
from lib.dataset.multiview_dataset import MultiviewDataset
from lib.models.registry import FUSIONS, fusion_name
from lib.utils.errors import InputError

logger = logging.getLogger(__name__)

_AUGMENTATIONS = ("ROT_FACTOR", "SCALE_FACTOR", "SHIFT_FACTOR")


def check_training(config: Any, fusion: nn.Module | None, test_set: MultiviewDataset) -> None:
    """Refuse what would end the first validation, and warn where augmentation and fusion work against each other.

    Args:
        config: the configuration: DATASET, NETWORK, TEST.JOINTS.
        fusion: layer of the network.
        test_set: of the validation.

    Raises:
        InputError: the fusion does not take as many views as the test set has, or TEST.JOINTS names an unknown joint.
    """
    learned_joints(config, test_set.joint_set)
    _check_views(config.DATASET, fusion, test_set.num_views)
    factors = [f"{name} {config.DATASET[name]:g}" for name in _AUGMENTATIONS if config.DATASET[name] > 0]
    if FUSIONS[fusion_name(config.NETWORK)].fixed_rig and factors:
        logger.warning(
            "DATASET.%s: the matrices of NETWORK.FUSION learned map pixels of crops to each other, which "
            "random rotation, scale and shift of each view make another mapping every time; set 0, or "
            "NETWORK.FUSION adaptive, which knows the crops",
            ", ".join(factors),
        )


def _check_views(keys: Any, fusion: nn.Module | None, num_views: int) -> None:
    if fusion is None:
        return
    wanted = fusion.num_views or max(num_views, 2)  # those that know the cameras take any number from 2 on
    if num_views != wanted:
        raise InputError(
            f"DATASET.TEST_DATASET {keys.TEST_DATASET}: expected {wanted} views, as the fusion takes for "
            f"{keys.TRAIN_DATASET}, received {num_views}; name another data set, choose views with "
            "DATASET.CAMERAS, or set NETWORK.FUSION none"
        )
