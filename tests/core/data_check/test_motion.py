from __future__ import annotations

import cv2
import numpy as np
import pytest
from cvf_tests.annotations import load_h36m
from cvf_tests.film import NUM_FRAMES, store, write_film

from lib.core.data_check.group_sequence import GroupSequence
from lib.core.data_check.motion import SETTINGS, MotionWindow, check_motion, find_windows
from lib.dataset.groups import group_views
from lib.multiviews.body import H36M_BODY


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """(ROOT, records); tests store their own records and leave the images alone."""
    root = tmp_path_factory.mktemp("film")
    return root, write_film(root)


def groups_of(root) -> GroupSequence:
    annotations = load_h36m(root, "train")
    return GroupSequence.ordered(annotations, group_views(annotations), H36M_BODY)


def check(root):
    return check_motion([MotionWindow.of_groups(window, "jpg") for window in find_windows(groups_of(root), 4)])


def images_of(records, view):
    return [record["image"] for record in records if record["camera_id"] == view]


def test_check_motion_images_that_follow_their_labels(film):
    root, records = film
    store(root, records)
    section = check(root)
    assert section.findings == []
    assert section.body.count("| camera ") == 4
    shares = [int(line.split("|")[3]) for line in section.body.splitlines()[2:]]
    assert min(shares) > 30
    assert [line.split("|")[4].strip() for line in section.body.splitlines()[2:]] == ["0"] * 4


@pytest.mark.parametrize("lag", [2, -2, 4])
def test_check_motion_images_shifted_in_time(film, lag):
    root, records = film
    changed = [dict(record) for record in records]
    names = images_of(records, 2)
    for record in changed:
        if record["camera_id"] == 2:
            place = names.index(record["image"]) + lag
            record["image"] = names[min(max(place, 0), NUM_FRAMES - 1)]
    store(root, changed)
    (finding,) = check(root).findings
    side = "later" if lag > 0 else "earlier"
    assert finding.level == "error"
    text = f"camera 2: its images show the pose {abs(lag)} frames {side} than its labels: shifted in time"
    assert finding.text == text


@pytest.mark.parametrize(
    ("turns", "flip", "fault"),
    [
        (0, True, "mirrored against the labels, left and right"),
        (2, True, "mirrored against the labels, top and bottom"),
        (2, False, "turned against the labels by 180 degrees"),
        (1, False, "turned against the labels by 90 degrees, counterclockwise"),
        (3, False, "turned against the labels by 90 degrees, clockwise"),
        (3, True, "transposed, x and y exchanged"),
        (1, True, "turned against the labels by 90 degrees and mirrored"),
    ],
)
def test_check_motion_turned_and_mirrored_images(film, tmp_path, turns, flip, fault):
    root, records = film
    store(root, records)
    copy = tmp_path / "copy"
    (copy / "h36m").mkdir(parents=True)
    (copy / "h36m/annot").symlink_to(root / "h36m/annot")
    for record in records:
        target = copy / "h36m/images" / record["image"]
        target.parent.mkdir(parents=True, exist_ok=True)
        image = cv2.imread(str(root / "h36m/images" / record["image"]))
        if record["camera_id"] == 1:
            image = np.rot90(image, turns)  # counterclockwise
            image = image[:, ::-1] if flip else image
        cv2.imwrite(str(target), image)
    (finding,) = check(copy).findings
    assert (finding.level, finding.text) == ("error", f"camera 1: its images are {fault}")


def test_check_motion_swapped_cameras(film):
    root, records = film
    changed = [dict(record) for record in records]
    first, second = images_of(records, 0), images_of(records, 3)
    for record in changed:
        for own, other in ((first, second), (second, first)):
            if record["image"] in own and record["camera_id"] in (0, 3):
                record["image"] = other[own.index(record["image"])]
                break
    store(root, changed)
    texts = [finding.text for finding in check(root).findings]
    assert texts == [
        "camera 0: the images of camera 3 fit its labels: the cameras' images were swapped",
        "camera 3: the images of camera 0 fit its labels: the cameras' images were swapped",
    ]


def test_check_motion_untrackable_images_are_not_judged(tmp_path):
    rng = np.random.default_rng(0)
    for record in write_film(tmp_path, num_views=2, gap=40):
        noise = rng.integers(0, 255, (200, 200, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "h36m/images" / record["image"]), noise)
    findings = check(tmp_path).findings
    assert [finding.level for finding in findings] == ["note", "note"]
    assert "too far apart (40 frames)" in findings[0].text


def test_check_motion_missing_image_leaves_its_window_out(film, tmp_path):
    root, records = film
    store(root, [record | {"image": "none.jpg"} if record["image_id"] == 5 else record for record in records])
    section = check(root)
    findings = section.findings
    assert [finding.level for finding in findings] == ["note"] * 2
    assert section.unjudged == ["no window could be read"]
    assert "a window was left out" in findings[0].text
    assert "none.jpg" in findings[0].text


def test_find_windows_successive_groups_of_different_subjects(make_groups):
    groups = make_groups(frames=30, subjects=((1, 5, 6), (9,)))
    windows = find_windows(groups, 5)
    assert [len(window) for window in windows] == [10] * 5
    assert {window.recording[0, 0] for window in windows[:3]} == {1, 5, 6}
    for window in windows:
        assert len(np.unique(window.recording, axis=0)) == 1
        assert set(np.diff(window.frame)) == {3}
    assert find_windows(make_groups(frames=3 * SETTINGS.min_window - 3), 4) == []


def test_check_motion_no_windows(make_groups):
    (finding,) = check_motion([]).findings
    assert (finding.level, "groups in a row" in finding.text) == ("note", True)
