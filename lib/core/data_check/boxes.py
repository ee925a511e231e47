"""Do the boxes hold the person?"""

from __future__ import annotations

import numpy as np

from lib.core.data_check.findings import ERROR, WARNING, Section
from lib.utils.tables import markdown_table
from lib.utils.transforms import get_affine_transform, transform_points

MIN_INSIDE = 0.9  # share of the visible joints inside the crop: below, wrong / look at it
SOME_INSIDE = 0.99
PERSON_SHARE = (0.25, 1.0)  # usual extent of the joints / side of the box
ANY_PERSON_SHARE = (0.1, 2.0)  # outside of it the scale is another one
MAX_OUTSIDE = 0.5  # share of the boxes that may lie out of the image


def check_crops(
    names: list[str],
    joints_img: list[np.ndarray],
    visible: list[np.ndarray],
    center: list[np.ndarray],
    scale: list[np.ndarray],
    image_wh: list[tuple[int, int] | None],
    crop: bool,
) -> Section:
    """Measure the boxes of several sets of images (cameras, say).

    Args:
        names: of the sets.
        joints_img: per set (F, J, 2) px.
        visible: (F, J) bool.
        center: (F, 2) px.
        scale: (F, 2) box sides / 200 px.
        image_wh: sizes of the images, px, None if none could be read.
        crop: the boxes are around the person, otherwise the whole image.
    """
    section = Section("Boxes")
    rows = []
    for name, joints, seen, middle, size, image in zip(
        names, joints_img, visible, center, scale, image_wh, strict=True
    ):
        side = size[:, 0] * 200.0
        outside = np.nan if image is None else _outside(middle, side, image)
        share = person = np.nan
        if seen.any():
            crop_joints = transform_points(joints, get_affine_transform(middle, size, 0.0, (1, 1)))
            inside = ((crop_joints >= 0) & (crop_joints < 1)).all(-1)
            share = float(inside[seen].mean())
            person = float(np.nanmedian(_extent(joints, seen) / side))
            _judge(section, name, share, person, crop)
        else:
            section.not_judged(f"{name}: no joint is visible")
        rows.append(
            [name, float(side.mean()), float(side.min()), float(side.max()), 100 * share, person, 100 * outside]
        )
        if outside > MAX_OUTSIDE:
            section.add(
                ERROR,
                f"{name}: {100 * outside:.0f} % of the boxes lie out of the images: center and scale "
                "are not in px of these images",
            )
    header = ["", "side, mean (px)", "min", "max", "joints inside (%)", "person / side", "box out of the image (%)"]
    section.body = markdown_table(header, rows, 2)
    return section


def _extent(joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Larger side of the box around the visible joints, (F,) px; NaN where there is none."""
    points = np.where(seen[..., None], joints, np.nan)
    points = points[seen.any(1)]
    extent = np.full(len(joints), np.nan)
    if len(points):
        extent[seen.any(1)] = (np.nanmax(points, axis=1) - np.nanmin(points, axis=1)).max(-1)
    return extent


def _outside(center: np.ndarray, side: np.ndarray, image_wh: tuple[int, int]) -> float:
    """Mean share of the boxes' area that lies out of the image."""
    low = center - side[:, None] / 2
    high = center + side[:, None] / 2
    inside = np.clip(np.minimum(high, image_wh) - np.maximum(low, 0), 0, None).prod(1)
    return max(0.0, float(1 - (inside / side**2).mean()))


def _judge(section: Section, name: str, share: float, person: float, crop: bool) -> None:
    text = f"{name}: {100 * share:.1f} % of the visible joints lie inside the boxes"
    if share < MIN_INSIDE:
        section.add(ERROR, f"{text}: center and scale are not those of these images (scale is the side / 200 px)")
    elif share < SOME_INSIDE:
        section.add(WARNING, f"{text}; the others are not trained on")
    low, high = PERSON_SHARE
    if crop and share >= MIN_INSIDE and not low <= person <= high:
        level = WARNING if ANY_PERSON_SHARE[0] <= person <= ANY_PERSON_SHARE[1] else ERROR
        section.add(
            level,
            f"{name}: the person takes {100 * person:.0f} % of the box's side; expected "
            f"{100 * low:.0f} to {100 * high:.0f} % (scale is the side / 200 px)",
        )
