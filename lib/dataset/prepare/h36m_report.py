"""What the preparation of Human3.6M ends in: a page that says what is there, what is not, and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lib.dataset.h36m import PUBLISHED_GROUPS, TEST_SUBJECTS, TRAIN_SUBJECTS
from lib.dataset.prepare.h36m_preparation import Prepared
from lib.dataset.protocol import action_name
from lib.utils.tables import markdown_table

MAX_DISTANCE_PX = 1.0  # between 2D files and projected 3D files; more means that the calibration is another one
MAX_ROWS = 20


def report(prepared: Prepared, root: Path) -> str:
    """Format what was prepared as Markdown."""
    settings = prepared.settings.images
    parts = [
        "# Human3.6M as prepared",
        f"Frames 1, {1 + settings.step}, ... of every video; JPEG quality {settings.jpeg_quality}; "
        f"{'one images.zip' if settings.as_zip else 'folders of images'}.",
        _subjects(prepared),
        _published(prepared),
        _actions(prepared),
        _lengths(prepared),
        _left_out(prepared),
        "## Files\n\n" + "\n".join(f"- {path.relative_to(root)}" for path in prepared.files),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _groups(prepared: Prepared) -> Counter:
    """(subject, action) -> groups."""
    counts: Counter = Counter()
    for clip, count in prepared.num_images.items():
        if clip.camera_id == 0:  # the four clips of a recording have the same images
            counts[clip.subject, clip.action] += count
    return counts


def _subjects(prepared: Prepared) -> str:
    rows = []
    for subject in sorted({clip.subject for clip in prepared.num_images}):
        clips = [clip for clip in prepared.num_images if clip.subject == subject]
        images = sum(prepared.num_images[clip] for clip in clips)
        rows.append(
            [f"S{subject}", len({clip.stem[:-6] for clip in clips}), images // 4, images, prepared.distances[subject]]
        )
    rows.append(["all", *(sum(row[column] for row in rows) for column in (1, 2, 3)), max(prepared.distances.values())])
    table = markdown_table(["subject", "recordings", "groups", "images", "2D - projected 3D, at most (px)"], rows, 4)
    wrong = [f"S{subject}" for subject, distance in prepared.distances.items() if distance > MAX_DISTANCE_PX]
    if wrong:
        table += (
            f"\n\n**{', '.join(wrong)}: the 2D files are not the projection of the 3D files. metadata.xml or the "
            "files are not those of this subject.**"
        )
    return table


def _published(prepared: Prepared) -> str:
    """Compare with the published sizes where all subjects and frames are there."""
    if prepared.settings.images.step != 1:
        return ""
    groups = _groups(prepared)
    lines = []
    for subset, subjects in (("train", TRAIN_SUBJECTS), ("validation", TEST_SUBJECTS)):
        if not set(subjects) <= {subject for subject, _ in groups}:
            continue
        published, step = PUBLISHED_GROUPS[subset]
        kept = -(-sum(count for (subject, _), count in groups.items() if subject in subjects) // step)
        lines.append(f"- {subset}: every {step}th group makes {kept}; the published set has {published}.")
    return "\n".join(lines)


def _actions(prepared: Prepared) -> str:
    groups = _groups(prepared)
    subjects = sorted({subject for subject, _ in groups})
    rows = [
        [f"{action} {action_name(action)}", *(groups[subject, action] for subject in subjects)]
        for action in sorted({action for _, action in groups})
    ]
    return "## Groups\n\n" + markdown_table(["action", *(f"S{subject}" for subject in subjects)], rows)


def _lengths(prepared: Prepared) -> str:
    if not prepared.lengths:
        return "Every video has as many frames as its poses."
    rows = [[clip.stem, *pair] for clip, pair in sorted(prepared.lengths.items())]
    text = "## Videos whose length differs from their poses\n\nThe frames that all four cameras have are kept.\n\n"
    text += markdown_table(["clip", "frames of the video", "poses"], rows[:MAX_ROWS])
    return text + (f"\n\nand {len(rows) - MAX_ROWS} more" if len(rows) > MAX_ROWS else "")


def _left_out(prepared: Prepared) -> str:
    if not prepared.left_out:
        return ""
    lines = [
        f"- S{subject} {action_name(action)} {subaction}: {why}"
        for (subject, action, subaction), why in sorted(prepared.left_out.items())
    ]
    return "## Left out\n\n" + "\n".join(lines)
