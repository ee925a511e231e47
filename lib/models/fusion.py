"""The learned cross-view fusion of heatmaps: one dense matrix per ordered pair of views."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.models.fusion_product import fusion_product
from lib.multiviews.cameras import CropCameras
from lib.utils.errors import InputError, check_shape, unknown_name

PUBLISHED_INIT_MAX = 0.1
_INITS = ("published", "zeros")


class CrossViewFusion(nn.Module):
    """Add to the heatmaps of each view what the heatmaps of the other views say about it.

    fused_i = own * H_i + (1 - own) / (V - 1) * sum over views j != i of H_j W_ij, with H_j as a row vector of H*W
    pixels. All joints share the matrices. `weight[i, n]` is the matrix into view i from view source_views(V)[i][n].
    Under torch.autocast the products are in its type, with the memory of fusion_product().

    Args:
        num_views: V, at least 2. The matrices encode the rig, so V and the order of the views are fixed.
        heatmap_hw: (H, W) of the heatmaps.
        self_weight: weight `own` of the view itself; the others share the rest.
        init: "published" draws from U(0, 0.1); "zeros" starts from own * H_i.

    Raises:
        InputError: fewer than 2 views, or an unknown initialisation.

    Source: paper equation 1, with the weights .4 and .6 of the released code.
    """

    def __init__(
        self, num_views: int, heatmap_hw: tuple[int, int], self_weight: float = 0.4, init: str = "published"
    ) -> None:
        super().__init__()
        if num_views < 2:
            raise InputError(f"fusion needs at least 2 views, received {num_views}; set NETWORK.FUSION none")
        if init not in _INITS:
            raise unknown_name("initialisation", init, _INITS, "NETWORK.FUSION_INIT")
        self.num_views = num_views
        self.heatmap_hw = tuple(heatmap_hw)
        self.self_weight = self_weight
        self.init = init
        num_pixels = heatmap_hw[0] * heatmap_hw[1]
        self.weight = nn.Parameter(torch.empty(num_views, num_views - 1, num_pixels, num_pixels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fill the matrices as `init` says."""
        if self.init == "zeros":
            nn.init.zeros_(self.weight)
        else:
            nn.init.uniform_(self.weight, 0.0, PUBLISHED_INIT_MAX)

    def forward(self, heatmaps: Tensor, views: CropCameras | None = None) -> Tensor:
        """Fuse the heatmaps of all views.

        Args:
            heatmaps: (B, V, J, H, W), views in the order of the rig.
            views: not looked at; the other fusions need the cameras.

        Returns:
            (B, V, J, H, W) fused heatmaps.

        Raises:
            InputError: another number of views or another map size than the matrices are for.
        """
        height, width = self.heatmap_hw
        sizes = check_shape("fusion: heatmaps", heatmaps.shape, ("B", self.num_views, "J", height, width))
        batch = sizes["B"]
        joints = sizes["J"]
        num_pixels = height * width
        rows = heatmaps.transpose(0, 1).reshape(self.num_views, batch * joints, num_pixels)  # (V, B*J, H*W)
        mixed = fusion_product(rows.to(self._products_dtype(heatmaps)), self.weight)  # (V, B*J, H*W)
        other_weight = (1.0 - self.self_weight) / (self.num_views - 1)
        fused = self.self_weight * rows + other_weight * mixed
        return fused.view(self.num_views, batch, joints, height, width).transpose(0, 1)  # (B, V, J, H, W)

    def _products_dtype(self, heatmaps: Tensor) -> torch.dtype:
        device = heatmaps.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype

    @torch.no_grad()
    def source_weights(self, view: int, pixels: Tensor) -> Tensor:
        """Return what the pixels of the other views count for pixels of one view.

        Args:
            view: target view i.
            pixels: (P, 2) integer (x, y), heatmap px of view i.

        Returns:
            (P, V-1, H, W) columns of the matrices W_ij as maps, the other views j as in source_views(V)[i].
        """
        height, width = self.heatmap_hw
        columns = self.weight[view][:, :, pixels[:, 1] * width + pixels[:, 0]]  # (V-1, H*W, P)
        return columns.permute(2, 0, 1).unflatten(-1, (height, width))  # (P, V-1, H, W)
