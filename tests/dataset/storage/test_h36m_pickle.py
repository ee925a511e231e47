"""Annotation pickles of the original code, read through load_h36m()."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from cvf_tests.annotations import load_h36m

from lib.dataset.conventions import Conventions
from lib.dataset.groups import group_views
from lib.multiviews.cameras import project
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17, UNION_20, to_union


def test_to_annotations_arrays(tiny_root, h36m_pickle):
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


def test_to_annotations_labels_project_to_pixels(tiny_root):
    annotations = load_h36m(tiny_root(num_views=3, subjects=((1, 5), (9,)), mpii=0), "train")
    labels = annotations.labels3d
    assert len(labels.cameras) == 6  # three per subject, each once
    rows = np.arange(len(annotations))
    world = labels.pose_world(rows)
    pixels, _ = project(world, labels.cameras[labels.camera_idx])
    np.testing.assert_allclose(
        to_union(pixels, H36M_17)[annotations.visible], annotations.joints_img[annotations.visible], atol=0.01
    )
    groups = group_views(annotations)
    np.testing.assert_allclose(world[groups], world[groups[:, :1]].repeat(3, 1), atol=0.1)


def test_to_annotations_invisible_joints(tiny_root):
    def hide(records):
        records[1]["joints_vis"][16] = 0  # rwri

    annotations = load_h36m(tiny_root(mpii=0, edit=hide), "train")
    assert np.argwhere(annotations.visible != annotations.visible[0]).tolist() == [[1, 19]]


def set_entry(row, key, value):
    def edit(records):
        records[row][key] = value

    return edit


def set_camera(row, key, value):
    def edit(records):
        records[row]["camera"] = records[row]["camera"] | {key: value}

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
        (set_entry(2, "image_id", 0.4), "record 2: 'image_id' must be an integer of at most 64 bits, received 0.4"),
        (set_entry(2, "image_id", float("nan")), "record 2: 'image_id' differs in shape or type .*NaN"),
        (set_entry(2, "image_id", 1e30), "record 2: 'image_id' differs in shape or type .*too large"),
        (set_entry(5, "camera_id", np.float64(1.5)), "record 5: 'camera_id' must be an integer .* received 1.5"),
        (set_entry(5, "subject", np.array(2**40)), "record 5: 'subject' must be an integer of at most 32 bits"),
        (set_entry(5, "subject", 1_700_000_000_001), "record 5: 'subject' differs in shape or type .*out of bounds"),
        (set_entry(3, "image_id", 2**70), "record 3: 'image_id' differs in shape or type"),
        (set_entry(3, "center", [10**400, 1.0]), "record 3: 'center' differs in shape or type .*too large"),
        (set_entry(3, "center", [1e39, 1.0]), "record 3: 'center' is not finite"),
        (set_entry(3, "image", "s_01/\ud800.jpg"), r"the image name 's_01/\\ud800\.jpg' is not Unicode"),
        (set_camera(3, "R", [[1.0, 0, 0], [0, 1.0]]), r"record 3 \('s_01.*'\): camera: not numbers"),
        (set_camera(3, "R", None), r"record 3 \('s_01.*'\): camera: not numbers|camera: entry 'R'"),
        (set_camera(3, "fx", [10**400]), r"record 3 \('s_01.*'\): camera: not numbers"),
        (lambda records: [one | {"joints_2d": np.zeros((16, 2))} for one in records], r"expected shape \(17, 2\)"),
        (lambda records: [], "expected a list of dictionaries"),
        (lambda records: {"a": 1}, "expected a list of dictionaries"),
        (lambda records: [*records, None], "expected a list of dictionaries"),
    ],
)
def test_to_annotations_bad_record(tiny_root, edit, message):
    root = tiny_root(frames=2, mpii=0)
    path = root / "h36m/annot/h36m_train.pkl"
    records = pickle.loads(path.read_bytes())
    changed = edit(records)
    path.write_bytes(pickle.dumps(records if changed is None else changed))
    with pytest.raises(InputError, match=message) as caught:
        load_h36m(root, "train")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_column_whole_floats_and_time_stamps(tiny_root):
    def edit(records):
        for record in records:
            record["camera_id"] = float(record["camera_id"])
            record["image_id"] += 1_700_000_000_000

    annotations = load_h36m(tiny_root(mpii=0, edit=edit), "train")
    assert set(annotations.labels3d.frame.tolist()) == {1_700_000_000_001, 1_700_000_000_002, 1_700_000_000_003}
    assert set(annotations.labels3d.camera_id.tolist()) == {0, 1, 2, 3}
    np.testing.assert_array_equal(group_views(annotations), group_views(load_h36m(tiny_root(mpii=0), "train")))


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1), ("cm", 0.1), ("m", 0.001)])
def test_to_annotations_other_conventions(tiny_root, unit, scale):
    def restate(records):
        cameras = {}
        for record in records:
            old = record["camera"]
            translation = -old["R"] @ old["T"] * scale
            cameras.setdefault(id(old), old | {"T": translation})
            record["camera"] = cameras[id(old)]
            record["joints_3d_camera"] = record["joints_3d_camera"] * scale

    plain = load_h36m(tiny_root(mpii=0), "train").labels3d
    other = load_h36m(tiny_root(mpii=0, edit=restate), "train", True, Conventions(unit, unit, "translation")).labels3d
    np.testing.assert_allclose(other.pose_cam, plain.pose_cam, rtol=1e-6)
    np.testing.assert_allclose(other.cameras.T, plain.cameras.T, atol=1e-6)
    np.testing.assert_array_equal(other.cameras.R, plain.cameras.R)
