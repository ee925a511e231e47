from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.io

from lib.dataset.mpii import find_mpii, head_sizes, load_mpii, read_gt_boxes, write_gt
from lib.utils.errors import InputError
from lib.utils.files.mat_file import write_mat
from lib.utils.joints import UNION_20


def record(**changes):
    joints = [[10.0 + i, 101.0 + 2 * i] for i in range(16)]
    box = {"center": [301.0, 201.0], "scale": 2.0}
    return {"image": "1.jpg", **box, "joints": joints, "joints_vis": [1] * 16} | changes


@pytest.fixture
def write(tmp_path):
    def to_root(records, folder="mpii", subset="train"):
        (tmp_path / folder / "annot").mkdir(parents=True, exist_ok=True)
        text = records if isinstance(records, str) else json.dumps(records)
        (tmp_path / folder / "annot" / f"{subset}.json").write_text(text)
        return tmp_path

    return to_root


def test_load_mpii_by_hand(write):
    hidden = [1] * 16
    hidden[10] = 0  # rwri
    annotations = load_mpii(write([record(joints_vis=hidden)]), "train")
    # the box goes down by 15 * 2 and grows by 1.25, then everything becomes 0-based
    assert annotations.center.tolist() == [[300.0, 230.0]]
    assert annotations.scale.tolist() == [[2.5, 2.5]]
    where = {name: index for index, name in enumerate(UNION_20.names)}
    assert annotations.joints_img[0, where["rank"]].tolist() == [9.0, 100.0]  # MPII joint 0
    assert annotations.joints_img[0, where["head top"]].tolist() == [18.0, 118.0]  # joint 9
    assert annotations.joints_img[0, where["lwri"]].tolist() == [24.0, 130.0]  # joint 15
    lacking = {UNION_20.names[i] for i in np.flatnonzero(~annotations.visible[0])}
    assert lacking == {"belly", "neck", "nose", "head", "rwri"}
    assert annotations.labels3d is None
    assert annotations.head_size is None


def test_load_mpii_head_sizes(write):
    root = write([record(head_box=[10, 20, 40, 60]), record(), record(head_box=None)])  # 30 x 40 px
    sizes = load_mpii(root, "train").head_size
    assert sizes.dtype == np.float32
    np.testing.assert_allclose(sizes, [30, np.nan, np.nan], rtol=1e-6)


@pytest.fixture
def with_gt(write):
    """with_gt(subset, records, head boxes) writes the JSON and a gt_valid.mat about the same joints."""

    def to_root(subset, records, boxes):
        joints = np.array([one["joints"] for one in records])
        root = write(records, subset=subset)
        write_gt(root / "mpii/annot/gt_valid.mat", joints, np.ones(joints.shape[:2], bool), np.array(boxes, float))
        return root

    return to_root


def test_load_mpii_head_boxes_of_gt_valid(with_gt):
    boxes = [[10, 20, 40, 60], [0, 0, 0, 10]]
    root = with_gt("valid", [record(), record()], boxes)
    for subset in ("valid", "validation"):
        assert load_mpii(root, subset).head_size.tolist() == [30, 6]
    assert load_mpii(with_gt("train", [record(), record()], boxes), "train").head_size is None


def test_load_mpii_head_boxes_of_records(with_gt):
    root = with_gt("valid", [record(head_box=[0, 0, 30, 40]), record()], [[1, 1, 2, 2]] * 2)
    np.testing.assert_allclose(load_mpii(root, "valid").head_size, [30, np.nan], rtol=1e-6)


def test_load_mpii_gt_valid_of_other_persons(with_gt, write):
    root = with_gt("valid", [record(), record()], [[1, 1, 2, 2]] * 2)
    write([record()], subset="valid")
    with pytest.raises(InputError, match=r"gt_valid\.mat: .*for the 1 persons of valid\.json, received"):
        load_mpii(root, "valid")
    (root / "mpii/annot/gt_valid.mat").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"gt_valid\.mat: not a MATLAB file"):
        load_mpii(root, "valid")


NO_POSITION = {"center": [-1.0, -1.0], "scale": -1.0}


