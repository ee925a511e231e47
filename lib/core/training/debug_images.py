"""Debug images of training and validation batches, see the DEBUG section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.core.drawing import union_skeleton
from lib.core.evaluation2d.decode import get_max_preds
from lib.core.evaluation2d.validate import DebugHook
from lib.dataset.network_input import gaussian_targets
from lib.utils.drawing.vis import heatmap_grid, joint_grid, labeled, overlay_heatmap, save_image, tile

MAX_GROUPS = 4  # groups of a batch that are drawn


def fusion_image(batch: dict[str, Tensor], single_view: Tensor, routed: Tensor) -> np.ndarray:
    """Draw the first group of a batch: image, heatmaps before fusion, heatmaps after fusion; one row per view.

    Args:
        batch: batch of the loader.
        single_view: (B, V, J, H, W) heatmaps before fusion.
        routed: (B, V, J, H, W) heatmaps selected by route().

    Returns:
        (h, w, 3) uint8 BGR.
    """
    cells = []
    for view, crop in enumerate(batch["crops"][0].numpy()):
        cells.append(labeled(crop, f"view {view + 1}"))
        for heatmaps, text in ((single_view, "heatmaps before fusion"), (routed, "after")):
            heat = heatmaps[0, view].max(0).values.float().cpu().numpy()
            cells.append(labeled(overlay_heatmap(crop, heat), text))
    return tile(np.stack(cells), 3)


class DebugImages:
    """Writes <name>_<step>_{gt,pred,hm_gt,hm_pred}.jpg of the first groups of a batch."""

    def __init__(self, keys: Any, sigma: float, is_subpixel: bool, directory: Path) -> None:
        """
        Args:
            keys: the DEBUG section.
            sigma: NETWORK.SIGMA, heatmap px.
            is_subpixel: NETWORK.TARGET_SUBPIXEL.
            directory: receives the images.
        """
        self._keys = keys
        self._sigma = sigma
        self._is_subpixel = is_subpixel
        self._directory = directory
        self._skeleton = union_skeleton()

    @classmethod
    def from_config(cls, config: Any, directory: Path) -> DebugImages:
        """Read DEBUG, NETWORK.SIGMA and NETWORK.TARGET_SUBPIXEL."""
        return cls(config.DEBUG, config.NETWORK.SIGMA, config.NETWORK.TARGET_SUBPIXEL, directory)

    def hook(self, name: str) -> DebugHook | None:
        """Return the callback for training or validation, or None if DEBUG.DEBUG is false."""
        if not self._keys.DEBUG:
            return None
        return lambda step, batch, single_view, routed: self._save(f"{name}_{step:05d}", batch, routed)

    def _save(self, stem: str, batch: dict[str, Tensor], heatmaps: Tensor) -> None:
        num_views = heatmaps.shape[1]
        images = _first_groups(batch["crops"])
        gt = _first_groups(batch["joints_crop"])
        predicted_maps = _first_groups(heatmaps)
        image_wh = images.shape[2:0:-1]
        heatmap_wh = predicted_maps.shape[:1:-1]
        visible = torch.from_numpy(_first_groups(batch["visible"]))
        target, weight = (
            values.numpy()
            for values in gaussian_targets(
                torch.from_numpy(gt), visible, image_wh, heatmap_wh, self._sigma, self._is_subpixel
            )
        )
        shown = weight[..., 0] > 0
        predicted = get_max_preds(predicted_maps)[0] * (np.array(image_wh) / heatmap_wh)
        texts = [f"group {image // num_views + 1}, view {image % num_views + 1}" for image in range(len(images))]

        def draw_joints(joints: np.ndarray, what: str) -> np.ndarray:
            return joint_grid(images, joints, shown, self._skeleton, num_views, texts, f"{stem}: {what}")

        def draw_maps(maps: np.ndarray, joints: np.ndarray, what: str) -> np.ndarray:
            return heatmap_grid(images, maps, self._skeleton, texts, f"{stem}: {what}, peak values", joints, shown)

        keys = self._keys
        drawings = {
            "gt": (keys.SAVE_BATCH_IMAGES_GT, lambda: draw_joints(gt, "ground-truth joints")),
            "pred": (keys.SAVE_BATCH_IMAGES_PRED, lambda: draw_joints(predicted, "predicted joints")),
            "hm_gt": (keys.SAVE_HEATMAPS_GT, lambda: draw_maps(target, gt, "target heatmaps")),
            "hm_pred": (keys.SAVE_HEATMAPS_PRED, lambda: draw_maps(predicted_maps, predicted, "predicted heatmaps")),
        }
        for suffix, (is_wanted, draw) in drawings.items():
            if is_wanted:
                save_image(self._directory / f"{stem}_{suffix}.jpg", draw())


def _first_groups(values: Tensor) -> np.ndarray:
    """(B, V, ...) -> (images, ...) of at most MAX_GROUPS groups."""
    rows = values[:MAX_GROUPS].flatten(0, 1).cpu()
    return (rows.float() if rows.is_floating_point() else rows).numpy()
