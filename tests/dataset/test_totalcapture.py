"""The reader of Total Capture; the tiny data set has one frame per recording, seen by 8 cameras."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest
from cvf_tests.annotations import load_totalcapture

from lib.dataset.groups import group_views
from lib.dataset.totalcapture import PROTOCOL, SPLIT
from lib.multiviews.cameras import project
from lib.utils.errors import InputError
from lib.utils.joints import TOTALCAPTURE_16, UNION_20, to_union

# the split as the paper states it; the numbers are ids
TRAIN = {(1, 1), (1, 2), (1, 3), (2, 1), (2, 3), (5, 1), (5, 2), (3, 1), (3, 2), (4, 1)}
TEST = {(5, 3), (3, 3), (2, 2)}


def recordings_of(annotations):
    labels = annotations.labels3d
    return {(int(s), int(a), int(n)) for s, a, n in zip(labels.subject, labels.action, labels.subaction, strict=True)}


@pytest.fixture
def edited(tiny_totalcapture):
    """edited(function of the records) writes the training records so changed and returns ROOT."""

    def make(edit):
        root = tiny_totalcapture()
        path = root / "totalcapture/annot/totalcapture_train.pkl"
        records = pickle.loads(path.read_bytes())
        edit(records)
        path.write_bytes(pickle.dumps(records))
        return root

    return make


def test_totalcapture_file_arrays(tiny_totalcapture):
    root = tiny_totalcapture()
    records = pickle.loads((root / "totalcapture/annot/totalcapture_train.pkl").read_bytes())
    annotations = load_totalcapture(root, "train")
    assert len(annotations) == len(records) == 3 * 2 * 8
    assert (annotations.source, annotations.joint_set) == ("totalcapture", TOTALCAPTURE_16)
    assert annotations.images_dir == root / "totalcapture/images"
    assert (annotations.images_dir / annotations.image_name(13)).is_file()
    np.testing.assert_allclose(annotations.center[13], records[13]["center"], rtol=1e-6)
    assert annotations.labels3d.camera_id[:9].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]


def test_totalcapture_file_union_joints(tiny_totalcapture):
    root = tiny_totalcapture()
    record = pickle.loads((root / "totalcapture/annot/totalcapture_train.pkl").read_bytes())[11]
    annotations = load_totalcapture(root, "train")
    for joint, name in enumerate(TOTALCAPTURE_16.names):
        here = UNION_20.names.index(name)
        np.testing.assert_allclose(annotations.joints_img[11, here], record["joints_2d"][joint], rtol=1e-6)
    lacking = {UNION_20.names[joint] for joint in np.flatnonzero(~annotations.visible[11])}
    assert lacking == {"thorax", "upper neck", "head", "head top"}


def test_totalcapture_file_labels_project_to_pixels(tiny_totalcapture):
    annotations = load_totalcapture(tiny_totalcapture(), "validation")
    labels = annotations.labels3d
    rows = np.arange(len(annotations))
    assert labels.pose_cam.shape == (15 * 8, 16, 3)
    pixels, _ = project(labels.pose_world(rows), labels.cameras[labels.camera_idx])
    np.testing.assert_allclose(
        to_union(pixels, TOTALCAPTURE_16)[annotations.visible], annotations.joints_img[annotations.visible], atol=0.01
    )


def test_totalcapture_file_selected_cameras(tiny_totalcapture):
    annotations = load_totalcapture(tiny_totalcapture(), "train")
    assert group_views(annotations, camera_ids=[0, 2, 4, 6])[:2].tolist() == [[0, 2, 4, 6], [8, 10, 12, 14]]
    assert group_views(annotations).shape == (6, 8)


def test_totalcapture_file_uncropped(tiny_totalcapture):
    annotations = load_totalcapture(tiny_totalcapture(), "valid", crop=False)
    assert annotations.center.tolist() == [[100.0, 100.0]] * 120


def test_split_of_paper():
    assert SPLIT["train"] == {(subject, *recording) for subject in (1, 2, 3) for recording in TRAIN}
    assert SPLIT["validation"] == {(subject, *recording) for subject in (1, 2, 3, 4, 5) for recording in TEST}
    assert not SPLIT["train"] & SPLIT["validation"]


# --- actions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actions", [("ROM", "Running"), ("rom", "RUNNING"), (1, 4), (np.int64(1), np.uint8(4))])
def test_totalcapture_file_actions_by_name_or_id(tiny_totalcapture, caplog, actions):
    recordings = [(1, actions[0], 1), (2, actions[1], 1)]
    annotations = load_totalcapture(tiny_totalcapture({"train": recordings}), "train")
    assert recordings_of(annotations) == {(1, 1, 1), (2, 4, 1)}
    assert not caplog.messages


def test_totalcapture_file_other_action_numbers(tiny_totalcapture):
    root = tiny_totalcapture({"train": [(1, 3, 1), (2, 1, 1), (3, "Walking", 3)]})
    annotations = load_totalcapture(root, "train", file_actions=["Running", "Walking", "rom"])
    assert recordings_of(annotations) == {(1, 1, 1), (2, 4, 1), (3, 2, 3)}


@pytest.mark.parametrize("names", [["Walking", "walking"], ["ROM", "Jumping"]])
def test_totalcapture_file_impossible_actions(tiny_totalcapture, names):
    with pytest.raises(InputError, match=r"DATASET\.TOTALCAPTURE_ACTIONS: expected different names out of ROM, Walk"):
        load_totalcapture(tiny_totalcapture(), "train", file_actions=names)


def test_totalcapture_file_unknown_actions(edited):
    def rename(records):
        records[3]["action"], records[5]["action"], records[7]["action"], records[9]["action"] = "Jump", 6, 1.5, "Jump"

    with pytest.raises(InputError) as caught:
        load_totalcapture(edited(rename), "train")
    assert "totalcapture_train.pkl: unknown actions Jump, 6, 1.5; expected names or numbers of 1 ROM, 2 Wa" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


# --- the split of a file with other recordings --------------------------------------------------------------------

EVERYTHING = [(subject, name, number) for subject in (1, 4) for name in ("Walking", "Acting") for number in (1, 2, 3)]


def test_totalcapture_file_other_recordings(tiny_totalcapture, caplog):
    root = tiny_totalcapture({"train": EVERYTHING, "validation": EVERYTHING})
    with caplog.at_level(logging.WARNING):
        train = load_totalcapture(root, "train")
    assert recordings_of(train) == {(1, 2, 1), (1, 2, 3), (1, 3, 1), (1, 3, 2)}
    assert len(train) == 4 * 8
    (message,) = caplog.messages
    assert "ignored 64 of 96 images, from 8 recordings outside the paper's split for 'train'" in message
    assert message.endswith(
        "Walking 1 (S4), Walking 2 (S1 S4), Walking 3 (S4), Acting 1 (S4), Acting 2 (S4), Acting 3 (S1 S4)"
    )
    assert recordings_of(load_totalcapture(root, "validation")) == {(1, 2, 2), (1, 3, 3), (4, 2, 2), (4, 3, 3)}


def test_totalcapture_file_no_recording_of_split(tiny_totalcapture):
    root = tiny_totalcapture({"train": [(4, "ROM", 1), (1, "Walking", 2), (4, "Walking", 2)]})
    with pytest.raises(InputError) as caught:
        load_totalcapture(root, "train")
    assert "no recording of the paper's split for 'train' (ROM 1 (S1 S2 S3), ROM 2" in str(caught.value)
    assert str(caught.value).endswith("; the file holds ROM 1 (S4), Walking 2 (S1 S4)")


# --- input that cannot be used ------------------------------------------------------------------------------------


def test_totalcapture_file_missing_or_unknown_subset(tmp_path, tiny_totalcapture):
    with pytest.raises(InputError, match=r"totalcapture: no such folder; DATASET\.ROOT must hold totalcapture/annot"):
        load_totalcapture(tmp_path / "none", "train")
    with pytest.raises(InputError, match=r"unknown subset of Total Capture 'test'; .*validation"):
        load_totalcapture(tmp_path, "test")
    root = tiny_totalcapture()
    (root / "totalcapture/annot/totalcapture_train_uncrop.pkl").unlink()
    with pytest.raises(InputError, match=r"totalcapture_train_uncrop\.pkl: no such file"):
        load_totalcapture(root, "train", crop=False)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda records: records[4].pop("action"), "record 4 has no 'action'"),
        (lambda records: records[4].pop("subaction"), "record 4 has no 'subaction'"),
        (lambda records: records[4].update(subject="S1"), "'subject' differs in shape or type"),
        (lambda records: [record.update(joints_2d=np.zeros((17, 2))) for record in records], r"shape \(16, 2\)"),
    ],
)
def test_totalcapture_file_bad_record(edited, edit, message):
    with pytest.raises(InputError, match=message) as caught:
        load_totalcapture(edited(edit), "train")
    assert "totalcapture_train.pkl" in str(caught.value)


def test_totalcapture_file_listed_actions(tiny_totalcapture):
    labels = load_totalcapture(tiny_totalcapture(), "validation").labels3d
    assert labels.protocol is PROTOCOL
    assert labels.listed_actions(np.array([0, 8, 16])).tolist() == ["Walking 2", "Freestyle 3", "Acting 3"]
