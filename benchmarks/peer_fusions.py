"""AdaFuse and algebraic learnable triangulation on a frozen backbone, in our own code, for bench_peer_fusions.py.

- AdaFuse (Zhang et al., AdaFuse: Adaptive Multiview Fusion for Accurate Human Pose Estimation in the Wild, IJCV 2021).
- Algebraic learnable triangulation (Iskakov et al., Learnable Triangulation of Human Pose, ICCV 2019).

Both papers train the backbone together with the method. Here the backbone is frozen and the networks are smaller. The
docstrings of the classes list the other differences. Settings that the papers do not give follow the released code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from bench_reliability import PeakSet
from torch import Tensor, nn

from lib.core.loss import heatmap_loss
from lib.dataset.network_input import gaussian_targets
from lib.models.epipolar_fusion import AdaptiveFusion
from lib.multiviews.cameras import Cameras, CropCameras, undistort
from lib.utils.joints import H36M_17


@dataclass
class Outputs:
    """Network outputs and ground truth of F groups of V views with J joints.

    Attributes:
        peaks: frames, peaks of the single-view heatmaps, heatmaps of epipolar_max.
        maps: (F, V, J, H, W) float16 single-view heatmaps.
        along: (F, V, V-1, J, H, W) float16 maximum along the epipolar line of each pixel in every other view.
        deep: (F, V, C, h, w) float16 features of the last stage of the ResNet.
        cameras: cameras and crops, leading axes (F, V), float32.
        joints_hm: (F, V, J, 2) ground truth, heatmap px.
        joints_img: (F, V, J, 2) ground truth, image px.
        visible, occluded: (F, V, J) bool.
        threshold: (F, V) largest error of a detected joint, image px.
    """

    peaks: PeakSet
    maps: Tensor
    along: Tensor
    deep: Tensor
    cameras: CropCameras
    joints_hm: Tensor
    joints_img: np.ndarray
    visible: Tensor
    occluded: np.ndarray
    threshold: np.ndarray

    def __len__(self) -> int:
        return len(self.maps)


def other_views(num_views: int) -> list[list[int]]:
    """Return the other views of every view."""
    return [[other for other in range(num_views) if other != view] for view in range(num_views)]


def soft_argmax(maps: Tensor, inverse_temperature: Tensor | float, radius: float | None = None) -> Tensor:
    """Return the mean position (..., 2), heatmap px, under the softmax of maps (..., H, W).

    Args:
        maps: heatmaps.
        inverse_temperature: factor before the softmax.
        radius: use only pixels within this distance of the highest pixel, along both axes, px; None = all.
    """
    height, width = maps.shape[-2:]
    y, x = (one.flatten().to(maps) for one in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    logits = maps.flatten(-2) * inverse_temperature
    if radius is not None:
        best = maps.flatten(-2).argmax(-1, keepdim=True)
        far = ((x - best % width).abs() > radius) | ((y - best // width).abs() > radius)
        logits = logits.masked_fill(far, -torch.inf)
    return logits.softmax(-1) @ torch.stack([x, y], -1)


def normalized_points(points_hm: Tensor, views: CropCameras) -> Tensor:
    """Convert heatmap px (B, V, P, 2) to points without distortion (x/z, y/z), differentiable."""
    linear, shift = views.to_heatmap[..., :2], views.to_heatmap[..., 2]
    points_img = (points_hm - shift[..., None, :]) @ torch.linalg.inv(linear).mT
    return undistort(points_img, views.cameras).nan_to_num(0)  # beyond the reach of the lens: not seen in these rigs


def epipolar_distances(points_hm: Tensor, views: CropCameras) -> Tensor:
    """Return the Sampson distances (B, V, V-1, P), heatmap px, of points (B, V, P, 2) from the other views' points."""
    cameras = views.cameras
    rays = F.pad(normalized_points(points_hm, views), (0, 1), value=1.0)
    px = cameras.f.mean(-1) * torch.linalg.det(views.to_heatmap[..., :2]).abs().sqrt()  # (B, V) px per normalized unit
    found = []
    for view, others in enumerate(other_views(rays.shape[1])):
        own = rays[:, view, None]
        rotation = cameras.R[:, view, None] @ cameras.R[:, others].mT
        shift = (cameras.R[:, view, None] @ (cameras.T[:, others] - cameras.T[:, view, None])[..., None]).mT
        line = torch.linalg.cross(shift, rays[:, others] @ rotation.mT)
        line_other = torch.linalg.cross(shift, own) @ rotation
        norm = torch.cat([line[..., :2], line_other[..., :2]], -1).norm(dim=-1)
        found.append((own * line).sum(-1).abs() / norm * px[:, view, None, None])
    return torch.stack(found, 1)


