from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from lib.dataset.mpii_heads import head_sizes, read_gt_boxes, write_gt
from lib.utils.errors import InputError
from lib.utils.files.mat_io import write_mat


@pytest.fixture
def persons():
    """Joints (5, 16, 2), annotated (5, 16) and head boxes (5, 4) of five people."""
    rng = np.random.default_rng(2)
    annotated = rng.random((5, 16)) < 0.8
    joints = np.where(annotated[..., None], rng.uniform(1, 700, (5, 16, 2)), -1)
    corner = rng.uniform(1, 600, (5, 2))
    return joints, annotated, np.concatenate([corner, corner + rng.uniform(10, 80, (5, 2))], 1)


def test_sizes_by_hand():
    boxes = np.array([[10.0, 20, 40, 60], [5, 5, 5, 15], [40, 60, 10, 20], [np.nan] * 4])
    np.testing.assert_allclose(head_sizes(boxes), [30, 6, 30, np.nan])  # 0.6 of 50, 10, 50


def test_the_file_is_what_simple_baselines_evaluates_with(persons, tmp_path):
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


def test_people_without_a_head_box_count_with_no_joint(persons, tmp_path):
    joints, annotated, boxes = persons
    boxes[1] = np.nan
    write_gt(tmp_path / "gt.mat", joints, annotated, boxes)
    missing = scipy.io.loadmat(tmp_path / "gt.mat")["jnt_missing"]
    assert missing[:, 1].all()
    np.testing.assert_array_equal(missing[:, [0, 2, 3, 4]], 1 - annotated[[0, 2, 3, 4]].T)
    np.testing.assert_array_equal(read_gt_boxes(tmp_path / "gt.mat", joints, annotated), boxes)


@pytest.mark.parametrize("number", [1, 5])
def test_what_is_written_is_read(persons, tmp_path, number):
    joints, annotated, boxes = (array[:number] for array in persons)
    write_gt(tmp_path / "gt.mat", joints, annotated, boxes)
    np.testing.assert_array_equal(read_gt_boxes(tmp_path / "gt.mat", joints, annotated), boxes)


def test_another_order_and_other_people_are_refused(persons, tmp_path):
    joints, annotated, boxes = persons
    path = tmp_path / "gt.mat"
    write_gt(path, joints[::-1], annotated[::-1], boxes[::-1])
    with pytest.raises(InputError, match="other persons or in another order"):
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
def test_other_files(persons, tmp_path, changes, words):
    joints, annotated, boxes = persons
    write_gt(tmp_path / "gt.mat", joints, annotated, boxes)
    found = scipy.io.loadmat(tmp_path / "gt.mat") | changes
    write_mat(tmp_path / "gt.mat", {key: value for key, value in found.items() if key[0] != "_" and value is not None})
    with pytest.raises(InputError, match=rf"gt\.mat: .*{words}"):
        read_gt_boxes(tmp_path / "gt.mat", joints, annotated)
