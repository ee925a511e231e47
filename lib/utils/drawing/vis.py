"""Pictures of joints and heatmaps: plain arrays in, files out. Pictures are (h, w, 3) uint8 in OpenCV's BGR order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lib.utils.errors import InputError, check_shape
from lib.utils.files.atomic import write_bytes

# BGR; blue, orange and green that stay apart for colour-blind readers too
SIDE_COLORS = {"left": (222, 134, 27), "right": (12, 98, 241), "middle": (96, 196, 80)}
OUTLINE = (20, 20, 20)
PAPER = (250, 250, 250)  # BGR, behind titles and legends
GAP_PX = 4
LABEL_PX = 16  # heights of the strips above a picture and above all of them
HEADER_PX = 30
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LABEL_SCALE = 0.38
_HEADER_SCALE = 0.5
FAINT_PEAK = 0.3  # maps with a lower peak are drawn fainter instead of being stretched to full brightness
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Skeleton:
    """What to draw between joints.

    Attributes:
        names: joint names, in the order of the joint arrays.
        edges: (parent, child) joint indices.
        sides: per joint "left", "right" or "middle".
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
        """Return the side of each edge: that of its outer joint."""
        return [self.sides[child] for _, child in self.edges]


def draw_pose(picture: np.ndarray, joints: np.ndarray, visible: np.ndarray, skeleton: Skeleton) -> None:
    """Draw limbs and joints into a picture, left, right and middle in their colours.

    Args:
        picture: (h, w, 3) uint8, changed in place.
        joints: (J, 2) px of the picture.
        visible: (J,) which joints to draw; joints that are not finite are left out too.
        skeleton: of J joints.
    """
    num_joints = len(skeleton.names)
    check_shape("joints", joints.shape, (num_joints, 2))
    size = max(picture.shape[:2])
    thickness, radius = max(1, round(size / 130)), max(2, round(size / 75))
    with np.errstate(invalid="ignore"):
        drawn = np.asarray(visible, bool) & (np.abs(joints) < 4 * size).all(-1)  # NaN compares as false
    # OpenCV takes integers with 4 fractional bits; joints that are not drawn are not converted
    points = {joint: tuple(int(c) for c in np.round(joints[joint] * 16)) for joint in np.flatnonzero(drawn)}
    for (parent, child), side in zip(skeleton.edges, skeleton.edge_sides(), strict=True):
        if parent in points and child in points:
            cv2.line(picture, points[parent], points[child], SIDE_COLORS[side], thickness, cv2.LINE_AA, shift=4)
    for joint, point in points.items():
        if radius > 2:  # at thumbnail size an outline would hide the colour
            cv2.circle(picture, point, (radius + 1) * 16, OUTLINE, -1, cv2.LINE_AA, shift=4)
        cv2.circle(picture, point, radius * 16, SIDE_COLORS[skeleton.sides[joint]], -1, cv2.LINE_AA, shift=4)


