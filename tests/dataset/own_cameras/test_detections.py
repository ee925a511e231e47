from __future__ import annotations

import json

import numpy as np
import pytest
from cvf_tests.rig_files import named_points, write_openpose

from lib.dataset.own_cameras.detections import load_detections
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17


def test_load_detections_openpose_folders(tmp_path):
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
def test_load_detections_coco_files(tmp_path, as_results):
    for name, frames in (("one", [0, 3]), ("two", [1, 3])):
        (tmp_path / f"{name}.json").write_text(json.dumps(coco(frames, as_results)))
    found = load_detections(tmp_path, ["one", "two"])
    assert np.isfinite(found.points).all((2, 3, 4)).tolist() == [[1, 0], [0, 1], [0, 0], [1, 1]]


def test_load_detections_coco_visibilities_become_confidences(tmp_path):
    points = named_points("coco17")
    points[:, 2] = [2, 1] * 8 + [0]
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"image_id": 0, "keypoints": points.ravel().tolist()}]))
    joints = load_detections(tmp_path, ["one", "two"]).points[0, 0, 0]
    assert joints[H36M_17.index("nose"), 2] == 1.0
    assert joints[H36M_17.index("lsho"), 2] == 0.5
    assert np.isnan(joints[H36M_17.index("rank"), 2])


def test_save_npz_loads_with_equal_points(tmp_path):
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
        ({"people": []}, "no person in view one"),
        ({"people": [{"pose_keypoints_2d": [1.0] * 50}]}, "x, y, confidence"),
    ],
)
def test_load_detections_invalid_content_is_named(tmp_path, content, message):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f_0.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_detections(tmp_path, ["one", "two"])


def test_load_detections_missing_view_is_refused(tmp_path):
    write_openpose(tmp_path / "one_json", {0: [named_points("coco17")]})
    with pytest.raises(InputError, match=r"'two'.*one_json"):
        load_detections(tmp_path, ["one", "two"])
    with pytest.raises(InputError, match="expected a folder"):
        load_detections(tmp_path / "nothing", ["one", "two"])


def test_load_detections_first_frame_is_subtracted(tmp_path):
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


def test_load_detections_times_as_frame_numbers_are_refused(tmp_path):
    for name in ("one", "two"):
        write_openpose(tmp_path / name, {1690000000123: [named_points("coco17")]})
    with pytest.raises(InputError, match=r"one: expected a frame number below 2000000, received 1690000000123"):
        load_detections(tmp_path, ["one", "two"])
