"""Debug images of training and validation batches, see the DEBUG section."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.core.drawing import union_skeleton
from lib.core.evaluation2d.decode import get_max_preds
from lib.dataset.network_input import gaussian_targets
from lib.dataset.sample import SampleSettings
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

    def __init__(self, keys: Any, sample: SampleSettings, directory: Path) -> None:
        """
        Args:
            keys: the DEBUG section.
            sample: sizes and targets of the data.
            directory: receives the images.
        """
        self._keys = keys
        self._sample = sample
        self._directory = directory
        self._skeleton = union_skeleton()

    def save(self, name: str, step: int, batch: dict[str, Tensor], heatmaps: Tensor) -> None:
        """Write the images of a batch that the DEBUG section asks for.

        Args:
            name: first part of the file names.
            step: index of the batch.
            batch: batch of the loader.
            heatmaps: (B, V, J, H, W) predicted heatmaps.
        """
        keys = self._keys
        if not keys.DEBUG:
            return
        stem = f"{name}_{step:05d}"
        num_views = heatmaps.shape[1]
        images = _first_groups(batch["crops"])
        gt = _first_groups(batch["joints_crop"])
        predicted_maps = _first_groups(heatmaps)
        image_wh = images.shape[2:0:-1]
        heatmap_wh = predicted_maps.shape[:1:-1]
        visible = torch.from_numpy(_first_groups(batch["visible"]))
        sigma = self._sample.sigma
        subpixel = self._sample.target_subpixel
        target, weight = gaussian_targets(torch.from_numpy(gt), visible, image_wh, heatmap_wh, sigma, subpixel)
        shown = weight[..., 0].numpy() > 0
        predicted = get_max_preds(predicted_maps)[0] * (np.array(image_wh) / heatmap_wh)
        texts = [f"group {image // num_views + 1}, view {image % num_views + 1}" for image in range(len(images))]

        def draw_joints(joints: np.ndarray, kind: str) -> np.ndarray:
            return joint_grid(images, joints, shown, self._skeleton, num_views, texts, f"{stem}: {kind} joints")

        def draw_maps(maps: np.ndarray, joints: np.ndarray, kind: str) -> np.ndarray:
            title = f"{stem}: {kind} heatmaps, peak values"
            return heatmap_grid(images, maps, self._skeleton, texts, title, joints, shown)

        if keys.SAVE_BATCH_IMAGES_GT:
            save_image(self._directory / f"{stem}_gt.jpg", draw_joints(gt, "ground-truth"))
        if keys.SAVE_BATCH_IMAGES_PRED:
            save_image(self._directory / f"{stem}_pred.jpg", draw_joints(predicted, "predicted"))
        if keys.SAVE_HEATMAPS_GT:
            save_image(self._directory / f"{stem}_hm_gt.jpg", draw_maps(target.numpy(), gt, "target"))
        if keys.SAVE_HEATMAPS_PRED:
            save_image(self._directory / f"{stem}_hm_pred.jpg", draw_maps(predicted_maps, predicted, "predicted"))


def _first_groups(values: Tensor) -> np.ndarray:
    """(B, V, ...) -> (images, ...) of at most MAX_GROUPS groups."""
    rows = values[:MAX_GROUPS].flatten(0, 1).cpu()
    return (rows.float() if rows.is_floating_point() else rows).numpy()
