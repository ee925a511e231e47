"""BlazePose's landmark network as a backbone with fixed weights: it makes heatmaps of any person without training.

Source: Bazarevsky et al., BlazePose: On-device Real-time Body Pose Tracking, 2020. The file is part of the package
mediapipe 0.10.14 (Apache-2.0).
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy.fft import irfft2, rfft2
from scipy.special import expit
from torch import Tensor, nn

from lib.utils.errors import InputError
from lib.utils.joints import UNION_20
from lib.utils.tflite import TfliteNetwork
from lib.utils.transforms import IMAGE_MEAN, IMAGE_STD

INPUT_WH = (256, 256)
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
_SIDES = (11, 2, 7), (12, 5, 8)  # left and right shoulder, eye, ear
_USED = sorted({*_MAPS.values(), *_SIDES[0], *_SIDES[1]})
_SHIFT_PX = 0.125  # map px; a joint at crop px x peaks at (x + 0.5) / 4, as mirrored crops show, and here at x / 4
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
        crops = images.detach().float().cpu().numpy()
        rgb = np.empty((len(crops), *crops.shape[2:], 3), np.float32)
        for channel in range(3):
            np.multiply(crops[:, channel], IMAGE_STD[channel], out=rgb[..., 2 - channel])
            rgb[..., 2 - channel] += IMAGE_MEAN[channel]
        logits = self._logits(rgb)[..., _USED].transpose(0, 3, 1, 2)
        maps = expit(np.ascontiguousarray(logits))
        _shift(maps)
        return torch.from_numpy(self._joints(maps)).to(images.device)

    def _joints(self, maps: np.ndarray) -> np.ndarray:
        """Return the union joints (B, J, H, W) from the maps _USED (B, K, H, W)."""
        joints = np.zeros((len(maps), self._num_joints, *maps.shape[-2:]), np.float32)
        joints[:, UNION_20.indices(list(_MAPS))] = maps[:, _places(_MAPS.values())]
        left, right = (maps[:, _places(side)] for side in _SIDES)
        neck, eyes, ears = midpoint_maps(left, right).swapaxes(0, 1)
        joints[:, UNION_20.index("neck")] = neck
        root = joints[:, UNION_20.index("root")]
        belly_and_head = midpoint_maps(np.stack([root, eyes], 1), np.stack([neck, ears], 1))
        joints[:, UNION_20.indices(["belly", "head"])] = belly_and_head
        return joints


def _shift(maps: np.ndarray) -> None:
    """Move maps (B, K, H, W) by _SHIFT_PX to the left and up, by linear interpolation in place."""
    maps[..., :-1, :] += _SHIFT_PX * np.diff(maps, axis=-2)
    maps[..., :-1] += _SHIFT_PX * np.diff(maps, axis=-1)


def _places(maps: Iterable[int]) -> list[int]:
    return [_USED.index(one) for one in maps]


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


def midpoint_maps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
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
    peaks = [maps.max((-2, -1), keepdims=True) for maps in (first, second)]
    one, other = (
        rfft2(np.where(maps < _MIN_SHARE * peak, 0, maps), size)
        for maps, peak in zip((first, second), peaks, strict=True)
    )
    product = irfft2(one * other, size)[..., ::2, ::2].clip(0)  # sums of positions that are even
    highest = product.max((-2, -1), keepdims=True)
    return product * (np.sqrt(peaks[0] * peaks[1]) / np.maximum(highest, np.finfo(np.float32).tiny))
