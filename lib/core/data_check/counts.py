"""How many images there are, of whom and of which camera, against what should be there."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.core.data_check.findings import ERROR, NOTE, WARNING, Section
from lib.dataset.annotations import Annotations
from lib.dataset.h36m import SUBACTIONS, SUMMARY, TEST_SUBJECTS, TRAIN_SUBJECTS
from lib.dataset.protocol import ACTION_NAMES, action_name
from lib.dataset.storage.record_writer import Clip
from lib.utils.errors import InputError
from lib.utils.files.json_file import read_json
from lib.utils.tables import markdown_table

MAX_LOST_SHARE = 0.01  # of the groups that lack a view
MAX_NAMED = 3  # examples in a finding


def check_counts(annotations: Annotations, groups: np.ndarray) -> Section:
    """Count images per subject, action and camera.

    Args:
        annotations: all images.
        groups: (G, V) rows of the complete groups.
    """
    section = Section("Counts")
    labels = annotations.labels3d
    cameras = np.unique(labels.camera_id)
    rows = []
    for subject in np.unique(labels.subject):
        own = labels.subject == subject
        recordings = np.unique(np.stack([labels.action[own], labels.subaction[own]]), axis=1).shape[1]
        per_camera = [int((labels.camera_id[own] == camera).sum()) for camera in cameras]
        num_groups = int((labels.subject[groups[:, 0]] == subject).sum())
        rows.append([f"S{subject}", len(np.unique(labels.action[own])), recordings, num_groups, *per_camera])
    header = ["subject", "actions", "recordings", "groups", *(f"camera {camera}" for camera in cameras)]
    section.body = f"{markdown_table(header, rows)}\n\n{_action_table(annotations, groups)}"
    _check_lost(section, annotations, groups)
    _check_frames(section, annotations, groups)
    if annotations.source == "h36m":
        _check_expected(section, annotations)
    return section


def check_visible(
    section: Section, cameras: Sequence[str], joint_names: Sequence[str], visible: np.ndarray, level: str = ERROR
) -> None:
    """Find cameras and joints of which no image has a label.

    Args:
        section: receives the findings.
        cameras: V names.
        joint_names: J names, "" for those that need not be there.
        visible: (F, V, J) bool.
        level: of joints that are nowhere visible.
    """
    seen = visible.any(0)  # (V, J)
    for name in (name for name, some in zip(cameras, seen.any(1), strict=True) if not some):
        section.add(
            ERROR,
            f"{name}: no joint is visible in any of its images (joints_vis is 0): nothing would be "
            "learned from them, and nothing can be judged",
        )
    lacking = [name for name, some in zip(joint_names, seen.any(0), strict=True) if name and not some]
    if seen.any() and lacking:
        section.add(
            level,
            f"no image has a visible {', '.join(lacking)} (joints_vis is 0); where this is meant, "
            "TEST.JOINTS lists the joints that are labelled",
        )


def _action_table(annotations: Annotations, groups: np.ndarray) -> str:
    labels = annotations.labels3d
    first = groups[:, 0]
    counts = Counter(zip(labels.action[first].tolist(), labels.subject[first].tolist(), strict=True))
    subjects = sorted({subject for _, subject in counts})
    names = labels.protocol.action_names
    rows = [
        [f"{action} {action_name(action, names)}", *(counts[action, subject] for subject in subjects)]
        for action in sorted({action for action, _ in counts})
    ]
    return markdown_table(["groups", *(f"S{subject}" for subject in subjects)], rows)


def _check_lost(section: Section, annotations: Annotations, groups: np.ndarray) -> None:
    """Find images that are in no complete group."""
    lost = np.ones(len(annotations), bool)
    lost[groups.ravel()] = False
    used = np.isin(annotations.labels3d.camera_id, annotations.labels3d.camera_id[groups[0]])
    lost &= used
    if lost.any():
        share = lost.sum() / used.sum()
        level = ERROR if share > MAX_LOST_SHARE else WARNING
        names = ", ".join(annotations.image_name(row) for row in np.flatnonzero(lost)[:MAX_NAMED])
        section.add(
            level,
            f"{lost.sum()} of {used.sum()} images ({100 * share:.2f} %) are in no complete group: the "
            f"same frame is missing from another camera ({names}, ...)",
        )


def _check_frames(section: Section, annotations: Annotations, groups: np.ndarray) -> None:
    """Find recordings whose frames are at another distance than everybody's, or have gaps."""
    labels = annotations.labels3d
    first = groups[:, 0]
    keys = np.stack([labels.subject[first], labels.action[first], labels.subaction[first], labels.frame[first]])
    keys = keys[:, np.lexsort(keys[::-1])]
    same = (np.diff(keys[:3]) == 0).all(0)
    gaps = np.diff(keys[3])[same]
    recording = keys[:3, 1:][:, same]
    if not len(gaps):
        return
    usual = int(np.median(gaps))
    section.add(NOTE, f"the frames of a recording are {usual} apart")
    odd = gaps != usual
    if odd.any():
        subject, action, subaction = recording[:, odd][:, 0]
        level = WARNING if odd.mean() < MAX_LOST_SHARE else ERROR
        where = f"the first: S{subject} {labels.protocol.recording_name(action, subaction)}, {gaps[odd][0]}"
        section.add(
            level,
            f"{odd.sum()} of {len(gaps)} distances between successive frames are not {usual} ({where}): "
            "frames are missing, or were taken at another rate",
        )


