"""Draw joints and heatmaps into images, and tile and label images. Images are (h, w, 3) uint8 BGR."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lib.utils.errors import InputError, check_shape
from lib.utils.files.atomic import write_bytes

# BGR; blue, orange and green that color-blind readers can distinguish
SIDE_COLORS = {"left": (222, 134, 27), "right": (12, 98, 241), "middle": (96, 196, 80)}
OUTLINE = (20, 20, 20)
PAPER = (250, 250, 250)  # behind titles and legends
GAP_PX = 4
LABEL_PX = 18  # height of the strip above an image
HEADER_PX = 30  # height of the strip above all images
JPEG_QUALITY = 90
GRID_CELL_PX = 112  # height of a cell of heatmap_grid()
MAX_GRID_ROWS = 16
_LABEL_FONT_PX = 12
_HEADER_FONT_PX = 16
_FAINT_PEAK = 0.3  # heatmaps with a lower peak are drawn fainter instead of being stretched to full brightness


@dataclass(frozen=True)
class Skeleton:
    """Joints and limbs to draw.

    Attributes:
        names: joint names, in the order of the joint arrays.
        edges: (parent, child) joint indices.
        sides: "left", "right" or "middle" per joint.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    sides: tuple[str, ...]

    @classmethod
    def from_names(
        cls, names: Sequence[str], edges: Sequence[tuple[int, int]], flip_pairs: Sequence[tuple[str, str]]
    ) -> Skeleton:
        """Build a skeleton; joints outside `flip_pairs` (right, left) are in the middle."""
        side_of = {name: "right" for name, _ in flip_pairs} | {name: "left" for _, name in flip_pairs}
        return cls(tuple(names), tuple(edges), tuple(side_of.get(name, "middle") for name in names))

    def edge_sides(self) -> list[str]:
        """Return the side of each edge, which is the side of its child."""
        return [self.sides[child] for _, child in self.edges]


def draw_pose(image: np.ndarray, joints: np.ndarray, visible: np.ndarray, skeleton: Skeleton) -> None:
    """Draw limbs and joints into an image, in the colors of their sides.

    Args:
        image: (h, w, 3) uint8, changed in place.
        joints: (J, 2) px of the image.
        visible: (J,) joints to draw; joints that are not finite are left out.
        skeleton: skeleton of the J joints.
    """
    num_joints = len(skeleton.names)
    check_shape("joints", joints.shape, (num_joints, 2))
    size = max(image.shape[:2])
    thickness = max(1, round(size / 130))
    radius = max(2, round(size / 75))
    with np.errstate(invalid="ignore"):
        drawn = np.asarray(visible, bool) & (np.abs(joints) < 4 * size).all(-1)  # false for NaN
    # OpenCV takes integers with 4 fractional bits.
    points = {joint: tuple(int(c) for c in np.round(joints[joint] * 16)) for joint in np.flatnonzero(drawn)}
    for (parent, child), side in zip(skeleton.edges, skeleton.edge_sides(), strict=True):
        if parent in points and child in points:
            cv2.line(image, points[parent], points[child], SIDE_COLORS[side], thickness, cv2.LINE_AA, shift=4)
    for joint, point in points.items():
        if radius > 2:  # at thumbnail size an outline would hide the color
            cv2.circle(image, point, (radius + 1) * 16, OUTLINE, -1, cv2.LINE_AA, shift=4)
        cv2.circle(image, point, radius * 16, SIDE_COLORS[skeleton.sides[joint]], -1, cv2.LINE_AA, shift=4)


