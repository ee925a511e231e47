from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from cvf_tests.rig_files import named_points, write_openpose

from lib.dataset.own_cameras import detections
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
    assert found.numbers.tolist() == ([0, 1, 3] if as_results else [0, 1, 2, 3])
    seen = dict(zip(found.numbers.tolist(), np.isfinite(found.points).all((2, 3, 4)).tolist(), strict=True))
    assert seen == {0: [1, 0], 1: [0, 1], 3: [1, 1]} | ({} if as_results else {2: [0, 0]})


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
    with pytest.raises(InputError, match=r"views: expected one per camera, .* one for 'three': one, two"):
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
    with pytest.raises(InputError, match=r"one for 'two': one_json; .*--match two=one_json"):
        load_detections(tmp_path, ["one", "two"])
    with pytest.raises(InputError, match="expected a folder"):
        load_detections(tmp_path / "nothing", ["one", "two"])


def test_load_detections_first_frame_is_subtracted(tmp_path):
    for name in ("one", "two"):
        write_openpose(tmp_path / "json" / name, {number: [named_points("coco17")] for number in (7, 9)})
    found = load_detections(tmp_path / "json", ["one", "two"], first_frame=7)
    assert found.numbers.tolist() == [0, 2]
    assert np.isfinite(found.points).all()
    load_detections(tmp_path / "json", ["one", "two"]).save(tmp_path / "found.npz")
    again = load_detections(tmp_path / "found.npz", ["one", "two"], first_frame=7)
    assert again.numbers.tolist() == [0, 2]
    np.testing.assert_allclose(again.points, found.points, atol=1e-4)
    for path in ("json", "found.npz"):
        with pytest.raises(InputError, match="frame 7 comes before --first-frame 8"):
            load_detections(tmp_path / path, ["one", "two"], first_frame=8)


def test_load_detections_times_as_frame_numbers_are_refused(tmp_path):
    for name in ("one", "two"):
        write_openpose(tmp_path / name, {1690000000123: [named_points("coco17")]})
    with pytest.raises(InputError, match=r"one: expected a frame number below 2000000, .*1690000000123"):
        load_detections(tmp_path, ["one", "two"])


def test_load_detections_npz_without_numbers_begins_at_its_first_person(tmp_path):
    points = np.full((4, 1, 1, 17, 3), 0.5)
    points[0] = np.nan
    np.savez(tmp_path / "old.npz", points=points, view_names=["one"])
    assert load_detections(tmp_path / "old.npz", ["one"]).numbers.tolist() == [1, 2, 3]


def write_coco(folder, content):
    for name in ("one", "two"):
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_load_detections_rows_only_for_numbers_that_occur(tmp_path):
    flat = named_points("coco17").ravel().tolist()
    write_coco(tmp_path, [{"image_id": 1_900_000 + number, "keypoints": flat} for number in (0, 1, 2, 7)])
    found = load_detections(tmp_path, ["one", "two"])
    assert found.points.shape == (4, 2, 1, 17, 3)
    assert found.numbers.tolist() == [1_900_000, 1_900_001, 1_900_002, 1_900_007]
    table = np.array([[1_900_002, 1_900_003], [0, 1_900_007]])
    assert np.isfinite(found.of_frames(table)).all((2, 3, 4)).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["000000_1920x1080.jpg", "000001_1920x1080.jpg"], "000000_1920x1080.jpg and 000001_1920x1080.jpg are both"),
        (["trial1/000000.jpg", "trial2/000000.jpg"], "trial1/000000.jpg and trial2/000000.jpg are both frame 0"),
    ],
)
@pytest.mark.parametrize("with_images", [False, True])
def test_load_detections_coco_images_of_one_number_are_refused(tmp_path, names, pattern, with_images):
    flat = named_points("coco17").ravel().tolist()
    if with_images:
        images = [{"id": 5 + place, "file_name": name} for place, name in enumerate(names)]
        people = [{"image_id": 5 + place, "keypoints": flat} for place in range(len(names))]
        write_coco(tmp_path, {"images": images, "annotations": people})
    else:
        write_coco(tmp_path, [{"image_id": name, "keypoints": flat} for name in names])
    with pytest.raises(InputError, match=pattern):
        load_detections(tmp_path, ["one", "two"])


def test_load_detections_openpose_files_of_one_number_are_refused(tmp_path):
    write_openpose(tmp_path / "one", {0: [named_points("coco17")]})
    write_openpose(tmp_path / "two", {0: [named_points("coco17")]})
    text = (tmp_path / "one/one_000000_keypoints.json").read_text()
    (tmp_path / "one/other_0_keypoints.json").write_text(text)
    with pytest.raises(InputError, match=r"one: one_000000_keypoints.json and other_0_keypoints.json are both frame 0"):
        load_detections(tmp_path, ["one", "two"])


