"""Records have the structure of the original code and agree with OpenCV's projection."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib.dataset.storage.record_writer import Clip, mpii_record, person_box, uncrop
from lib.dataset.synthetic.generate import recording_records
from lib.dataset.synthetic.scene import SubjectWorld, SyntheticRecording, WorldSettings

KEYS = {
    "image",
    "joints_2d",
    "joints_3d",
    "joints_3d_camera",
    "joints_vis",
    "video_id",
    "image_id",
    "subject",
    "action",
    "subaction",
    "camera_id",
    "source",
    "camera",
    "center",
    "scale",
    "box",
}


@pytest.fixture(scope="module")
def filmed() -> tuple[SubjectWorld, np.ndarray, list[dict]]:
    world = SubjectWorld(WorldSettings(), 9)
    ids = np.array([5, 105])
    joints = SyntheticRecording(world, 14, 2).act(ids).pose.joints
    return world, joints, recording_records(world, 14, 2, ids, joints, np.zeros((2, 4, 17), bool), 40)


def test_clip_records_keys_and_shapes(filmed):
    _, _, records = filmed
    assert len(records) == 8
    for number, record in enumerate(records):
        assert set(record) == KEYS | {"joints_occluded"}
        assert (record["subject"], record["action"], record["subaction"], record["source"]) == (9, 14, 2, "h36m")
        assert (record["image_id"], record["camera_id"]) == ((5, 105)[number // 4], number % 4)
        assert record["video_id"] == 40 + record["camera_id"]
        assert record["joints_2d"].shape == (17, 2)
        assert record["joints_vis"].shape == (17, 3)
        assert (record["joints_vis"] == 1).all()
        assert record["image"] == Clip(9, 14, 2, record["camera_id"]).image_name(record["image_id"])
    assert records[6]["image"] == "s_09_act_14_subact_02_ca_03/s_09_act_14_subact_02_ca_03_000105.jpg"


def test_clip_records_equal_opencv_projection(filmed):
    _, joints, records = filmed
    for number, record in enumerate(records):
        camera = record["camera"]
        in_camera = (joints[number // 4] - camera["T"].T) @ camera["R"].T
        np.testing.assert_allclose(record["joints_3d_camera"], in_camera, atol=1e-9)
        np.testing.assert_array_equal(record["joints_3d"], record["joints_3d_camera"])
        matrix = np.array([[camera["fx"][0], 0, camera["cx"][0]], [0, camera["fy"][0], camera["cy"][0]], [0, 0, 1]])
        (k1, k2, k3), (p1, p2) = camera["k"].ravel(), camera["p"].ravel()
        lens = np.array([k1, k2, p1, p2, k3])
        seen = cv2.projectPoints(in_camera, np.zeros(3), np.zeros(3), matrix, lens)[0][:, 0]
        np.testing.assert_allclose(record["joints_2d"], seen, atol=1e-9)


def test_person_box_at_root_depth(filmed):
    world, _joints, records = filmed
    for _number, record in enumerate(records):
        x0, y0, x1, y1 = record["box"]
        root = record["joints_3d_camera"][0]
        # About f * 2000 / z, as the lens bends it by a few percent at most.
        np.testing.assert_allclose([x1 - x0, y1 - y0], 1145 * 2000 / root[2], rtol=0.06)
        np.testing.assert_allclose(record["center"], [(x0 + x1) / 2, (y0 + y1) / 2])
        np.testing.assert_allclose(record["scale"], [(x1 - x0) / 200, (y1 - y0) / 200])
        points = record["joints_2d"]
        assert (points > [x0, y0]).all()
        assert (points < [x1, y1]).all()
        below = y1 - points[0, 1]
        above = points[0, 1] - y0
        np.testing.assert_allclose(above / below, 0.9 / 1.1, rtol=0.08)
    boxes = person_box(records[0]["joints_3d_camera"][None, 0], world.cameras[0])
    np.testing.assert_allclose(boxes[0], records[0]["box"])


def test_uncrop_whole_image(filmed):
    _, _, records = filmed
    whole = uncrop(records, (1000, 1002))
    assert whole[0]["center"] == (500.0, 501.0)
    assert whole[0]["scale"] == (5.0, 5.01)
    assert whole[0]["joints_2d"] is records[0]["joints_2d"]
    assert records[0]["scale"] != (5.0, 5.01)


def test_mpii_record_round_trip():
    joints = np.stack([np.linspace(100, 220, 16), np.linspace(-30, 400, 16)], 1)
    record = mpii_record("a.jpg", joints, np.zeros(16, bool), 60.0, (640, 480))
    seen = np.array(record["joints_vis"]) == 1
    np.testing.assert_array_equal(seen, joints[:, 1] >= 0)
    np.testing.assert_allclose((np.array(record["joints"]) - 1)[seen], joints[seen], atol=1e-3)
    assert (np.array(record["joints"])[~seen] == -1).all()
    # The reader of the original code: center down by 15 * scale, scale times 1.25, then 1-based to 0-based.
    center = np.array(record["center"]) + [0, 15 * record["scale"]] - 1
    side = 200 * 1.25 * record["scale"]
    np.testing.assert_allclose(center, [160, 185], atol=1e-3)
    assert 430 * 1.2 < side < 430 * 1.5
    # A square around the middle of joints 8 and 9, 1-based; 0.6 of its diagonal are the 60 px.
    x1, y1, x2, y2 = record["head_box"]
    np.testing.assert_allclose([(x1 + x2) / 2 - 1, (y1 + y2) / 2 - 1], joints[8:10].mean(0), atol=1e-3)
    np.testing.assert_allclose([x2 - x1, y2 - y1], 100 / np.sqrt(2), atol=1e-3)