def overlay_heatmap(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Overlay a heatmap on a grayed, darkened image; higher values cover more of the image.

    Args:
        image: (h, w, 3) uint8.
        heatmap: (H, W); its pixel (x, y) is at (x w/W, y h/H) of the image.

    Returns:
        (h, w, 3) uint8.
    """
    height, width = image.shape[:2]
    stride = np.array([[width / heatmap.shape[1], 0, 0], [0, height / heatmap.shape[0], 0]])
    finite = np.nan_to_num(heatmap.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    value = cv2.warpAffine(finite, stride, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    value = (value / max(float(finite.max()), _FAINT_PEAK)).clip(0, 1)
    color = cv2.applyColorMap((value * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    opacity = np.sqrt(value)[..., None] * 0.85
    backdrop = 0.45 * image + 0.4 * image.mean(-1, keepdims=True)
    return (backdrop * (1 - opacity) + color * opacity).round().astype(np.uint8)


def joint_grid(
    images: np.ndarray,
    joints: np.ndarray,
    visible: np.ndarray,
    skeleton: Skeleton,
    columns: int,
    texts: Sequence[str],
    title: str,
) -> np.ndarray:
    """Draw the joints of a batch, and tile the images below a title and the legend of the colors.

    Args:
        images: (M, h, w, 3) uint8; not changed.
        joints: (M, J, 2) px of the images.
        visible: (M, J).
        skeleton: skeleton of the J joints.
        columns: images per row, e.g. the number of views.
        texts: M labels.
        title: title of the grid.

    Returns:
        (height, width, 3) uint8.
    """
    images = images.copy()
    for image, points, shown in zip(images, joints, visible, strict=True):
        draw_pose(image, points, shown, skeleton)
    cells = [labeled(image, text) for image, text in zip(images, texts, strict=True)]
    return titled(tile(np.stack(cells), columns), title)


def heatmap_grid(
    images: np.ndarray,
    heatmaps: np.ndarray,
    skeleton: Skeleton,
    texts: Sequence[str],
    title: str,
    joints: np.ndarray,
    visible: np.ndarray,
) -> np.ndarray:
    """Tile one row per image: the image with joints, then the heatmap of each joint with its name and peak.

    Args:
        images: (M, h, w, 3) uint8; images beyond the first MAX_GRID_ROWS are left out.
        heatmaps: (M, J, H, W).
        skeleton: skeleton of the J joints.
        texts: M labels of the images.
        title: title of the grid.
        joints: (M, J, 2) px of the images.
        visible: (M, J).

    Returns:
        (height, width, 3) uint8.
    """
    num_joints = len(skeleton.names)
    check_shape("heatmaps", heatmaps.shape, (len(images), num_joints, "H", "W"))
    height, width = images.shape[1:3]
    cell_wh = (max(1, round(GRID_CELL_PX * width / height)), GRID_CELL_PX)
    scale = np.array(cell_wh) / (width, height)
    cells = []
    for image in range(min(len(images), MAX_GRID_ROWS)):
        small = cv2.resize(images[image], cell_wh, interpolation=cv2.INTER_AREA)
        with_pose = small.copy()
        draw_pose(with_pose, joints[image] * scale, visible[image], skeleton)
        cells.append(labeled(with_pose, texts[image]))
        for name, heatmap in zip(skeleton.names, heatmaps[image], strict=True):
            cells.append(labeled(overlay_heatmap(small, heatmap), f"{name} {float(heatmap.max()):.2f}"))
    return titled(tile(np.stack(cells), 1 + num_joints), title)


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """Arrange (M, h, w, 3) images in rows of `columns`, with dark gaps; the last row may be incomplete."""
    count, height, width = images.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    padded = np.zeros((rows * columns, height + GAP_PX, width + GAP_PX, 3), np.uint8)
    padded[:count, :height, :width] = images
    grid = padded.reshape(rows, columns, *padded.shape[1:]).transpose(0, 2, 1, 3, 4)  # (rows, h, columns, w, 3)
    grid = grid.reshape(rows * padded.shape[1], columns * padded.shape[2], 3)
    return np.ascontiguousarray(grid[:-GAP_PX, :-GAP_PX])


def save_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write an image atomically, in the format of the suffix (.jpg or .png).

    Raises:
        InputError: the suffix is unknown, or the disk is full.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".jpg", ".jpeg", ".png"):
        raise InputError(f"{path}: expected a name ending in .jpg or .png")
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    write_bytes(path, cv2.imencode(suffix, image, options)[1].tobytes())


def labeled(image: np.ndarray, text: str) -> np.ndarray:
    """Return an image (h, w, 3) below a dark strip with white text, which shrinks to the width of the image.

    Returns:
        (LABEL_PX + h, w, 3) uint8.
    """
    strip = Image.new("RGB", (image.shape[1], LABEL_PX), OUTLINE)
    font = _font(_LABEL_FONT_PX)
    if font.getlength(text) > strip.width - 8:
        font = _font(max(1.0, _LABEL_FONT_PX * (strip.width - 8) / font.getlength(text)))
    ImageDraw.Draw(strip).text((4, LABEL_PX / 2), text, (255, 255, 255), font, anchor="lm")
    return np.concatenate([np.asarray(strip), image])


def titled(image: np.ndarray, title: str, *notes: str) -> np.ndarray:
    """Return an image (h, w, 3) below a title and, to the right, notes and the legend of the sides' colors.

    Returns:
        (HEADER_PX + h, w, 3) uint8.
    """
    strip = Image.new("RGB", (image.shape[1], HEADER_PX), PAPER)
    draw = ImageDraw.Draw(strip)
    texts = [title, *notes, *SIDE_COLORS]
    swatch, gap = 12, 16
    fixed = gap * (len(texts) + 1) + (swatch + 4) * len(SIDE_COLORS)
    font = _font(_HEADER_FONT_PX)
    length = sum(font.getlength(text) for text in texts)
    if length > strip.width - fixed:
        font = _font(_HEADER_FONT_PX * max(0.2, (strip.width - fixed) / length))
    x, middle = float(strip.width), HEADER_PX / 2
    for text in reversed(texts[1:]):
        x -= font.getlength(text) + gap
        draw.text((x, middle), text, OUTLINE, font, anchor="lm")
        if text in SIDE_COLORS:
            x -= swatch + 4
            draw.rectangle((x, middle - swatch / 2, x + swatch - 1, middle + swatch / 2 - 1), SIDE_COLORS[text])
    draw.text((8, middle), title, OUTLINE, font, anchor="lm")
    return np.concatenate([np.asarray(strip), image])


def side_rgb(side: str) -> tuple[float, ...]:
    """Return the color of a side ("left", "right", "middle") for matplotlib."""
    return tuple(channel / 255 for channel in SIDE_COLORS[side][::-1])


@functools.lru_cache
def _font(size_px: float) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size_px)
