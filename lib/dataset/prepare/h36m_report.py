"""Report of the preparation of Human3.6M, as Markdown."""

from collections import Counter
from pathlib import Path

from lib.dataset.h36m import ORIGINAL_GROUPS, TEST_SUBJECTS, TRAIN_SUBJECTS
from lib.dataset.prepare.h36m_clips import FinishedClip
from lib.dataset.prepare.h36m_files import recording_of
from lib.dataset.prepare.h36m_preparation import PreparedH36M
from lib.dataset.protocol import action_name
from lib.utils.tables import markdown_table

MAX_DISTANCE_PX = 1.0  # between 2D joints and projected 3D joints; more means another calibration
MAX_ROWS = 20


def h36m_report(prepared: PreparedH36M, root: Path) -> str:
    """Format the result of a preparation."""
    settings = prepared.settings.images
    groups: Counter = Counter()  # (subject, action) -> number of groups
    for one in prepared.clips:
        if one.clip.camera_id == 0:  # the clips of a recording have the same frames
            groups[one.clip.subject, one.clip.action] += len(one.image_ids)
    parts = [
        "# Human3.6M as prepared",
        f"Frames 1, {1 + settings.step}, ... of every video; JPEG quality {settings.jpeg_quality}; "
        f"{'one images.zip' if settings.as_zip else 'folders of images'}.",
        _subject_table(prepared.clips),
        _original_sizes(groups) if settings.step == 1 else "",
        _action_table(groups),
        _length_table(prepared.clips),
        _left_out(prepared),
        "## Files\n\n" + "\n".join(f"- {path.relative_to(root)}" for path in prepared.files),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _subject_table(clips: list[FinishedClip]) -> str:
    rows = []
    for subject in sorted({one.clip.subject for one in clips}):
        own = [one for one in clips if one.clip.subject == subject]
        num_images = sum(len(one.image_ids) for one in own)
        num_recordings = len({recording_of(one.clip) for one in own})
        distance_px = max(one.distance_px for one in own)
        rows.append([f"S{subject}", num_recordings, num_images // 4, num_images, distance_px])
    wrong = [name for name, *_, distance_px in rows if distance_px > MAX_DISTANCE_PX]
    sums = [sum(row[column] for row in rows) for column in (1, 2, 3)]
    rows.append(["all", *sums, max(row[-1] for row in rows)])
    table = markdown_table(["subject", "recordings", "groups", "images", "2D - projected 3D, at most (px)"], rows, 4)
    if wrong:
        table += (
            f"\n\n**{', '.join(wrong)}: the 2D joints are not the projections of the 3D joints. metadata.xml or the "
            "files belong to another subject.**"
        )
    return table


def _original_sizes(groups: Counter) -> str:
    """Compare complete subsets with the sizes in the original data."""
    lines = []
    for subset, subjects in (("train", TRAIN_SUBJECTS), ("validation", TEST_SUBJECTS)):
        if set(subjects) <= {subject for subject, _ in groups}:
            original, step = ORIGINAL_GROUPS[subset]
            kept = -(-sum(count for (subject, _), count in groups.items() if subject in subjects) // step)
            lines.append(f"- {subset}: {kept} groups (every {step}th); the original data have {original}.")
    return "\n".join(lines)


def _action_table(groups: Counter) -> str:
    subjects = sorted({subject for subject, _ in groups})
    rows = [
        [f"{action} {action_name(action)}", *(groups[subject, action] for subject in subjects)]
        for action in sorted({action for _, action in groups})
    ]
    return "## Groups\n\n" + markdown_table(["action", *(f"S{subject}" for subject in subjects)], rows)


def _length_table(clips: list[FinishedClip]) -> str:
    rows = [[one.clip.stem, *one.lengths] for one in clips if one.lengths[0] != one.lengths[1]]
    if not rows:
        return "Every video has as many frames as poses."
    text = "## Videos and poses of different length\n\nThe frames that all four cameras have are kept.\n\n"
    text += markdown_table(["clip", "video frames", "poses"], rows[:MAX_ROWS])
    return text + (f"\n\nand {len(rows) - MAX_ROWS} more" if len(rows) > MAX_ROWS else "")


def _left_out(prepared: PreparedH36M) -> str:
    lines = [
        f"- S{subject} {action_name(action)} {subaction}: {why}"
        for (subject, action, subaction), why in sorted(prepared.left_out.items())
    ]
    return "\n".join(["## Left out\n", *lines]) if lines else ""