def test_load_mpii_persons_without_position(with_gt, caplog):
    records = [record(image="0.jpg"), record(**NO_POSITION), record(image="2.jpg", scale=4.0)]
    annotations = load_mpii(with_gt("valid", records, [[0, 0, 30, 40], [1, 1, 2, 2], [0, 0, 0, 10]]), "valid")
    assert [annotations.image_name(row) for row in range(len(annotations))] == ["0.jpg", "2.jpg"]
    assert annotations.scale[:, 0].tolist() == [2.5, 5]
    assert annotations.head_size.tolist() == [30, 6]
    assert annotations.visible.shape == annotations.joints_img.shape[:2] == (2, 20)
    assert "valid.json: dropped 1 of 3 records with center and scale -1" in caplog.text
    assert "the first is record 1" in caplog.text


def test_load_mpii_no_position(write):
    with pytest.raises(InputError, match=r"train\.json: all scales are -1"):
        load_mpii(write([record(**NO_POSITION)]), "train")


def test_load_mpii_box_without_center(write):
    annotations = load_mpii(write([record(center=[-1.0, -1.0])]), "train")
    assert annotations.center.tolist() == [[-2.0, -2.0]]
    assert annotations.scale.tolist() == [[2.0, 2.0]]


def test_load_mpii_test_subset(write):
    one = record()
    del one["joints"], one["joints_vis"]
    annotations = load_mpii(write([one], subset="test"), "test")
    assert not annotations.visible.any()
    assert not annotations.joints_img.any()


@pytest.mark.parametrize("folder", ["mpii", "MPII"])
def test_load_mpii_folder_case(write, folder):
    root = write([record()], folder)
    assert load_mpii(root, "train").images_dir == root / folder / "images"
    assert find_mpii(root) == root / folder
    assert find_mpii(root / folder) is None


def test_load_mpii_subset_validation(write):
    root = write([record()], subset="valid")
    assert len(load_mpii(root, "validation")) == len(load_mpii(root, "valid")) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"center": [1.0]}, "record 1: not in the MPII format"),
        ({"center": None}, "record 1: not in the MPII format"),
        ({"scale": "big"}, "record 1: not in the MPII format"),
        ({"scale": 0}, "record 1: not in the MPII format .*scale"),
        ({"scale": -1.0}, "record 1: not in the MPII format .*'scale' must be positive, received -1"),
        ({"scale": 10**400}, "record 1: not in the MPII format .*too large"),
        ({"scale": 1e39}, "record 1: not in the MPII format .*scale"),
        ({"joints": [1.0, 2.0]}, "record 1: not in the MPII format"),
        ({"joints": [[1.0, 2.0]] * 15}, "record 1: not in the MPII format"),
        ({"joints": [[float("nan"), 2.0]] * 16}, "record 1: not in the MPII format"),
        ({"joints_vis": [1] * 15}, "record 1: not in the MPII format"),
        ({"image": 5}, "record 1: not in the MPII format"),
        ({"head_box": [1.0, 2.0, 3.0]}, "record 1: not in the MPII format .*head_box"),
        ({"head_box": [1.0, 2.0, 1.0, 2.0]}, "record 1: not in the MPII format .*head_box"),
    ],
)
def test_load_mpii_bad_record(write, changes, message):
    root = write([record(), record(**changes)])
    with pytest.raises(InputError, match=rf"train\.json: {message}"):
        load_mpii(root, "train")


@pytest.mark.parametrize("key", ["image", "center", "scale", "joints_vis"])
def test_load_mpii_missing_entry(write, key):
    one = record()
    del one[key]
    with pytest.raises(InputError, match=f"record 0 has no '{key}'"):
        load_mpii(write([one]), "train")


@pytest.mark.parametrize("content", ["{}", "[]", '{"a": 1}', '["x"]'])
def test_load_mpii_other_content(write, content):
    with pytest.raises(InputError, match=r"train\.json: (expected a list|record 0: not in the MPII format)"):
        load_mpii(write(content), "train")


def test_load_mpii_missing_files(tmp_path, write):
    with pytest.raises(InputError, match=r"mpii: no such folder; DATASET\.ROOT"):
        load_mpii(tmp_path, "train")
    with pytest.raises(InputError, match=r"trainval\.json: no such file"):
        load_mpii(write([record()]), "trainval")


