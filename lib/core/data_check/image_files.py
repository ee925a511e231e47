"""Are the images there, can they be read, are they of one size, and is none there twice?"""

from __future__ import annotations

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

MAX_DOUBLE_SHARE = 0.01
CHUNK = 64  # images of one task


@dataclass(frozen=True)
class ImageFacts:
    """What was found out about K images.

    Attributes:
        rows: (K,) of the annotations.
        image_wh: (K, 2) size, px; 0 where it cannot be read.
        digest: K digests of the pixels, "" where it cannot be read.
        errors: row -> why it cannot be read.
    """

    rows: np.ndarray
    image_wh: np.ndarray
    digest: list[str]
    errors: dict[int, str]

    def size(self, among: np.ndarray) -> tuple[int, int] | None:
        """Return the most common size of those images that are among some rows, None if there is none."""
        sizes = self.image_wh[np.isin(self.rows, among) & (self.image_wh > 0).all(1)]
        if not len(sizes):
            return None
        values, counts = np.unique(sizes, axis=0, return_counts=True)
        return tuple(values[np.argmax(counts)].tolist())


def inspect(annotations: Annotations, rows: np.ndarray, data_format: str, workers: int) -> ImageFacts:
    """Read images in several processes.

    Args:
        annotations: the data set.
        rows: which images.
        data_format: "jpg" or "zip".
        workers: processes.
    """
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
        image_wh=np.array([(width, height) for width, height, _, _ in facts]).reshape(-1, 2),
        digest=[digest for _, _, digest, _ in facts],
        errors={int(row): fact[3] for row, fact in zip(rows, facts, strict=True) if fact[3]},
    )


def _inspect_chunk(images_dir: Path, data_format: str, names: Sequence[str]) -> list[tuple[int, int, str, str]]:
    """Return width, height, digest and error of each image."""
    facts = []
    for name in names:
        try:
            image = read_image(images_dir, name, data_format)
            facts.append((image.shape[1], image.shape[0], hashlib.blake2b(image, digest_size=16).hexdigest(), ""))
        except InputError as error:
            facts.append((0, 0, "", str(error)))
    return facts


def missing_rows(annotations: Annotations, rows: np.ndarray, data_format: str) -> np.ndarray:
    """Return those of some rows whose image is not there.

    Raises:
        InputError: the archive is missing or damaged.
    """
    names = [annotations.image_name(row) for row in rows]
    missing = set(missing_images(annotations.images_dir, names, data_format))
    return rows[[name in missing for name in names]]


def first_rows(annotations: Annotations) -> np.ndarray:
    """Return the first row of each image, in order: on images of MPII there may be several people."""
    return np.sort(np.unique(annotations.image, return_index=True)[1])


def check_images(annotations: Annotations, facts: ImageFacts, missing: np.ndarray, total: int) -> Section:
    """Judge what inspect() and missing_rows() found.

    Args:
        annotations: the data set.
        facts: of the images that were read.
        missing: rows of the images that are not there.
        total: number of images.
    """
    section = Section("Images")
    section.body = f"{total} images, {len(missing)} missing; {len(facts.rows)} were read."
    if len(missing):
        section.add(
            ERROR,
            f"{len(missing)} of {total} images are not in {annotations.images_dir} (the "
            f"first: {annotations.image_name(missing[0])})",
        )
    absent = set(missing.tolist())
    unreadable = {row: text for row, text in facts.errors.items() if row not in absent}
    if unreadable:
        section.add(
            ERROR,
            f"{len(unreadable)} of the {len(facts.rows)} images that were read are damaged (the first: "
            f"{next(iter(unreadable.values()))})",
        )
    sizes, counts = np.unique(facts.image_wh[(facts.image_wh > 0).all(1)], axis=0, return_counts=True)
    if len(sizes):
        texts = [f"{width} x {height} ({count})" for (width, height), count in zip(sizes, counts, strict=True)]
        section.add(NOTE, f"sizes (width x height, px): {', '.join(texts[:8])}{', ...' if len(texts) > 8 else ''}")
    _check_doubles(section, annotations, facts)
    return section


def _check_doubles(section: Section, annotations: Annotations, facts: ImageFacts) -> None:
    first: dict[str, int] = {}
    doubles = []
    for row, digest in zip(facts.rows.tolist(), facts.digest, strict=True):
        if digest and first.setdefault(digest, row) != row:
            doubles.append((first[digest], row))
    if doubles:
        one, other = doubles[0]
        level = ERROR if len(doubles) > MAX_DOUBLE_SHARE * len(facts.rows) else WARNING
        section.add(
            level,
            f"{len(doubles)} of {len(facts.rows)} images are the same as another one (the first: "
            f"{annotations.image_name(other)} = {annotations.image_name(one)}): frames were repeated, "
            "as when a video is read at another rate than its own",
        )
