from __future__ import annotations

import logging

import numpy as np
import pytest
from cvf_tests.annotations import load_h36m

from lib.dataset.groups import group_singles, group_views, parse_scenes, without_scenes
from lib.dataset.h36m import DAMAGED_SCENES
from lib.dataset.mpii import load_mpii
from lib.utils.errors import InputError


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_group_views_number_of_views(tiny_root, num_views):
    annotations = load_h36m(tiny_root(num_views=num_views, mpii=0), "train")
    assert group_views(annotations).tolist() == np.arange(3 * num_views).reshape(3, num_views).tolist()


def test_group_views_order(tiny_root):
    def shuffle(records):
        order = [5, 8, 3, 0, 7, 4, 1, 2, 6]
        return [records[i] for i in order]

    annotations = load_h36m(tiny_root(num_views=3, mpii=0, edit=shuffle), "train")
    # frame 2 = records 3 4 5 (first seen), frame 3 = 6 7 8, frame 1 = 0 1 2
    assert group_views(annotations).tolist() == [[2, 5, 0], [8, 4, 1], [3, 6, 7]]


def test_group_views_other_camera_ids(tiny_root):
    def rename(records):
        for record in records:
            record["camera_id"] = [7, 2, 4][record["camera_id"]]

    annotations = load_h36m(tiny_root(num_views=3, mpii=0, edit=rename), "train")
    assert group_views(annotations)[0].tolist() == [1, 2, 0]


def drop_one_view(records):
    del records[5]  # frame 2, view 1


def test_group_views_drop_incomplete(tiny_root, caplog):
    annotations = load_h36m(tiny_root(mpii=0, edit=drop_one_view), "train")
    with caplog.at_level(logging.WARNING):
        groups = group_views(annotations)
    assert groups.tolist() == [[0, 1, 2, 3], [7, 8, 9, 10]]
    (message,) = caplog.messages
    assert "1 of 3 groups lack a view of the 4" in message
    assert "s_01_act_04_subact_01_ca_04_000002.jpg" in message
    assert message.endswith("dropped")


def test_group_views_error_incomplete(tiny_root, caplog):
    annotations = load_h36m(tiny_root(mpii=0, edit=drop_one_view), "train")
    with pytest.raises(InputError, match="1 of 3 groups lack a view of the 4"):
        group_views(annotations, "error")
    assert not caplog.messages


def test_group_views_no_complete_group(tiny_root):
    annotations = load_h36m(tiny_root(frames=1, mpii=0, edit=lambda records: records[:1] + records[2:3]), "train")
    assert len(annotations) == 2
    assert group_views(annotations).tolist() == [[0, 1]]  # two cameras are a rig of two

    def one_view_each(records):
        return [record for record in records if record["camera_id"] == record["image_id"]]

    annotations = load_h36m(tiny_root(frames=3, mpii=0, edit=one_view_each), "train")
    with pytest.raises(InputError, match="3 of 3 groups lack a view"):
        group_views(annotations)


def test_group_views_single_view(tiny_root):
    annotations = load_h36m(tiny_root(num_views=1, mpii=0), "train")
    with pytest.raises(InputError, match=r"expected at least 2 views .* received 1"):
        group_views(annotations)


def test_group_views_duplicate_image(tiny_root):
    annotations = load_h36m(tiny_root(mpii=0, edit=lambda records: [*records, records[2]]), "train")
    with pytest.raises(InputError, match="two images share"):
        group_views(annotations)


@pytest.mark.parametrize("camera_ids", [[0, 2], [3, 0, 1], [3, 2, 1, 0]])
def test_group_views_selected_cameras(tiny_root, camera_ids):
    annotations = load_h36m(tiny_root(mpii=0), "train")
    expected = [[4 * frame + camera for camera in camera_ids] for frame in range(3)]
    assert group_views(annotations, camera_ids=camera_ids).tolist() == expected


def test_group_views_missing_unused_camera(tiny_root):
    annotations = load_h36m(tiny_root(mpii=0, edit=drop_one_view), "train")
    assert len(group_views(annotations, "error", [0, 2, 3])) == 3
    assert len(group_views(annotations, "drop", [0, 1])) == 2


@pytest.mark.parametrize("camera_ids", [[0, 4], [1, 1], [0, -1]])
def test_group_views_unknown_cameras(tiny_root, camera_ids):
    annotations = load_h36m(tiny_root(mpii=0), "train")
    with pytest.raises(InputError, match=r"DATASET.CAMERAS: expected different camera_id out of \[0, 1, 2, 3\]"):
        group_views(annotations, camera_ids=camera_ids)


def test_group_views_large_ids(tiny_root):
    def spread(records):
        for record in records:
            record["image_id"] = record["image_id"] * 10**9 // 2
            record["subject"], record["action"], record["subaction"] = 2 * 10**9, -7, 10**9 + record["image_id"] % 2

    assert len(group_views(load_h36m(tiny_root(mpii=0, edit=spread), "train"))) == 3


def test_parse_scenes_names_and_numbers():
    assert parse_scenes(["damaged"]) == set(DAMAGED_SCENES) == {(9, 5, 2), (9, 10, 2), (9, 13, 1)}
    assert parse_scenes(["1-2-1", "damaged"]) == {*DAMAGED_SCENES, (1, 2, 1)}
    assert parse_scenes([]) == set()
    for wrong in ("9-5", "S9-5-2", "broken", "9-5-x", "9-5-²"):
        with pytest.raises(InputError, match=f"SUBJECT-ACTION-SUBACTION such as 9-5-2, received '{wrong}'"):
            parse_scenes([wrong])


def test_without_scenes_excludes_recordings(tiny_root):
    annotations = load_h36m(tiny_root(frames=6, mpii=0), "validation")  # actions 3 4 2 3 4 2
    groups = group_views(annotations)
    kept = without_scenes(annotations, groups, {(9, 3, 1), (9, 4, 2), (1, 4, 1)})
    assert annotations.labels3d.action[kept[:, 0]].tolist() == [4, 2, 4, 2]
    np.testing.assert_array_equal(without_scenes(annotations, groups, set()), groups)
    with pytest.raises(InputError, match="TEST_EXCLUDE leaves no group"):
        without_scenes(annotations, groups, {(9, 2, 1), (9, 3, 1), (9, 4, 1)})


def test_group_singles_drop_remainder(tiny_root):
    annotations = load_mpii(tiny_root(frames=1, mpii=11), "train")
    assert group_singles(annotations).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert group_singles(annotations, 5).tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert group_singles(annotations, 1).tolist() == [[i] for i in range(11)]
    with pytest.raises(InputError, match="expected at least 12 images, received 11"):
        group_singles(annotations, 12)


def test_group_singles_complete(tiny_root):
    annotations = load_mpii(tiny_root(frames=1, mpii=11), "train")
    assert group_singles(annotations, complete=True).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 0]]
    assert group_singles(annotations, 11, complete=True).tolist() == [list(range(11))]
    assert group_singles(annotations, 25, complete=True).tolist() == [[*range(11), *range(11), 0, 1, 2]]
