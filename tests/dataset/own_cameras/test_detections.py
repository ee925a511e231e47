from __future__ import annotations

import json

import numpy as np
import pytest
from cvf_tests.rig_files import named_points, write_openpose

from lib.dataset.own_cameras.detections import load_detections
from lib.dataset.own_cameras.keypoint_sets import POINT_SETS, to_h36m
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17

DETECTORS = ("coco17", "body25", "halpe26", "blazepose33")


def test_sizes_and_names_of_the_sets():
    assert [len(POINT_SETS[name]) for name in DETECTORS] == [17, 25, 26, 33]
    for points in POINT_SETS.values():
        assert len(set(points)) == len(points)


# OpenPose, AlphaPose and MediaPipe: (set, index, joint), out of their documentation
@pytest.mark.parametrize(
    ("point_set", "index", "joint"),
    [
        ("coco17", 0, "nose"),
        ("coco17", 5, "lsho"),
        ("coco17", 10, "rwri"),
        ("coco17", 15, "lank"),
        ("body25", 2, "rsho"),
        ("body25", 7, "lwri"),
        ("body25", 10, "rkne"),
        ("body25", 14, "lank"),
        ("halpe26", 9, "lwri"),
        ("halpe26", 16, "rank"),
        ("blazepose33", 11, "lsho"),
        ("blazepose33", 16, "rwri"),
        ("blazepose33", 25, "lkne"),
        ("blazepose33", 28, "rank"),
    ],
)
def test_single_points(point_set, index, joint):
    points = named_points(point_set)
    np.testing.assert_array_equal(to_h36m(points, point_set)[H36M_17.index(joint)], points[index])


@pytest.mark.parametrize("point_set", DETECTORS)
def test_all_detectors_give_the_same_joints(point_set):
    np.testing.assert_allclose(to_h36m(named_points(point_set), point_set), to_h36m(named_points("coco17"), "coco17"))


def test_middles_of_blazepose():
    points = named_points("blazepose33")
    joints = to_h36m(points, "blazepose33")
    middle = {"root": (23, 24), "neck": (11, 12), "belly": (11, 12, 23, 24), "head": (2, 5, 7, 8)}
    for joint, indices in middle.items():
        np.testing.assert_allclose(joints[H36M_17.index(joint), :2], points[list(indices), :2].mean(0))


def test_a_middle_needs_all_of_its_points():
    points = named_points("coco17")
    points[11, 2] = 0.0  # left hip
    points[5, 2] = 0.4  # left shoulder
    joints = to_h36m(points, "coco17")
    lacking = {H36M_17.names[joint] for joint in np.flatnonzero(np.isnan(joints[:, 0]))}
    assert lacking == {"lhip", "root", "belly"}
    assert joints[H36M_17.index("neck"), 2] == 0.4


def test_openpose_folders(tmp_path):
    points = named_points("body25")
    write_openpose(tmp_path / "cam_a_json", {0: [points], 2: [points, points + [5, 0, 0]]})
    write_openpose(tmp_path / "cam_b_json", {0: [], 1: [points]})
    found = load_detections(tmp_path, ["cam_b", "cam_a"])
    assert found.points.shape == (3, 2, 2, 17, 3)
    people = np.isfinite(found.points).all((3, 4)).sum(2)
    assert people.tolist() == [[0, 1], [1, 0], [0, 2]]
    np.testing.assert_allclose(found.points[2, 1, 1] - found.points[2, 1, 0], np.tile([5.0, 0, 0], (17, 1)))


def coco(frames: list[int], as_results: bool):
    flat = named_points("coco17").ravel().tolist()
    if as_results:
        return [{"image_id": f"{frame}.jpg", "keypoints": flat, "score": 2.5} for frame in frames]
    return {
        "images": [{"id": 70 + frame, "file_name": f"a/cam_{frame:04d}.jpg"} for frame in range(4)],
        "annotations": [{"image_id": 70 + frame, "keypoints": flat} for frame in frames],
    }


@pytest.mark.parametrize("as_results", [False, True])
def test_coco_files(tmp_path, as_results):
    for name, frames in (("one", [0, 3]), ("two", [1, 3])):
        (tmp_path / f"{name}.json").write_text(json.dumps(coco(frames, as_results)))
    found = load_detections(tmp_path, ["one", "two"])
    assert np.isfinite(found.points).all((2, 3, 4)).tolist() == [[1, 0], [0, 1], [0, 0], [1, 1]]


def test_annotated_visibilities_become_shares(tmp_path):
    points = named_points("coco17")
    points[:, 2] = [2, 1] * 8 + [0]
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"image_id": 0, "keypoints": points.ravel().tolist()}]))
    joints = load_detections(tmp_path, ["one", "two"]).points[0, 0, 0]
    assert joints[H36M_17.index("nose"), 2] == 1.0
    assert joints[H36M_17.index("lsho"), 2] == 0.5
    assert np.isnan(joints[H36M_17.index("rank"), 2])


def test_compact_file_gives_back_what_was_saved(tmp_path):
    for name in ("one", "two"):
        write_openpose(tmp_path / "json" / name, {0: [named_points("halpe26")], 1: []})
    found = load_detections(tmp_path / "json", ["one", "two"])
    found.save(tmp_path / "found.npz")
    again = load_detections(tmp_path / "found.npz", ["two", "one"])
    np.testing.assert_allclose(again.points, found.points[:, ::-1], atol=1e-4)
    with pytest.raises(InputError, match="no view three"):
        load_detections(tmp_path / "found.npz", ["one", "three"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"people": [{"pose_keypoints_2d": [1.0] * 30}]}, "10 points per person"),
        ({"people": [{"hand": []}]}, "no 'pose_keypoints_2d'"),
        ({"persons": []}, "no list 'people'"),
        ({"people": []}, "nobody was found in view one"),
        ({"people": [{"pose_keypoints_2d": [1.0] * 50}]}, "x, y, confidence"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, content, message):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f_0.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_detections(tmp_path, ["one", "two"])


def test_every_view_needs_its_detections(tmp_path):
    write_openpose(tmp_path / "one_json", {0: [named_points("coco17")]})
    with pytest.raises(InputError, match=r"'two'.*one_json"):
        load_detections(tmp_path, ["one", "two"])
    with pytest.raises(InputError, match="expected a folder"):
        load_detections(tmp_path / "nothing", ["one", "two"])


def test_the_number_of_the_first_frame(tmp_path):
    for name in ("one", "two"):
        write_openpose(tmp_path / "json" / name, {number: [named_points("coco17")] for number in (7, 9)})
    found = load_detections(tmp_path / "json", ["one", "two"], first_frame=7)
    assert np.isfinite(found.points).all((1, 2, 3, 4)).tolist() == [True, False, True]
    load_detections(tmp_path / "json", ["one", "two"]).save(tmp_path / "found.npz")
    again = load_detections(tmp_path / "found.npz", ["one", "two"], first_frame=7)
    np.testing.assert_allclose(again.points, found.points, atol=1e-4)
    for path in ("json", "found.npz"):
        with pytest.raises(InputError, match="frame 7 comes before --first-frame 8"):
            load_detections(tmp_path / path, ["one", "two"], first_frame=8)


def test_times_are_no_frames(tmp_path):
    for name in ("one", "two"):
        write_openpose(tmp_path / name, {1690000000123: [named_points("coco17")]})
    with pytest.raises(InputError, match=r"one: 1690000000123 is no number of a frame \(expected less than 2000000"):
        load_detections(tmp_path, ["one", "two"])
