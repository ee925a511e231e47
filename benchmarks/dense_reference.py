"""Plain dense implementation of RPSM, the reference of bench_rpsm.py.

It works frame by frame in float64. The limbs of the first grid are dense matrices over all pairs of bins; heatmaps are
interpolated per joint and view. Operations are vectorized over bins.
"""

from __future__ import annotations

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project
from lib.multiviews.pictorial.limb_offsets import cube_points, offsets_to_csr
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.utils.transforms import transform_points


class DenseRpsm:
    """RPSM of one frame at a time.

    Args:
        prior: limb prior of the first grid; converted to one dense matrix per limb.
        settings: grids and tolerance.
    """

    def __init__(self, prior: LimbPrior, settings: PictorialSettings) -> None:
        self.body = prior.body
        self.settings = settings
        self.pairwise = [offsets_to_csr(offsets, settings.first_nbins).toarray() for offsets in prior.offsets]

    def estimate(
        self,
        heatmaps: np.ndarray,
        cameras: Cameras,
        image_to_heatmap: np.ndarray,
        root_world: np.ndarray,
        limb_lengths: np.ndarray,
    ) -> np.ndarray:
        """Estimate a pose (J, 3), mm, from heatmaps (V, J, H, W), cameras (V), (V, 2, 3), (3,) and (E,) mm."""
        views = (heatmaps, cameras, image_to_heatmap)
        settings = self.settings
        num_joints = self.body.num_joints
        points = np.repeat((root_world + cube_points(settings.grid_size, settings.first_nbins))[None], num_joints, 0)
        unary = sample_views(points[:1], *views)
        pose = best_pose(points, unary, self.pairwise, self.body)
        for level in range(1, settings.recur_depth + 1):
            points = pose[:, None] + cube_points(settings.recursion_edge(level), settings.recur_nbins)  # (J, n, 3)
            pairwise = []
            for (parent, child), length in zip(self.body.edges, limb_lengths, strict=True):
                distance = np.linalg.norm(points[parent][:, None] - points[child][None], axis=-1)
                pairwise.append(np.abs(distance - length) < settings.limb_length_tolerance)
            pose = best_pose(points, sample_views(points, *views), pairwise, self.body)
        return pose


def sample_views(
    points: np.ndarray, heatmaps: np.ndarray, cameras: Cameras, image_to_heatmap: np.ndarray
) -> np.ndarray:
    """Sum the heatmaps of all views at points (J, n, 3), or (1, n, 3) for all joints: (J, n)."""
    num_views, num_joints = heatmaps.shape[:2]
    unary = np.zeros((num_joints, points.shape[1]))
    for view in range(num_views):
        points_img, depth = project(points.reshape(-1, 3), cameras[view])
        points_hm = transform_points(points_img, image_to_heatmap[view]).reshape(*points.shape[:2], 2)
        visible = (depth >= MIN_DEPTH_MM).reshape(points.shape[:2])
        for joint in range(num_joints):
            place = min(joint, len(points) - 1)
            values = interpolate(heatmaps[view, joint], points_hm[place, :, 0], points_hm[place, :, 1])
            unary[joint] += np.where(visible[place], values, 0)
    return unary


def interpolate(heatmap: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate a map (H, W) bilinearly at x, y (n,) px; 0 outside."""
    height, width = heatmap.shape
    padded = np.zeros((height + 2, width + 2))
    padded[1:-1, 1:-1] = heatmap
    x, y = np.clip(x + 1, 0, width + 0.999), np.clip(y + 1, 0, height + 0.999)
    left, top = x.astype(int), y.astype(int)
    right_part, bottom_part = x - left, y - top
    return (
        padded[top, left] * (1 - bottom_part) * (1 - right_part)
        + padded[top, left + 1] * (1 - bottom_part) * right_part
        + padded[top + 1, left] * bottom_part * (1 - right_part)
        + padded[top + 1, left + 1] * bottom_part * right_part
    )


def best_pose(points: np.ndarray, unary: np.ndarray, pairwise: list[np.ndarray], body: HumanBody) -> np.ndarray:
    """Maximize the product of unaries (J, n) and pairwise terms (n, n) per limb over points (J, n, 3): (J, 3)."""
    belief = unary.copy()
    partner = {}
    for (parent, child), matrix in reversed(list(zip(body.edges, pairwise, strict=True))):
        product = matrix * belief[child]  # (n_parent, n_child)
        partner[child] = product.argmax(1)
        belief[parent] *= product[np.arange(len(product)), partner[child]]
    bins = {body.root: int(belief[body.root].argmax())}
    for parent, child in body.edges:
        bins[child] = int(partner[child][bins[parent]])
    return np.array([points[joint, bins[joint]] for joint in range(body.num_joints)])
