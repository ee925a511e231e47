"""Checks of the number of images per subject, action and camera, and of the frame distances."""

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

MAX_LOST_SHARE = 0.01  # of images outside groups or of odd frame distances; more is an error
MAX_NAMED = 3  # examples in a finding


def check_counts(annotations: Annotations, rows: np.ndarray) -> Section:
    """Count images per subject, action and camera; `rows` (G, V) are the complete groups."""
    section = Section("Counts")
    labels = annotations.labels3d
    cameras = np.unique(labels.camera_id)
    table = []
    for subject in np.unique(labels.subject):
        chosen = labels.subject == subject
        recordings = np.unique(np.stack([labels.action[chosen], labels.subaction[chosen]]), axis=1).shape[1]
        per_camera = [int((labels.camera_id[chosen] == camera).sum()) for camera in cameras]
        num_groups = int((labels.subject[rows[:, 0]] == subject).sum())
        table.append([f"S{subject}", len(np.unique(labels.action[chosen])), recordings, num_groups, *per_camera])
    header = ["subject", "actions", "recordings", "groups", *(f"camera {camera}" for camera in cameras)]
    section.body = f"{markdown_table(header, table)}\n\n{_action_table(annotations, rows)}"
    _check_lost(section, annotations, rows)
    _check_frames(section, annotations, rows)
    if annotations.source == "h36m":
        _check_expected(section, annotations)
    return section


def check_visible(
    section: Section, cameras: Sequence[str], joint_names: Sequence[str], visible: np.ndarray, level: str = ERROR
) -> None:
    """Find cameras without any visible joint, and joints that are visible in no image.

    Args:
        section: receives the findings.
        cameras: V names.
        joint_names: J names, "" for joints that may be unlabelled.
        visible: (F, V, J) bool.
        level: level of the findings about joints.
    """
    seen = visible.any(0)  # (V, J)
    for name in itertools.compress(cameras, ~seen.any(1)):
        section.add(
            ERROR,
            f"{name}: no joint is visible in any of its images (joints_vis is 0): nothing would be learned from them, "
            "and nothing can be judged",
        )
    lacking = [name for name in itertools.compress(joint_names, ~seen.any(0)) if name]
    if seen.any() and lacking:
        section.add(
            level,
            f"no image has a visible {', '.join(lacking)} (joints_vis is 0); if this is intended, list the labeled "
            "joints in TEST.JOINTS",
        )


def _action_table(annotations: Annotations, rows: np.ndarray) -> str:
    labels = annotations.labels3d
    first = rows[:, 0]
    counts = Counter(zip(labels.action[first].tolist(), labels.subject[first].tolist(), strict=True))
    subjects = sorted({subject for _, subject in counts})
    names = labels.protocol.action_names
    table = [
        [f"{action} {action_name(action, names)}", *(counts[action, subject] for subject in subjects)]
        for action in sorted({action for action, _ in counts})
    ]
    return markdown_table(["groups", *(f"S{subject}" for subject in subjects)], table)


def _check_lost(section: Section, annotations: Annotations, rows: np.ndarray) -> None:
    """Find images outside complete groups."""
    camera_id = annotations.labels3d.camera_id
    used = np.isin(camera_id, camera_id[rows[0]])
    lost = used.copy()
    lost[rows.ravel()] = False
    if lost.any():
        share = lost.sum() / used.sum()
        names = ", ".join(annotations.image_name(row) for row in np.flatnonzero(lost)[:MAX_NAMED])
        section.add(
            ERROR if share > MAX_LOST_SHARE else WARNING,
            f"{lost.sum()} of {used.sum()} images ({100 * share:.2f} %) are in no complete group: another camera lacks "
            f"the same frame ({names}, ...)",
        )


def _check_frames(section: Section, annotations: Annotations, rows: np.ndarray) -> None:
    """Find gaps between frames, and recordings with an unusual distance of the frames."""
    labels = annotations.labels3d
    first = rows[:, 0]
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
        name = labels.protocol.recording_name(action, subaction)
        section.add(
            WARNING if odd.mean() < MAX_LOST_SHARE else ERROR,
            f"{odd.sum()} of {len(gaps)} distances between successive frames are not {usual} (the first: S{subject} "
            f"{name}, {gaps[odd][0]}): frames are missing, or have another frame rate",
        )


def _check_expected(section: Section, annotations: Annotations) -> None:
    """Compare with the summary of prepare_h36m.py and with the recordings of Human3.6M."""
    labels = annotations.labels3d
    clips = np.stack([labels.subject, labels.action, labels.subaction, labels.camera_id], 1)
    unique, counts = (array.tolist() for array in np.unique(clips, axis=0, return_counts=True))
    found = Counter({Clip(*clip): count for clip, count in zip(unique, counts, strict=True)})
    subjects = set(labels.subject.tolist())
    summary = annotations.images_dir.parent / "annot" / SUMMARY
    prepared = summary.is_file()
    if prepared:
        _compare_summary(section, summary, found, subjects)
    expected_subjects = next((part for part in (TRAIN_SUBJECTS, TEST_SUBJECTS) if subjects <= set(part)), ())
    expected = set(itertools.product(expected_subjects, ACTION_NAMES, SUBACTIONS))
    missing = sorted(expected - {(clip.subject, clip.action, clip.subaction) for clip in found})
    if not missing:
        return
    absent = sorted(set(expected_subjects) - subjects)
    whole = f"; subjects {', '.join(f'S{subject}' for subject in absent)} are missing altogether" if absent else ""
    subject, action, subaction = missing[0]
    first = f"S{subject} {labels.protocol.recording_name(action, subaction)}"
    section.add(
        # A small data set in this layout, e.g. a synthetic one, is not an incomplete Human3.6M.
        WARNING if prepared or len(missing) <= len(expected) / 2 else NOTE,
        f"of the {len(expected)} recordings of Human3.6M's subjects {', '.join(map(str, expected_subjects))}, "
        f"{len(missing)} are not here (the first: {first}){whole}",
    )


def _compare_summary(section: Section, summary: Path, found: Counter[Clip], subjects: set[int]) -> None:
    """Compare the number of images per clip with the summary of the preparation."""
    content = read_json(summary)
    content = content if isinstance(content, dict) else {}
    stated, left_out = content.get("num_images"), content.get("left_out")
    if not isinstance(stated, dict) or not all(isinstance(count, int) for count in stated.values()):
        raise InputError(f"{summary}: expected 'num_images' with a number per clip; run prepare_h36m.py again")
    stated = {Clip.from_stem(stem): count for stem, count in stated.items()}
    stated = Counter({clip: count for clip, count in stated.items() if clip.subject in subjects})
    wrong = sorted(clip for clip in {*stated, *found} if stated[clip] != found[clip])
    if wrong:
        examples = ", ".join(f"{clip.stem}: {found[clip]} instead of {stated[clip]}" for clip in wrong[:MAX_NAMED])
        section.add(ERROR, f"{len(wrong)} clips have other counts than {summary.name} says ({examples})")
    else:
        section.add(NOTE, f"every clip has as many images as {summary.name} says")
    if left_out:
        names = ", ".join(sorted(left_out))
        section.add(WARNING, f"the preparation left {len(left_out)} recordings out: {names} (subject-action-subaction)")