@pytest.fixture
def persons():
    """Joints (5, 16, 2), annotated (5, 16) and head boxes (5, 4) of five people."""
    rng = np.random.default_rng(2)
    annotated = rng.random((5, 16)) < 0.8
    joints = np.where(annotated[..., None], rng.uniform(1, 700, (5, 16, 2)), -1)
    corner = rng.uniform(1, 600, (5, 2))
    return joints, annotated, np.concatenate([corner, corner + rng.uniform(10, 80, (5, 2))], 1)


def test_head_sizes_by_hand():
    boxes = np.array([[10.0, 20, 40, 60], [5, 5, 5, 15], [40, 60, 10, 20], [np.nan] * 4])
    np.testing.assert_allclose(head_sizes(boxes), [30, 6, 30, np.nan])  # 0.6 of 50, 10, 50


def test_write_gt_simple_baselines(persons, tmp_path):
    joints, annotated, boxes = persons
    write_gt(tmp_path / "gt.mat", joints, annotated, boxes)
    found = scipy.io.loadmat(tmp_path / "gt.mat")
    names = [str(name.item()) for name in found["dataset_joints"][0]]
    assert " ".join(names) == (
        "rank rkne rhip lhip lkne lank pelvis thorax upper_neck head rwri relb rsho lsho lelb lwri"
    )
    assert np.where(found["dataset_joints"] == "lsho")[1][0] == 13  # how that code looks a joint up
    assert found["pos_gt_src"].shape == (16, 2, 5)
    assert found["jnt_missing"].shape == (16, 5)
    np.testing.assert_array_equal(found["pos_gt_src"][3, :, 2], joints[2, 3])
    np.testing.assert_array_equal(found["jnt_missing"], 1 - annotated.T)
    sizes = 0.6 * np.linalg.norm(found["headboxes_src"][1] - found["headboxes_src"][0], axis=0)
    np.testing.assert_allclose(sizes, 0.6 * np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]))


def test_write_gt_without_head_box(persons, tmp_path):
    joints, annotated, boxes = persons
    boxes[1] = np.nan
    write_gt(tmp_path / "gt.mat", joints, annotated, boxes)
    missing = scipy.io.loadmat(tmp_path / "gt.mat")["jnt_missing"]
    assert missing[:, 1].all()
    np.testing.assert_array_equal(missing[:, [0, 2, 3, 4]], 1 - annotated[[0, 2, 3, 4]].T)
    np.testing.assert_array_equal(read_gt_boxes(tmp_path / "gt.mat", joints, annotated), boxes)


@pytest.mark.parametrize("number", [1, 5])
def test_read_gt_boxes_round_trip(persons, tmp_path, number):
    joints, annotated, boxes = (array[:number] for array in persons)
    write_gt(tmp_path / "gt.mat", joints, annotated, boxes)
    np.testing.assert_array_equal(read_gt_boxes(tmp_path / "gt.mat", joints, annotated), boxes)


def test_read_gt_boxes_other_persons(persons, tmp_path):
    joints, annotated, boxes = persons
    path = tmp_path / "gt.mat"
    write_gt(path, joints[::-1], annotated[::-1], boxes[::-1])
    with pytest.raises(InputError, match="other persons or another order"):
        read_gt_boxes(path, joints, annotated)
    write_gt(path, joints[:4], annotated[:4], boxes[:4])
    with pytest.raises(InputError, match=r"'headboxes_src': expected numbers of shape \(2, 2, 5\) for the 5 persons"):
        read_gt_boxes(path, joints, annotated)
    write_gt(path, joints + 0.5, annotated, boxes)  # rounded otherwise
    np.testing.assert_array_equal(read_gt_boxes(path, joints, annotated), boxes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"headboxes_src": None}, "no variable 'headboxes_src'"),
        ({"jnt_missing": np.zeros((5, 16))}, r"'jnt_missing': expected numbers of shape \(16, 5\)"),
        ({"pos_gt_src": "text"}, "'pos_gt_src': expected numbers"),
    ],
)
def test_read_gt_boxes_other_content(persons, tmp_path, changes, words):
    joints, annotated, boxes = persons
    write_gt(tmp_path / "gt.mat", joints, annotated, boxes)
    found = scipy.io.loadmat(tmp_path / "gt.mat") | changes
    write_mat(tmp_path / "gt.mat", {key: value for key, value in found.items() if key[0] != "_" and value is not None})
    with pytest.raises(InputError, match=rf"gt\.mat: .*{words}"):
        read_gt_boxes(tmp_path / "gt.mat", joints, annotated)
