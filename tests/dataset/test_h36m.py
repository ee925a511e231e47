from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest

from lib.dataset.h36m import group_views, load_h36m
from lib.multiviews.cameras import project
from lib.utils.checks import InputError
from lib.utils.joints import H36M_17, UNION_20, to_union


def test_arrays_hold_what_the_file_holds(tiny_root, h36m_pickle):
    root = tiny_root(mpii=0)
    records = h36m_pickle(root, "train")
    annotations = load_h36m(root, "train")
    assert len(annotations) == len(records) == 12
    assert annotations.joint_set is H36M_17
    assert annotations.images_dir == root / "h36m" / "images"
    for row in (0, 7):
        assert annotations.image_name(row) == records[row]["image"]
        np.testing.assert_allclose(annotations.center[row], records[row]["center"], rtol=1e-6)
        np.testing.assert_allclose(annotations.scale[row], records[row]["scale"])
        for name in ("root", "lank", "neck", "rwri"):
            there, here = H36M_17.names.index(name), UNION_20.names.index(name)
            np.testing.assert_allclose(annotations.joints_img[row, here], records[row]["joints_2d"][there], rtol=1e-6)
    lacking = [UNION_20.names.index(name) for name in ("thorax", "upper neck", "head top")]
    assert not annotations.visible[:, lacking].any()
    assert annotations.visible.sum() == 12 * 17


def test_labels_lead_back_to_the_pixels(tiny_root):
    annotations = load_h36m(tiny_root(num_views=3, subjects=((1, 5), (9,)), mpii=0), "train")
    labels = annotations.labels3d
    assert len(labels.cameras) == 6  # three per subject, each once
    rows = np.arange(len(annotations))
    world = labels.pose_world(rows)
    pixels, _ = project(world, labels.cameras[labels.camera_idx])
    np.testing.assert_allclose(to_union(pixels, H36M_17)[annotations.visible],
                               annotations.joints_img[annotations.visible], atol=0.01)  # fmt: skip
    groups = group_views(annotations)
    np.testing.assert_allclose(world[groups], world[groups[:, :1]].repeat(3, 1), atol=0.1)


def test_uncropped_boxes_come_from_the_other_file(tiny_root):
    root = tiny_root(mpii=0)
    annotations = load_h36m(root, "validation", crop=False)
    assert annotations.center.tolist() == [[100.0, 100.0]] * 12
    assert annotations.scale.tolist() == [[1.0, 1.0]] * 12


def test_mpiis_word_for_the_subset(tiny_root):
    root = tiny_root(mpii=0)
    assert load_h36m(root, "valid").image.tolist() == load_h36m(root, "validation").image.tolist()


def test_invisible_joints(tiny_root):
    def hide(records):
        records[1]["joints_vis"][16] = 0  # rwri

    annotations = load_h36m(tiny_root(mpii=0, edit=hide), "train")
    assert np.argwhere(annotations.visible != annotations.visible[0]).tolist() == [[1, 19]]


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_views_are_taken_from_the_annotation(tiny_root, num_views):
    annotations = load_h36m(tiny_root(num_views=num_views, mpii=0), "train")
    assert group_views(annotations).tolist() == np.arange(3 * num_views).reshape(3, num_views).tolist()


def test_groups_in_the_order_of_their_first_image_views_by_camera(tiny_root):
    def shuffle(records):
        order = [5, 8, 3, 0, 7, 4, 1, 2, 6]
        return [records[i] for i in order]

    annotations = load_h36m(tiny_root(num_views=3, mpii=0, edit=shuffle), "train")
    # frame 2 = records 3 4 5 (first seen), frame 3 = 6 7 8, frame 1 = 0 1 2
    assert group_views(annotations).tolist() == [[2, 5, 0], [8, 4, 1], [3, 6, 7]]


def test_other_camera_ids(tiny_root):
    def rename(records):
        for record in records:
            record["camera_id"] = [7, 2, 4][record["camera_id"]]

    annotations = load_h36m(tiny_root(num_views=3, mpii=0, edit=rename), "train")
    assert group_views(annotations)[0].tolist() == [1, 2, 0]


def drop_one_view(records):
    del records[5]  # frame 2, view 1


