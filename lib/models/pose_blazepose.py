"""BlazePose's landmark network as a backbone with fixed weights: it makes heatmaps of any person without training.

Source: Bazarevsky et al., BlazePose: On-device Real-time Body Pose Tracking, 2020. The file is part of the package
mediapipe 0.10.14 (Apache-2.0).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lib.utils.errors import InputError
from lib.utils.joints import UNION_20
from lib.utils.tflite import TfliteNetwork
from lib.utils.transforms import IMAGE_MEAN, IMAGE_STD

INPUT_WH = (256, 256)
HEATMAP_WH = (64, 64)
_HEATMAPS = "Identity_3"  # output of the file: logits (B, 64, 64, 39)
# Union joint -> its map: 33 landmarks, then auxiliary points, of which 33 is the middle of the hips.
_JOINTS = (
    "root",
    "nose",
    "lsho",
    "rsho",
    "lelb",
    "relb",
    "lwri",
    "rwri",
    "lhip",
    "rhip",
    "lkne",
    "rkne",
    "lank",
    "rank",
)
_MAPS = dict(zip(_JOINTS, (33, 0, *range(11, 17), *range(23, 29)), strict=True))
_EYES = (2, 5)
_EARS = (7, 8)
_MIN_SHARE = 0.05  # of the peak, below which a map counts as 0 in a midpoint


class BlazePose(nn.Module):
    """Heatmaps of 17 union joints; the joints that BlazePose lacks (thorax, upper neck, head top) are 0.

    Belly, neck and head are midpoints of other joints, see midpoint_maps().

    Args:
        logits: function from RGB crops (B, 256, 256, 3) float32, 0 to 1, to logits (B, 64, 64, 39).
        num_joints: number of union joints.
    """

    def __init__(self, logits: Callable[[np.ndarray], np.ndarray], num_joints: int = len(UNION_20)) -> None:
        super().__init__()
        self._logits = logits
        self._num_joints = num_joints

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Compute heatmaps on the CPU.

        Args:
            images: (B, 3, 256, 256) normalized crops, BGR.

        Returns:
            (B, J, 64, 64) probabilities, on the device of the images.

        Raises:
            InputError: the crops have another size.
        """
        if tuple(images.shape[:1:-1]) != INPUT_WH:
            raise InputError(
                f"NETWORK.IMAGE_SIZE: expected {INPUT_WH[0]} x {INPUT_WH[1]} for BACKBONE_MODEL blazepose, received "
                f"{images.shape[-1]} x {images.shape[-2]}"
            )
        mean, std = (torch.from_numpy(values)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
        bgr = images.detach().float().cpu() * std + mean
        rgb = bgr.flip(1).permute(0, 2, 3, 1).contiguous()
        maps = torch.from_numpy(self._logits(rgb.numpy())).permute(0, 3, 1, 2).sigmoid()  # (B, 39, 64, 64)
        return self._joints(maps).to(images.device)

    def _joints(self, maps: Tensor) -> Tensor:
        heatmaps = maps.new_zeros(len(maps), self._num_joints, *maps.shape[-2:])
        heatmaps[:, UNION_20.indices(list(_MAPS))] = maps[:, list(_MAPS.values())]
        shoulders = (_MAPS["rsho"], _MAPS["lsho"])
        first, second = (maps[:, list(pair)] for pair in zip(shoulders, _EYES, _EARS, strict=True))
        neck, eyes, ears = midpoint_maps(first, second).unbind(1)
        root = maps[:, _MAPS["root"]]
        heatmaps[:, UNION_20.index("neck")] = neck
        belly_and_head = midpoint_maps(torch.stack([root, eyes], 1), torch.stack([neck, ears], 1))
        heatmaps[:, UNION_20.indices(["belly", "head"])] = belly_and_head
        return heatmaps


def build_blazepose(path: str, num_joints: int) -> BlazePose:
    """Return the backbone of a BlazePose landmark file (lite, full or heavy).

    Raises:
        InputError: the file or the package is missing, or the file is another network.
    """
    network = TfliteNetwork(
        path, advice="fetch it with run/demo/fetch_blazepose.py, or set BLAZEPOSE.FILE to a landmark file of BlazePose"
    )
    if network.input_shape != (*INPUT_WH, 3):
        raise InputError(
            f"BLAZEPOSE.FILE {path}: expected a network for crops of {INPUT_WH[0]} x {INPUT_WH[1]} px, received one "
            f"for {network.input_shape}"
        )
    return BlazePose(lambda crops: network(crops, _HEATMAPS)[0], num_joints)


def midpoint_maps(first: Tensor, second: Tensor) -> Tensor:
    """Return heatmaps of the points midway between two joints.

    Heatmaps are taken as distributions of independent joints a and b: that of (a + b) / 2 is their convolution at half
    the scale. So a joint with two peaks gives a midpoint with two. The peak becomes the geometric mean of both peaks.

    Args:
        first, second: (B, C, H, W), not negative.

    Returns:
        (B, C, H, W).
    """
    height, width = first.shape[-2:]
    size = (2 * height, 2 * width)
    peaks = [maps.amax((-2, -1), keepdim=True) for maps in (first, second)]
    one, other = (
        torch.fft.rfft2(torch.where(maps < _MIN_SHARE * peak, 0, maps), s=size)
        for maps, peak in zip((first, second), peaks, strict=True)
    )
    product = torch.fft.irfft2(one * other, s=size)[..., ::2, ::2].clamp(min=0)  # sums of positions that are even
    wanted = (peaks[0] * peaks[1]).sqrt()
    return product * (wanted / product.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(product.dtype).tiny))
