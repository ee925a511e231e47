"""Debug pictures of training and validation, as the DEBUG section asks for."""

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

MAX_GROUPS = 4


def _rows(values: Tensor) -> np.ndarray:
    """(B, V, ...) -> (images, ...) of the first groups."""
    rows = values[:MAX_GROUPS].flatten(0, 1).cpu()
    return (rows.float() if rows.is_floating_point() else rows).numpy()


def fusion_picture(batch: dict[str, Tensor], single: Tensor, routed: Tensor) -> np.ndarray:
    """Draw the views of the first group: picture, heatmaps of all joints before and after fusion.

    Args:
        batch: of the loader.
        single: (B, V, J, H, W) raw heatmaps.
        routed: (B, V, J, H, W) the heatmaps that count.

    Returns:
        (h, w, 3) uint8 BGR: a row per view.
    """
    crops = batch["crops"][0].numpy()
    cells = []
    for view, crop in enumerate(crops):
        cells.append(labeled(crop, f"view {view + 1}"))
        for maps, text in ((single, "heatmaps before fusion"), (routed, "after")):
            heat = maps[0, view].max(0).values.float().cpu().numpy()
            cells.append(labeled(overlay_heatmap(crop, heat), text))
    return tile(np.stack(cells), 3)


class DebugPictures:
    """Writes <name>_<step>_{gt,pred,hm_gt,hm_pred}.jpg of the first groups of a batch."""

    def __init__(self, config: Any, directory: Path) -> None:
        self._keys = config.DEBUG
        self._directory = directory
        self._skeleton = union_skeleton()
        self._sigma, self._subpixel = config.NETWORK.SIGMA, config.NETWORK.TARGET_SUBPIXEL

    def hook(self, name: str) -> DebugHook | None:
        """Return the function that training and validation call, None where pictures are switched off."""
        if not self._keys.DEBUG:
            return None
        return lambda step, batch, single, routed: self._save(f"{name}_{step:05d}", batch, routed)

    def _save(self, stem: str, batch: dict[str, Tensor], heatmaps: Tensor) -> None:
        num_views = heatmaps.shape[1]
        pictures = _rows(batch["crops"])
        joints_true = _rows(batch["joints_crop"])
        predicted = _rows(heatmaps)
        height, width = heatmaps.shape[-2:]
        image_wh = pictures.shape[2:0:-1]
        heatmap_wh = (width, height)
        target, weight = (
            values.numpy()
            for values in gaussian_targets(
                torch.from_numpy(joints_true),
                torch.from_numpy(_rows(batch["visible"])),
                image_wh,
                heatmap_wh,
                self._sigma,
                self._subpixel,
            )
        )
        shown = weight[..., 0] > 0
        joints_predicted = get_max_preds(predicted)[0] * (np.array(image_wh) / heatmap_wh)
        keys, skeleton = self._keys, self._skeleton
        texts = [f"group {image // num_views + 1}, view {image % num_views + 1}" for image in range(len(pictures))]

        def draw_joints(joints: np.ndarray, what: str) -> np.ndarray:
            return joint_grid(pictures, joints, shown, skeleton, num_views, texts, f"{stem}: {what}")

        def draw_maps(heatmaps: np.ndarray, joints: np.ndarray, what: str) -> np.ndarray:
            return heatmap_grid(pictures, heatmaps, skeleton, texts, f"{stem}: {what}, peak values", joints, shown)

        drawings = {
            "gt": (keys.SAVE_BATCH_IMAGES_GT, lambda: draw_joints(joints_true, "true joints")),
            "pred": (keys.SAVE_BATCH_IMAGES_PRED, lambda: draw_joints(joints_predicted, "predicted joints")),
            "hm_gt": (keys.SAVE_HEATMAPS_GT, lambda: draw_maps(target, joints_true, "target heatmaps")),
            "hm_pred": (keys.SAVE_HEATMAPS_PRED, lambda: draw_maps(predicted, joints_predicted, "predicted heatmaps")),
        }
        for suffix, (wanted, draw) in drawings.items():
            if wanted:
                save_image(self._directory / f"{stem}_{suffix}.jpg", draw())