class AdaFuse(nn.Module):
    """AdaFuse: heatmaps with peak 1, weighted per view and joint, plus their maxima along the epipolar lines.

    The appearance branch embeds the heatmap. The geometry branch embeds, for every other view, exp(-d) and the height
    of the own peak, where d is the Sampson distance of both peaks; the embeddings are averaged. The fused heatmap of a
    view is the sum over all views of weight times map. It is trained with the smooth L1 loss on the soft-argmax of the
    fused heatmaps, as in the released code.

    Differences: 32 instead of 256 channels, strides instead of pooling, distances in heatmap px of the quadratic fit.
    """

    epochs = 2
    rate = 2e-3
    inverse_temperature = 20.0
    radius_px = 3.75  # 2.5 standard deviations of the targets
    min_height = 0.01  # the weight of a lower peak is 0

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.appearance = nn.Sequential(
            *(nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()),
        )
        self.geometry = nn.Sequential(
            *(nn.Linear(2, 2 * width), nn.ReLU()), *(nn.Linear(2 * width, 2 * width), nn.ReLU())
        )
        self.weight = nn.Sequential(
            *(nn.Linear(3 * width, 4 * width), nn.ReLU()),
            *(nn.Linear(4 * width, 2 * width), nn.ReLU()),
            nn.Linear(2 * width, 1),
        )

    def forward(self, data: Outputs, rows: Tensor) -> Tensor:
        """Return the fused heatmaps (B, V, J, H, W) of some groups."""
        maps = data.maps[rows].float()
        weight, height = self.weights(data, rows)
        factor = (weight / height.clamp(min=self.min_height))[..., None, None]  # (B, V, J, 1, 1)
        others = factor[:, other_views(maps.shape[1])]  # (B, V, V-1, J, 1, 1)
        return factor * maps + (others * data.along[rows]).sum(2)

    def weights(self, data: Outputs, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights and the heights of the peaks, (B, V, J) each."""
        own = torch.from_numpy(np.nan_to_num(data.peaks.peaks[rows, ..., 0, :]))  # (B, V, J, 3)
        height = own[..., 2]
        near = (-epipolar_distances(own[..., :2], data.cameras[rows])).exp()  # (B, V, V-1, J)
        pairs = torch.stack([near, height[:, :, None].expand_as(near)], -1)
        parts = [
            self.appearance(data.maps[rows].float().flatten(0, 2)[:, None]).unflatten(0, height.shape),
            self.geometry(pairs).mean(2),
        ]
        return torch.sigmoid(self.weight(torch.cat(parts, -1)))[..., 0] * (height > self.min_height), height

    def loss(self, data: Outputs, rows: Tensor) -> Tensor:
        """Return the smooth L1 loss of the visible joints, heatmap px."""
        found = soft_argmax(self(data, rows), self.inverse_temperature, self.radius_px)
        visible = data.visible[rows]
        return F.smooth_l1_loss(found[visible], data.joints_hm[rows][visible])


class Adaptive(nn.Module):
    """NETWORK.FUSION adaptive, trained as by train.py with a frozen backbone."""

    sigma = 1.5  # NETWORK.SIGMA
    epochs = 1
    rate = 3e-3

    def __init__(self) -> None:
        super().__init__()
        self.fusion = AdaptiveFusion()

    def forward(self, data: Outputs, rows: Tensor) -> Tensor:
        """Return the fused heatmaps (B, V, J, H, W) of some groups."""
        return self.fusion(data.maps[rows].float(), data.cameras[rows])

    def loss(self, data: Outputs, rows: Tensor) -> Tensor:
        """Return the mean squared error of the heatmaps."""
        fused = self(data, rows)
        size = fused.shape[:-3:-1]
        target, weight = gaussian_targets(data.joints_hm[rows], data.visible[rows], size, size, self.sigma, True)
        return heatmap_loss(fused, target, weight)


class AlgebraicTriangulation(nn.Module):
    """Algebraic learnable triangulation: soft-argmax, a confidence per view and joint, weighted DLT.

    The confidences of all joints of an image come from the last stage of the ResNet. They multiply the rows of the DLT.
    The loss is the squared error in cm^2 up to (20 cm)^2, and grows with its power 0.1 beyond.

    Differences: the inverse temperature of the soft-argmax is trained, because the frozen heatmaps cannot adapt to it
    (it starts at 20; at 100, as released, the error is 4 mm higher); fewer channels; one pooling, for maps of 4 x 4 px.
    """

    epochs = 15
    rate = 1e-3
    clip_cm2 = 400.0

    def __init__(self, channels: int = 512, num_joints: int = len(H36M_17), width: int = 128) -> None:
        super().__init__()
        self.confidence = nn.Sequential(
            *(nn.Conv2d(channels, width, 3, 1, 1), nn.BatchNorm2d(width), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, width), nn.ReLU()),
            *(nn.Linear(width, num_joints), nn.Sigmoid()),
        )
        self.log_inverse_temperature = nn.Parameter(torch.tensor(20.0).log())

    def forward(self, data: Outputs, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return points (B, V, J, 2), heatmap px, and confidences (B, V, J) that add up to 1 over the views."""
        points = soft_argmax(data.maps[rows].float(), self.log_inverse_temperature.exp())
        confidence = self.confidence(data.deep[rows].float().flatten(0, 1)).unflatten(0, points.shape[:2])
        return points, confidence / confidence.sum(1, keepdim=True) + 1e-5

    def loss(self, data: Outputs, rows: Tensor) -> Tensor:
        """Return the clipped squared error of the 3D joints, cm^2."""
        points, confidence = self(data, rows)
        views = data.cameras[rows]
        pose = dlt(normalized_points(points, views), confidence, views.cameras)
        square = ((pose - torch.from_numpy(data.peaks.frames.gt_world[rows])) / 10).square()
        return torch.where(square > self.clip_cm2, square.clamp(min=1e-6) ** 0.1 * self.clip_cm2**0.9, square).mean()


def dlt(points: Tensor, weights: Tensor, cameras: Cameras) -> Tensor:
    """Triangulate as lib/multiviews/keypoints/triangulate.py, differentiable.

    Args:
        points: (B, V, P, 2) normalized points without distortion.
        weights: (B, V, P) factors on the rows of the linear system.
        cameras: leading axes (B, V).

    Returns:
        (B, P, 3) world frame, mm, float64.
    """
    points, weights, cameras = points.double(), weights.double(), cameras.map(torch.Tensor.double)
    middle = cameras.T.mean(1, keepdim=True)
    unit = (cameras.T - middle).square().sum(-1, keepdim=True).mean(1, keepdim=True).sqrt()  # (B, 1, 1) mm
    shift = cameras.R @ ((middle - cameras.T) / unit)[..., None]
    matrix = torch.cat([cameras.R, shift], -1)[:, :, None]  # (B, V, 1, 3, 4)
    rows = (points[..., None] * matrix[..., 2:, :] - matrix[..., :2, :]) * weights[..., None, None]
    rows = rows.transpose(1, 2).flatten(2, 3)  # (B, P, 2 V, 4)
    solution = torch.linalg.eigh(rows.mT @ rows).eigenvectors[..., 0]
    return solution[..., :3] / solution[..., 3:] * unit + middle
