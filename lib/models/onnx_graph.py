"""The network as one traceable graph: backbone and fusion, without branches on values.

The fusions along epipolar lines choose the number of samples and the kind of lines by values. Here the choices are
tensors; the results are the same.
"""

import numpy as np
import torch
from numpy.polynomial.chebyshev import chebvander
from torch import Tensor, nn

from lib.models.epipolar_fusion import AdaptiveFusion, EpipolarFusion
from lib.models.fusion import CrossViewFusion
from lib.models.multiview_pose import MultiViewPose
from lib.multiviews.cameras import Cameras, CropCameras, undistort
from lib.multiviews.geometry.epipolar_torch import LINES, HeatmapRays, line_nodes
from lib.utils.errors import InputError

_NEWTON_STEPS = 6  # of undistort(); most lenses need 3 to 5
CAMERA_INPUTS = ("R", "T", "f", "c", "k", "p")


class OnnxGraph(nn.Module):
    """Backbone and fusion with plain tensors as inputs.

    Args:
        model: network in evaluation mode, with weights.

    Raises:
        InputError: a fusion other than the built-in ones.
    """

    def __init__(self, model: MultiViewPose) -> None:
        super().__init__()
        if not isinstance(model.fusion, (EpipolarFusion, AdaptiveFusion, CrossViewFusion, type(None))):
            raise InputError(
                "NETWORK.FUSION: expected learned, epipolar_sum, epipolar_max, adaptive or none for ONNX, received "
                f"{type(model.fusion).__name__}"
            )
        self.backbone = model.backbone
        self.fusion = model.fusion

    @property
    def needs_cameras(self) -> bool:
        """Whether the fusion reads cameras and crops."""
        return isinstance(self.fusion, (EpipolarFusion, AdaptiveFusion))

    def forward(self, images: Tensor, *views: Tensor) -> tuple[Tensor, ...]:
        """Compute heatmaps.

        Args:
            images: (B, V, 3, H_in, W_in) normalized crops.
            views: R, T, f, c, k, p of the cameras and the crops' to_heatmap, leading axes (B, V), if needs_cameras.

        Returns:
            single_view (B, V, J, H, W) and, with a fusion, fused (B, V, J, H, W).
        """
        single_view = self.backbone(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        if self.fusion is None:
            return (single_view,)
        if not self.needs_cameras:
            return single_view, self.fusion(single_view)
        *cameras, to_heatmap = views
        rays = ExportedRays(CropCameras(Cameras(*cameras), to_heatmap), tuple(single_view.shape[-2:]))
        return single_view, self.fusion.fuse(single_view, rays)


class ExportedRays(HeatmapRays):
    """Rays whose operations depend on no value, and exist in ONNX."""

    def line_samples(
        self, view: int, other: int, interpolate: bool
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
        """Sample as HeatmapRays does: border lines, or the lines of all pixels as pairs of themselves."""
        every, every_seen = self.directions[:, view], self.seen(view)
        num_pixels = every.shape[1]
        if not interpolate or len(self._border_points()) > num_pixels:
            return self.lines(view, other), None
        border, border_seen = self._border_rays(view)
        is_border = self._crossing(every, view, other) & self._crossing(border, view, other)
        count = torch.where(is_border, border.shape[1], num_pixels).item()
        torch._check(count >= 1)
        torch._check(count <= num_pixels)
        rows = torch.arange(count, device=every.device) + torch.where(is_border, num_pixels, 0)
        directions = torch.cat([every, border], 1).index_select(1, rows)
        seen = torch.cat([every_seen, border_seen], 1).index_select(1, rows)
        pair, share = self._between_border(border, border_seen, view, other)
        itself = torch.arange(num_pixels, device=every.device)[:, None].expand_as(pair)
        mix = (torch.where(is_border, pair, itself), torch.where(is_border, share, 0.0), every_seen | ~is_border)
        return self._lines(directions, seen, view, other), mix

    def _undistort(self, points_img: Tensor, cameras: Cameras) -> Tensor:
        return undistort(points_img, cameras, _NEWTON_STEPS)

    def _inverse(self, matrices: Tensor) -> Tensor:
        (a, b), (c, d) = (row.unbind(-1) for row in matrices.unbind(-2))
        rows = [torch.stack([d, -b], -1), torch.stack([-c, a], -1)]
        return torch.stack(rows, -2) / (a * d - b * c)[..., None, None]

    def _first_not_below(self, ascending: Tensor, wanted: Tensor) -> Tensor:
        return (ascending[..., None, :] < wanted[..., None]).sum(-1)

    def _evenly(self, knots: Tensor, longest: Tensor) -> Tensor:
        steps = (longest.double() * LINES.coarse_steps - LINES.rounding).ceil().clamp(min=1)
        count = steps.long().item() + 1
        torch._check(count >= 2)
        places = 2 * torch.arange(count, device=knots.device).double() / steps - 1  # from -1 to 1
        powers = [torch.ones_like(places), places]
        while len(powers) <= LINES.degree:
            powers.append(2 * places * powers[-1] - powers[-2])
        to_weights = torch.as_tensor(np.linalg.inv(chebvander(2 * line_nodes() - 1, LINES.degree).T))
        weights = to_weights.to(places) @ torch.stack(powers)
        return (knots.transpose(-1, -2) @ weights.to(knots)).transpose(-1, -2)
