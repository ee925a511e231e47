"""Checks of the image files: missing, damaged, of other sizes, repeated."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.core.data_check.findings import ERROR, NOTE, WARNING, Section
from lib.dataset.annotations import Annotations
from lib.utils.errors import InputError
from lib.utils.files.image_store import missing_images, read_image
from lib.utils.parallel.process_map import map_processes

MAX_REPEATED_SHARE = 0.01  # a larger share of repeated images is an error
CHUNK = 64  # images per task


@dataclass(frozen=True)
class ImageFacts:
    """Facts about K images that were read."""

    rows: np.ndarray  # (K,) rows of the annotations
    image_wh: np.ndarray  # (K, 2) size, px; 0 for unreadable images
    digest: list[str]  # K digests of the pixels; "" for unreadable images
    errors: dict[int, str]  # row -> why the image cannot be read

    def size(self, among: np.ndarray) -> tuple[int, int] | None:
        """Return the most common image size of some rows, None if no image of them was read."""
        sizes = self.image_wh[np.isin(self.rows, among) & (self.image_wh > 0).all(1)]
        if not len(sizes):
            return None
        values, counts = np.unique(sizes, axis=0, return_counts=True)
        return tuple(values[np.argmax(counts)].tolist())


def inspect(annotations: Annotations, rows: np.ndarray, data_format: str, workers: int) -> ImageFacts:
    """Read the images of (K,) rows in several processes; `data_format` is "jpg" or "zip"."""
    names = [annotations.image_name(row) for row in rows]
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    work = partial(_inspect_chunk, annotations.images_dir, data_format)
    facts = []
    with tqdm(total=len(names), desc="images", unit="image", disable=None, leave=False) as bar:
        for part in map_processes(work, chunks, min(workers, max(1, len(chunks)))):
            facts += part
            bar.update(len(part))
    return ImageFacts(
        rows=np.asarray(rows),
        image_wh=np.array([image_wh for image_wh, _, _ in facts]).reshape(-1, 2),
        digest=[digest for _, digest, _ in facts],
        errors={int(row): error for row, (_, _, error) in zip(rows, facts, strict=True) if error},
    )


def _inspect_chunk(images_dir: Path, data_format: str, names: Sequence[str]) -> list[tuple[tuple[int, int], str, str]]:
    """Return size, digest and error of each image."""
    facts = []
    for name in names:
        try:
            image = read_image(images_dir, name, data_format)
            facts.append((image.shape[1::-1], hashlib.blake2b(image, digest_size=16).hexdigest(), ""))
        except InputError as error:
            facts.append(((0, 0), "", str(error)))
    return facts


def missing_rows(annotations: Annotations, rows: np.ndarray, data_format: str) -> np.ndarray:
    """Return the rows whose image is missing.

    Raises:
        InputError: the archive is missing or damaged.
    """
    names = [annotations.image_name(row) for row in rows]
    missing = set(missing_images(annotations.images_dir, names, data_format))
    return rows[[name in missing for name in names]]


def first_rows(annotations: Annotations) -> np.ndarray:
    """Return the first row of each image, ascending; an image of MPII may show several people."""
    return np.sort(np.unique(annotations.image, return_index=True)[1])


def check_images(annotations: Annotations, facts: ImageFacts, missing: np.ndarray, total: int) -> Section:
    """Judge the results of inspect() and missing_rows().

    Args:
        annotations: the data set.
        facts: facts of the images that were read.
        missing: rows of the missing images.
        total: number of images.
    """
    section = Section("Images")
    section.body = f"{total} images, {len(missing)} missing; {len(facts.rows)} were read."
    if len(missing):
        first = annotations.image_name(missing[0])
        section.add(ERROR, f"{len(missing)} of {total} images are not in {annotations.images_dir} (the first: {first})")
    absent = set(missing.tolist())
    damaged = [text for row, text in facts.errors.items() if row not in absent]
    if damaged:
        section.add(
            ERROR,
            f"{len(damaged)} of the {len(facts.rows)} images that were read are damaged (the first: {damaged[0]})",
        )
    sizes, counts = np.unique(facts.image_wh[(facts.image_wh > 0).all(1)], axis=0, return_counts=True)
    if len(sizes):
        texts = [f"{width} x {height} ({count})" for (width, height), count in zip(sizes, counts, strict=True)]
        section.add(NOTE, f"sizes (width x height, px): {', '.join(texts[:8])}{', ...' if len(texts) > 8 else ''}")
    _check_repeated(section, annotations, facts)
    return section


def _check_repeated(section: Section, annotations: Annotations, facts: ImageFacts) -> None:
    first: dict[str, int] = {}
    repeated = []
    for row, digest in zip(facts.rows.tolist(), facts.digest, strict=True):
        if digest and first.setdefault(digest, row) != row:
            repeated.append((row, first[digest]))
    if repeated:
        names = " = ".join(annotations.image_name(row) for row in repeated[0])
        section.add(
            ERROR if len(repeated) > MAX_REPEATED_SHARE * len(facts.rows) else WARNING,
            f"{len(repeated)} of {len(facts.rows)} images are the same as another one (the first: {names}): frames "
            "were repeated, for example because a video was read at a wrong frame rate",
        )