def overlay_heatmap(picture: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Lay a heatmap over a greyed, darkened picture; the higher the value, the more colour covers the picture.

    Args:
        picture: (h, w, 3) uint8.
        heatmap: (H, W); its pixel (x, y) lies at (x w/W, y h/H) of the picture.

    Returns:
        (h, w, 3) uint8.
    """
    height, width = picture.shape[:2]
    stride = np.array([[width / heatmap.shape[1], 0, 0], [0, height / heatmap.shape[0], 0]])
    finite = np.nan_to_num(heatmap.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    value = cv2.warpAffine(finite, stride, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    value = (value / max(float(finite.max()), FAINT_PEAK)).clip(0, 1)
    color = cv2.applyColorMap((value * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    opacity = np.sqrt(value)[..., None] * 0.85
    backdrop = 0.45 * picture + 0.4 * picture.mean(-1, keepdims=True)
    return (backdrop * (1 - opacity) + color * opacity).round().astype(np.uint8)


def joint_grid(
    pictures: np.ndarray,
    joints: np.ndarray,
    visible: np.ndarray,
    skeleton: Skeleton,
    columns: int,
    texts: Sequence[str],
    title: str,
) -> np.ndarray:
    """Draw the joints of a batch and tile the pictures, below a title and what the colours mean.

    Args:
        pictures: (M, h, w, 3) uint8; not changed.
        joints: (M, J, 2) px of the pictures.
        visible: (M, J).
        skeleton: of J joints.
        columns: pictures per row, e.g. the number of views.
        texts: M labels.
        title: of all.

    Returns:
        (rows, columns, 3) uint8 grid.
    """
    pictures = pictures.copy()
    for picture, points, shown in zip(pictures, joints, visible, strict=True):
        draw_pose(picture, points, shown, skeleton)
    cells = [labeled(picture, text) for picture, text in zip(pictures, texts, strict=True)]
    return titled(tile(np.stack(cells), columns), title)


def heatmap_grid(
    pictures: np.ndarray,
    heatmaps: np.ndarray,
    skeleton: Skeleton,
    texts: Sequence[str],
    title: str,
    joints: np.ndarray | None = None,
    visible: np.ndarray | None = None,
    cell_px: int = 112,
    max_images: int = 16,
) -> np.ndarray:
    """Tile one row per image: the picture with joints, then the heatmap of every joint below its name and peak.

    Args:
        pictures: (M, h, w, 3) uint8.
        heatmaps: (M, J, H, W).
        skeleton: of J joints.
        texts: M labels of the pictures.
        title: of all.
        joints: (M, J, 2) px of the pictures; None = at the peaks of the heatmaps.
        visible: (M, J); None = all.
        cell_px: height of a picture.
        max_images: rows at most; the first images are taken.

    Returns:
        (rows, columns, 3) uint8 grid.
    """
    num_joints = len(skeleton.names)
    sizes = check_shape("heatmaps", heatmaps.shape, (len(pictures), num_joints, "H", "W"))
    count, (height, width) = min(len(pictures), max_images), pictures.shape[1:3]
    if joints is None:
        joints = heatmap_peaks(heatmaps) * (width / sizes["W"], height / sizes["H"])
    visible = np.ones(joints.shape[:2], bool) if visible is None else visible
    cell_wh = (max(1, round(cell_px * width / height)), cell_px)
    scale = np.array(cell_wh) / (width, height)
    cells = []
    for image in range(count):
        small = cv2.resize(pictures[image], cell_wh, interpolation=cv2.INTER_AREA)
        with_pose = small.copy()
        draw_pose(with_pose, joints[image] * scale, visible[image], skeleton)
        cells.append(labeled(with_pose, texts[image]))
        for name, heatmap in zip(skeleton.names, heatmaps[image], strict=True):
            cells.append(labeled(overlay_heatmap(small, heatmap), f"{name} {float(heatmap.max()):.2f}"))
    return titled(tile(np.stack(cells), 1 + num_joints), title)


def heatmap_peaks(heatmaps: np.ndarray) -> np.ndarray:
    """Return the (..., 2) positions (x, y) of the largest values of (..., H, W) heatmaps, heatmap px."""
    index = heatmaps.reshape(*heatmaps.shape[:-2], -1).argmax(-1)
    return np.stack([index % heatmaps.shape[-1], index // heatmaps.shape[-1]], -1).astype(np.float64)


def tile(pictures: np.ndarray, columns: int) -> np.ndarray:
    """Arrange (M, h, w, 3) pictures in rows of `columns`, with dark gaps; the last row may stay partly empty."""
    count, height, width = pictures.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    padded = np.zeros((rows * columns, height + GAP_PX, width + GAP_PX, 3), np.uint8)
    padded[:count, :height, :width] = pictures
    grid = padded.reshape(rows, columns, *padded.shape[1:]).transpose(0, 2, 1, 3, 4)  # (rows, h, columns, w, 3)
    grid = grid.reshape(rows * padded.shape[1], columns * padded.shape[2], 3)
    return np.ascontiguousarray(grid[:-GAP_PX, :-GAP_PX])


def save_image(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Write a picture atomically, in the format of the suffix (.jpg or .png).

    Raises:
        InputError: unknown suffix, or the disk refuses.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".jpg", ".jpeg", ".png"):
        raise InputError(f"{path}: pictures are written as .jpg or .png")
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    write_bytes(path, cv2.imencode(suffix, picture, options)[1].tobytes())


def labeled(picture: np.ndarray, text: str) -> np.ndarray:
    """Return a picture (h, w, 3) with white text on a dark strip above it, no wider than the picture.

    Returns:
        (LABEL_PX + h, w, 3) uint8.
    """
    strip = np.full((LABEL_PX, picture.shape[1], 3), OUTLINE, np.uint8)
    scale = _LABEL_SCALE * min(1.0, (picture.shape[1] - 6) / max(1, _text_width(text, _LABEL_SCALE)))
    cv2.putText(strip, text, (3, LABEL_PX - 5), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([strip, picture])


def titled(picture: np.ndarray, title: str, *notes: str) -> np.ndarray:
    """Return a picture (h, w, 3) below a title and, to the right, notes and what the colours of the sides mean.

    Returns:
        (HEADER_PX + h, w, 3) uint8.
    """
    strip = np.full((HEADER_PX, picture.shape[1], 3), PAPER, np.uint8)
    texts = [title, *notes, *SIDE_COLORS]
    swatch = 12
    gap = 16
    fixed = gap * (len(texts) + 1) + (swatch + 4) * len(SIDE_COLORS)
    widths = np.array([_text_width(text, _HEADER_SCALE) for text in texts])
    factor = min(1.0, max(0.2, (picture.shape[1] - fixed) / widths.sum()))
    base = HEADER_PX - 10
    x = picture.shape[1]
    for text, width in reversed(list(zip(texts[1:], widths[1:], strict=True))):
        x -= round(width * factor) + gap
        cv2.putText(strip, text, (x, base), _FONT, _HEADER_SCALE * factor, OUTLINE, 1, cv2.LINE_AA)
        if text in SIDE_COLORS:
            x -= swatch + 4
            cv2.rectangle(strip, (x, base - swatch + 1), (x + swatch - 1, base), SIDE_COLORS[text], -1)
    cv2.putText(strip, title, (8, base), _FONT, _HEADER_SCALE * factor, OUTLINE, 1, cv2.LINE_AA)
    return np.concatenate([strip, picture])


def _text_width(text: str, scale: float) -> int:
    return cv2.getTextSize(text, _FONT, scale, 1)[0][0]
