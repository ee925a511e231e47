"""Share of the learned fusion weights near the true epipolar lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.core.fusion_report.trained_fusion import FusedGroup, TrainedFusion
from lib.models.fusion import source_views
from lib.multiviews.geometry.epipolar import cut_curve, distance_to_curve
from lib.utils.tables import markdown_table
from lib.utils.transforms import transform_points

BAND_PX = 2.0  # heatmap px on each side of an epipolar curve


@dataclass(frozen=True)
class Shares:
    """Means over joints. First axis: target view; second axis: other views in the order of source_views().

    Attributes:
        weight: (V, V-1) share of the positive weight near the curve; NaN without joints.
        area: (V, V-1) share of the heatmap area near the curve, which is the share of uniform weights.
        num_joints: (V, V-1) number of joints with a positive weight.
    """

    weight: np.ndarray
    area: np.ndarray
    num_joints: np.ndarray


def measure_shares(trained: TrainedFusion, chosen: Sequence[int]) -> Shares:
    """Average the share of positive weight near the epipolar curves over the true joints of some groups.

    Joints outside the crop of the target view and joints without a positive weight do not count.

    Args:
        trained: fusion layer and groups.
        chosen: indices of the groups.
    """
    num_views = trained.num_views
    weight, area, count = np.zeros((3, num_views, num_views - 1))
    for index in tqdm(chosen, desc="fusion weights", unit="group", disable=None, leave=False):
        group = trained.group(index)
        for view in range(num_views):
            points = group.joints_img[view][group.visible[view]]
            points = points[group.pixels(view, points)[1]]
            of_weight, of_area = view_shares(trained, group, view, points)
            counted = np.isfinite(of_weight)
            weight[view] += np.where(counted, of_weight, 0).sum(0)
            area[view] += np.where(counted, of_area, 0).sum(0)
            count[view] += counted.sum(0)
    with np.errstate(invalid="ignore"):
        return Shares(weight / count, area / count, count.astype(np.int64))


def view_shares(
    trained: TrainedFusion, group: FusedGroup, view: int, points_img: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the shares of weight and of area within BAND_PX of the epipolar curves of points.

    Args:
        trained: fusion layer.
        group: group of the points.
        view: target view.
        points_img: (P, 2) px of its original image, in its crop.

    Returns:
        (P, V-1) share of the positive weight, NaN without a positive weight; (P, V-1) share of the heatmap area.
    """
    width, height = group.heatmap_wh
    curve, valid, _ = group.curves(view, points_img)
    curve_hm = transform_points(curve, group.to_heatmap[group.sources(view)][:, None])
    rows, columns = np.mgrid[:height, :width]
    centers = np.stack([columns, rows], -1).reshape(-1, 2).astype(np.float64)  # (H*W, 2)
    distance = distance_to_curve(centers, *cut_curve(curve_hm, valid, group.heatmap_wh, BAND_PX))
    band = (distance <= BAND_PX).swapaxes(0, 1)  # (P, V-1, H*W)
    weights = trained.source_weights(view, group.pixels(view, points_img)[0]).reshape(band.shape).clip(0)
    total = weights.sum(-1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (weights * band).sum(-1, dtype=np.float64) / total, band.mean(-1)


def shares_text(shares: Shares, num_groups: int) -> str:
    """Format the shares as a Markdown table and a sentence that explains them.

    Args:
        shares: result of measure_shares().
        num_groups: number of groups measured.
    """
    num_views = len(shares.weight)
    header = ["view <- other view", "joints", "weight near the line (%)", "area near the line (%)", "ratio"]
    rows = [
        _row(f"{view + 1} <- {other + 1}", shares.num_joints[view, n], shares.weight[view, n], shares.area[view, n])
        for view, others in enumerate(source_views(num_views))
        for n, other in enumerate(others)
    ]
    if not shares.num_joints.any():
        return f"{markdown_table(header, rows)}\n\nNo weight is positive: the fusion layer has not been trained."
    weight, area = (np.average(np.nan_to_num(one), weights=shares.num_joints) for one in (shares.weight, shares.area))
    rows.append(_row("all", shares.num_joints.sum(), weight, area))
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"For the pixel of a true joint, {100 * weight:.1f} % of the positive weight of another view is within "
        f"{BAND_PX:g} heatmap px of the true epipolar line; uniform weights would have {100 * area:.1f} % (mean "
        f"over {num_groups} groups). The crops move with the person, so fixed weights follow the lines only on average."
    )


def _row(name: str, num_joints: int, weight: float, area: float) -> list[Any]:
    ratio = float(weight / area) if area > 0 else float("nan")
    return [name, int(num_joints), 100 * float(weight), 100 * float(area), ratio]
