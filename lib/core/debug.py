"""Debug pictures of training and validation, as the DEBUG section asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.core.function import DebugHook
from lib.core.inference import get_max_preds
from lib.core.skeletons import union_skeleton
from lib.dataset.joints_dataset import IMAGE_MEAN, IMAGE_STD
from lib.utils.vis import denormalise, heatmap_grid, joint_grid, save_picture

MAX_GROUPS = 4


class DebugPictures:
    """Writes <name>_<step>_{gt,pred,hm_gt,hm_pred}.jpg of the first groups of a batch."""

    def __init__(self, config: Any, directory: Path) -> None:
        self._keys = config.DEBUG
        self._directory = directory
        self._skeleton = union_skeleton()

    def hook(self, name: str) -> DebugHook | None:
        """Return the function that train_one_epoch and validate call, None where pictures are switched off."""
        if not self._keys.DEBUG:
            return None
        return lambda step, batch, heatmaps: self._save(f"{name}_{step:05d}", batch, heatmaps)

    def _save(self, stem: str, batch: dict[str, Tensor], heatmaps: Tensor) -> None:
        def rows(values: Tensor) -> Any:  # (B, V, ...) -> (images, ...)
            return values[:MAX_GROUPS].flatten(0, 1).float().cpu().numpy()

        num_views = heatmaps.shape[1]
        pictures = denormalise(rows(batch["images"]), IMAGE_MEAN, IMAGE_STD)
        target, predicted = rows(batch["target"]), rows(heatmaps)
        shown = rows(batch["weight"])[..., 0] > 0
        stride = torch.tensor(batch["images"].shape[:-3:-1]) / torch.tensor(heatmaps.shape[:-3:-1])
        joints_true = rows(batch["joints_crop"])
        joints_predicted = get_max_preds(predicted)[0] * stride.numpy()
        drawings = {
            "gt": (self._keys.SAVE_BATCH_IMAGES_GT, lambda: self._joints(pictures, joints_true, shown, num_views)),
            "pred": (
                self._keys.SAVE_BATCH_IMAGES_PRED,
                lambda: self._joints(pictures, joints_predicted, shown, num_views),
            ),
            "hm_gt": (
                self._keys.SAVE_HEATMAPS_GT,
                lambda: heatmap_grid(pictures, target, self._skeleton, joints_true, shown),
            ),
            "hm_pred": (
                self._keys.SAVE_HEATMAPS_PRED,
                lambda: heatmap_grid(pictures, predicted, self._skeleton, joints_predicted, shown),
            ),
        }
        for suffix, (wanted, draw) in drawings.items():
            if wanted:
                save_picture(self._directory / f"{stem}_{suffix}.jpg", draw())

    def _joints(self, pictures: Any, joints: Any, shown: Any, num_views: int) -> Any:
        return joint_grid(pictures, joints, shown, self._skeleton, num_views)