def test_incomplete_groups_are_dropped_with_one_warning(tiny_root, caplog):
    annotations = load_h36m(tiny_root(mpii=0, edit=drop_one_view), "train")
    with caplog.at_level(logging.WARNING):
        groups = group_views(annotations)
    assert groups.tolist() == [[0, 1, 2, 3], [7, 8, 9, 10]]
    (message,) = caplog.messages
    assert "1 of 3 groups lack a view of the 4" in message
    assert "s_01_act_04_subact_01_ca_04_000002.jpg" in message
    assert message.endswith("dropped")


def test_incomplete_groups_are_an_error_where_asked_for(tiny_root, caplog):
    annotations = load_h36m(tiny_root(mpii=0, edit=drop_one_view), "train")
    with pytest.raises(InputError, match="1 of 3 groups lack a view of the 4"):
        group_views(annotations, "error")
    assert not caplog.messages


def test_no_complete_group(tiny_root):
    annotations = load_h36m(tiny_root(frames=1, mpii=0, edit=lambda records: records[:1] + records[2:3]), "train")
    assert len(annotations) == 2
    assert group_views(annotations).tolist() == [[0, 1]]  # two cameras are a rig of two

    def one_view_each(records):
        return [record for record in records if record["camera_id"] == record["image_id"]]

    annotations = load_h36m(tiny_root(frames=3, mpii=0, edit=one_view_each), "train")
    with pytest.raises(InputError, match="3 of 3 groups lack a view"):
        group_views(annotations)


def test_one_view_is_refused(tiny_root):
    annotations = load_h36m(tiny_root(num_views=1, mpii=0), "train")
    with pytest.raises(InputError, match=r"1 view .* need at least 2"):
        group_views(annotations)


def test_two_images_of_one_view(tiny_root):
    annotations = load_h36m(tiny_root(mpii=0, edit=lambda records: [*records, records[2]]), "train")
    with pytest.raises(InputError, match="two images share"):
        group_views(annotations)


def set_entry(row, key, value):
    def edit(records):
        records[row][key] = value

    return edit


def drop_entry(row, *keys):
    def edit(records):
        entry = records[row]
        for key in keys[:-1]:
            entry[key] = dict(entry[key])  # the records of a view share one camera
            entry = entry[key]
        del entry[keys[-1]]

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop_entry(3, "camera"), r"record 3 \('s_01.*'\) has no 'camera'"),
        (drop_entry(3, "camera", "k"), r"record 3 \('s_01.*'\) has no 'k' \(camera parameters\)"),
        (drop_entry(2, "joints_2d"), "record 2 has no 'joints_2d'"),
        (drop_entry(4, "image"), "record 4 has no image name"),
        (set_entry(4, "image", 7), "record 4 has no image name"),
        (drop_entry(1, "camera_id"), "record 1 has no 'camera_id'"),
        (set_entry(1, "joints_2d", np.zeros((16, 2))), "'joints_2d' differs in shape"),
        (set_entry(1, "subject", "S1"), "'subject' differs in shape or type"),
        (set_entry(1, "center", np.array([np.nan, 3])), "record 1: 'center' is not finite"),
        (set_entry(6, "scale", np.array([0.0, 0.0])), "record 6: 'scale' must be positive"),
        (set_entry(1, "camera", dict.fromkeys(["R", "T", "fx", "fy", "cx", "cy", "k", "p"], 1)), "camera: entry 'R'"),
        (lambda records: [one | {"joints_2d": np.zeros((16, 2))} for one in records], r"expected shape \(17, 2\)"),
        (lambda records: [], "expected a list of dictionaries"),
        (lambda records: {"a": 1}, "expected a list of dictionaries"),
        (lambda records: [*records, None], "expected a list of dictionaries"),
    ],
)  # fmt: skip
def test_a_bad_record_is_named(tiny_root, edit, message):
    root = tiny_root(frames=2, mpii=0)
    path = root / "h36m/annot/h36m_train.pkl"
    records = pickle.loads(path.read_bytes())
    changed = edit(records)
    path.write_bytes(pickle.dumps(records if changed is None else changed))
    with pytest.raises(InputError, match=message) as caught:
        load_h36m(root, "train")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path, tiny_root):
    with pytest.raises(InputError, match=r"none.h36m: no such folder; DATASET\.ROOT"):
        load_h36m(tmp_path / "none", "train")
    with pytest.raises(InputError, match=r"h36m_test\.pkl: no such file"):
        load_h36m(tiny_root(mpii=0), "test")