def test_load_detections_coco_ids_are_compared_as_text(tmp_path):
    flat = named_points("coco17").ravel().tolist()
    images = [{"id": 7 + number, "file_name": f"{number}.jpg"} for number in range(2)]
    write_coco(tmp_path, {"images": images, "annotations": [{"image_id": "8", "keypoints": flat}]})
    found = load_detections(tmp_path, ["one", "two"])
    assert np.isfinite(found.points).all((1, 2, 3, 4)).tolist() == [False, True]
    write_coco(tmp_path, {"images": images, "annotations": [{"image_id": 1, "keypoints": flat}]})
    with pytest.raises(InputError, match="an annotation is of image 1, which 'images' lacks"):
        load_detections(tmp_path, ["one", "two"])


def test_load_detections_coco_annotations_without_keypoints_are_left_out(tmp_path, caplog):
    flat = named_points("coco17").ravel().tolist()
    boxes = [
        {"image_id": 0, "bbox": [1, 2, 3, 4]},
        {"image_id": 1, "keypoints": None},
        {"image_id": 1, "keypoints": []},
    ]
    write_coco(tmp_path, [{"image_id": 0, "keypoints": flat}, *boxes])
    with caplog.at_level("INFO"):
        found = load_detections(tmp_path, ["one", "two"])
    assert found.points.shape == (1, 2, 1, 17, 3)
    assert "one.json: 3 annotations without keypoints are left out" in caplog.text


@pytest.mark.parametrize(
    "people",
    [*([{}], [{"pose_keypoints_2d": []}], [{"person_id": [-1], "pose_keypoints_2d": None}]), *([], None, [None], [[]])],
)
def test_load_detections_empty_people_are_nobody(tmp_path, people):
    for name in ("one", "two"):
        write_openpose(tmp_path / name, {0: [named_points("coco17")], 1: []})
        (tmp_path / name / f"{name}_000001_keypoints.json").write_text(json.dumps({"people": people}))
    found = load_detections(tmp_path, ["one", "two"])
    assert np.isfinite(found.points).all((2, 3, 4)).tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1.01, 0.9, 0.5], [1.0, 0.9, 0.5]),
        ([5.3, 2.0, 0.4], [1.0, 1.0, 0.4]),
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
        ([2.0, 1.0, 2.0], [1.0, 0.5, 1.0]),
        ([2.0, 1.0, 1.5], [1.0, 1.0, 1.0]),
    ],
)
@pytest.mark.parametrize("openpose", [False, True])
def test_load_detections_scores_above_one(tmp_path, scores, expected, openpose):
    """Only scores that are all 0, 1 or 2 are COCO's visibilities; the frames of a view are judged together."""
    people = []
    for score in scores:
        points = named_points("coco17")
        points[:, 2] = score
        people.append(points)
    for name in ("one", "two"):
        if openpose:
            write_openpose(tmp_path / name, {frame: [points] for frame, points in enumerate(people)})
        else:
            content = [{"image_id": frame, "keypoints": points.ravel().tolist()} for frame, points in enumerate(people)]
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found = load_detections(tmp_path, ["one", "two"])
    np.testing.assert_allclose(found.points[:, 0, 0, :, 2], np.tile(np.array(expected)[:, None], (1, 17)))


def test_load_detections_only_folders_with_detections_count(tmp_path):
    for name in ("cam01", "cam02"):
        write_openpose(tmp_path / f"{name}_json", {0: [named_points("coco17")]})
        (tmp_path / f"{name}_img").mkdir()
        (tmp_path / f"{name}_img/0.jpg").write_bytes(b"")
        (tmp_path / f"{name}_json/._{name}_000000_keypoints.json").write_bytes(b"\0\5\x16\7")
    assert load_detections(tmp_path, ["cam01", "cam02"]).points.shape == (1, 2, 1, 17, 3)


def test_load_detections_folder_of_one_camera_lists_five_names(tmp_path):
    write_openpose(tmp_path / "flat", {frame: [] for frame in range(240)})
    with pytest.raises(InputError, match="and 235 more; give the pairs by hand") as caught:
        load_detections(tmp_path / "flat", ["cam01", "cam02"])
    assert len(str(caught.value)) < 500
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected per camera a folder of OpenPose JSON files .* received nothing"):
        load_detections(tmp_path / "empty", ["cam01", "cam02"])


def test_load_detections_memory_of_a_further_frame(tmp_path, monkeypatch):
    """The numbers of a person are float32 in arrays, not objects of Python."""
    monkeypatch.setattr(detections, "_BLOCK", 10)
    peaks = []
    for num_frames in (50, 250):
        for name in ("one", "two"):
            people = [named_points("body25")]
            write_openpose(tmp_path / str(num_frames) / name, dict.fromkeys(range(num_frames), people))
        tracemalloc.start()
        found = load_detections(tmp_path / str(num_frames), ["one", "two"])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.points.shape == (num_frames, 2, 1, 17, 3)
    assert (peaks[1] - peaks[0]) / 200 < 1500  # bytes per frame of 2 views