def _check_expected(section: Section, annotations: Annotations) -> None:
    """Compare with what the preparation wrote down, and with the list of Human3.6M's recordings."""
    labels = annotations.labels3d
    clips = np.stack([labels.subject, labels.action, labels.subaction, labels.camera_id], 1)
    found = {Clip(*clip): int(count) for clip, count in zip(*_unique_rows(clips), strict=True)}
    subjects = set(labels.subject.tolist())
    summary = annotations.images_dir.parent / "annot" / SUMMARY
    prepared = summary.is_file()
    if prepared:
        _compare_summary(section, summary, found, subjects)
    wanted_subjects = next((part for part in (TRAIN_SUBJECTS, TEST_SUBJECTS) if subjects <= set(part)), ())
    wanted = set(itertools.product(wanted_subjects, ACTION_NAMES, SUBACTIONS))
    missing = sorted(wanted - {(clip.subject, clip.action, clip.subaction) for clip in found})
    if not missing:
        return
    # Small copies of the layout, real or synthetic, are no failed preparations of Human3.6M.
    level = WARNING if prepared or len(missing) <= len(wanted) / 2 else NOTE
    absent = sorted(set(wanted_subjects) - subjects)
    whole = f"; subjects {', '.join(f'S{subject}' for subject in absent)} are missing altogether" if absent else ""
    subject, action, subaction = missing[0]
    whose = ", ".join(map(str, wanted_subjects))
    section.add(
        level,
        f"of the {len(wanted)} recordings of Human3.6M's subjects {whose}, {len(missing)} are not "
        f"here (the first: S{subject} {labels.protocol.recording_name(action, subaction)}){whole}",
    )


def _compare_summary(section: Section, summary: Path, found: dict[Clip, int], subjects: set[int]) -> None:
    """Compare the clips' counts with those of the file that the preparation left."""
    content = read_json(summary)
    content = content if isinstance(content, dict) else {}
    stated, left_out = content.get("num_images"), content.get("left_out")
    if not isinstance(stated, dict) or not all(isinstance(count, int) for count in stated.values()):
        raise InputError(f"{summary}: expected 'num_images' with a number per clip; prepare_h36m.py writes it anew")
    stated = {Clip.from_stem(stem): count for stem, count in stated.items()}
    stated = {clip: count for clip, count in stated.items() if clip.subject in subjects}
    wrong = sorted(clip for clip in {*stated, *found} if stated.get(clip, 0) != found.get(clip, 0))
    if wrong:
        examples = ", ".join(
            f"{clip.stem}: {found.get(clip, 0)} instead of {stated.get(clip, 0)}" for clip in wrong[:MAX_NAMED]
        )
        section.add(ERROR, f"{len(wrong)} clips have other counts than {summary.name} says ({examples})")
    else:
        section.add(NOTE, f"every clip has as many images as {summary.name} says")
    if left_out:
        names = ", ".join(sorted(left_out))
        section.add(WARNING, f"the preparation left {len(left_out)} recordings out: {names} (subject-action-subaction)")


def _unique_rows(rows: np.ndarray) -> tuple[list[list[int]], list[int]]:
    values, counts = np.unique(rows, axis=0, return_counts=True)
    return values.tolist(), counts.tolist()
