"""Checks of the person boxes, and of the 2D joints against the image size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.core.data_check.findings import ERROR, WARNING, Section
from lib.core.data_check.group_sequence import GroupSequence
from lib.core.data_check.image_files import ImageFacts
from lib.dataset.annotations import Annotations
from lib.utils.tables import markdown_table
from lib.utils.transforms import get_affine_transform, transform_points


@dataclass(frozen=True)
class BoxSettings:
    """Limits of the checks."""

    error_inside: float = 0.9  # share of the visible joints inside the boxes; less is an error
    warning_inside: float = 0.99
    usual_person: tuple[float, float] = (0.25, 1.0)  # extent of the joints / side of the box
    possible_person: tuple[float, float] = (0.1, 2.0)  # outside, the scale is wrong
    max_outside: float = 0.5  # share of the boxes' area that may lie outside the images
    error_in_image: float = 0.9  # share of the visible joints inside the images; less is an error
    warning_in_image: float = 0.98


LIMITS = BoxSettings()


def check_crops(
    names: Sequence[str],
    joints_img: np.ndarray,
    visible: np.ndarray,
    center: np.ndarray,
    scale: np.ndarray,
    image_wh: Sequence[tuple[int, int] | None],
    crop: bool,
) -> Section:
    """Measure the boxes of several sets of images, e.g. of each camera.

    Args:
        names: V names of the sets.
        joints_img: (F, V, J, 2) px.
        visible: (F, V, J) bool.
        center: (F, V, 2) px.
        scale: (F, V, 2) box sides / 200 px.
        image_wh: V image sizes, px; None if unknown.
        crop: the boxes are around the person; otherwise they are the whole image.
    """
    section = Section("Boxes")
    table = []
    for view, (name, image) in enumerate(zip(names, image_wh, strict=True)):
        seen = visible[:, view]
        middle = center[:, view]
        side = scale[:, view, 0] * 200.0
        outside = np.nan if image is None else _outside(middle, side, image)
        share = person = np.nan
        if seen.any():
            joints = joints_img[:, view]
            crop_joints = transform_points(joints, get_affine_transform(middle, scale[:, view], 0.0, (1, 1)))
            inside = ((crop_joints >= 0) & (crop_joints < 1)).all(-1)
            share = float(inside[seen].mean())
            person = float(np.nanmedian(_extent(joints, seen) / side))
            _judge(section, name, share, person, crop)
        else:
            section.not_judged(f"{name}: no joint is visible")
        sides = (float(side.mean()), float(side.min()), float(side.max()))
        table.append([name, *sides, 100 * share, person, 100 * outside])
        if outside > LIMITS.max_outside:
            section.add(
                ERROR,
                f"{name}: {100 * outside:.0f} % of the boxes lie outside the images: center and scale are not in px of "
                "these images",
            )
    header = ["", "side, mean (px)", "min", "max", "joints inside (%)", "person / side", "box outside the image (%)"]
    section.body = markdown_table(header, table, 2)
    return section


def _extent(joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the larger side of the box around the visible joints, (F,) px; NaN if none is visible."""
    extent = np.full(len(joints), np.nan)
    points = np.where(seen[..., None], joints, np.nan)[seen.any(1)]
    extent[seen.any(1)] = (np.nanmax(points, axis=1) - np.nanmin(points, axis=1)).max(-1)
    return extent


def _outside(center: np.ndarray, side: np.ndarray, image_wh: tuple[int, int]) -> float:
    """Return the mean share of the boxes' area outside the image."""
    low = center - side[:, None] / 2
    high = center + side[:, None] / 2
    inside = np.clip(np.minimum(high, image_wh) - np.maximum(low, 0), 0, None).prod(1)
    return max(0.0, float(1 - (inside / side**2).mean()))


def _judge(section: Section, name: str, share: float, person: float, crop: bool) -> None:
    text = f"{name}: {100 * share:.1f} % of the visible joints lie inside the boxes"
    if share < LIMITS.error_inside:
        section.add(ERROR, f"{text}: center and scale do not belong to these images (scale is the side / 200 px)")
    elif share < LIMITS.warning_inside:
        section.add(WARNING, f"{text}; the others are not used for training")
    low, high = LIMITS.usual_person
    if crop and share >= LIMITS.error_inside and not low <= person <= high:
        possible = LIMITS.possible_person[0] <= person <= LIMITS.possible_person[1]
        section.add(
            WARNING if possible else ERROR,
            f"{name}: the person takes {100 * person:.0f} % of the box's side; expected {100 * low:.0f} to "
            f"{100 * high:.0f} % (scale is the side / 200 px)",
        )


def check_joints_in_images(annotations: Annotations, facts: ImageFacts, groups: GroupSequence | None = None) -> Section:
    """Compare the 2D joints with the sizes of the images that were read.

    Args:
        annotations: the data set.
        facts: sizes of the images that were read.
        groups: judge each of their cameras; None judges all images together.
    """
    section = Section("Joints in the images")
    readable = (facts.image_wh > 0).all(1)
    rows = facts.rows[readable]
    joints, visible = annotations.joints_img[rows], annotations.visible[rows]
    inside = ((joints >= -1) & (joints <= facts.image_wh[readable, None])).all(-1)
    if groups is None:
        images = {"all images": np.ones(len(rows), bool)}
    else:
        camera = annotations.labels3d.camera_id[rows]
        images = {name: camera == number for name, number in zip(groups.camera_names, groups.camera_ids, strict=True)}
    table = []
    for name, chosen in images.items():
        seen = visible & chosen[:, None]
        if not seen.any():
            reason = "none is visible in the images that were read" if chosen.any() else "no image could be read"
            section.not_judged(f"where the joints of {name} lie: {reason}")
            continue
        share = float(inside[seen].mean())
        table.append([name, int(seen.sum()), 100 * share])
        if share < LIMITS.warning_in_image:
            section.add(
                ERROR if share < LIMITS.error_in_image else WARNING,
                f"{name}: {100 * (1 - share):.1f} % of the joints lie outside their images: images of another size, or "
                "x and y are swapped",
            )
    section.body = markdown_table(["", "joints", "inside their images (%)"], table, 2) if table else ""
    return section
