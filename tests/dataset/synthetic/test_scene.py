"""Images agree with the annotation: the body is at its projected joints, hidden joints are occluded."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import pytest

from lib.dataset.synthetic.rendering.furniture import Furniture
from lib.dataset.synthetic.rendering.raycast import NOTHING, cast
from lib.dataset.synthetic.rendering.solids import body_solids
from lib.dataset.synthetic.scene import SubjectWorld, SyntheticRecording, WorldSettings, joint_thickness
from lib.utils.joints import H36M_17

SIZE = 250


@functools.cache
def _world(subject: int = 1, num_views: int = 4, size: int = SIZE, occluders: float = 0.6) -> SubjectWorld:
    return SubjectWorld(WorldSettings(num_views=num_views, image_size=size, occluders=occluders), subject)


def _opencv_projection(joints: np.ndarray, camera: dict) -> np.ndarray:
    matrix = np.array([[camera["fx"][0], 0, camera["cx"][0]], [0, camera["fy"][0], camera["cy"][0]], [0, 0, 1]])
    (k1, k2, k3), (p1, p2) = camera["k"].ravel(), camera["p"].ravel()
    vector = cv2.Rodrigues(camera["R"])[0]
    shift = -camera["R"] @ camera["T"]
    return cv2.projectPoints(joints, vector, shift, matrix, np.array([k1, k2, p1, p2, k3]))[0][:, 0]


@pytest.mark.parametrize(("action", "subaction"), [(2, 1), (7, 2), (9, 1), (10, 2), (14, 1)])
def test_render_visible_joints_lie_on_the_body(action, subaction):
    recording = SyntheticRecording(_world(size=500), action, subaction)
    ids = np.array([1, 151, 301])
    act = recording.act(ids)
    rays = recording.world.views[0].rays
    for frame in range(len(ids)):
        for view in range(4):
            camera = recording.world.cameras[view]
            body = body_solids(act.pose, frame, recording.world.person)
            hits = cast(body, camera, recording.world.views[view].rays)
            mask = np.zeros(rays.shape[1:], np.uint8)
            mask[hits.rows, hits.columns] = hits.part != NOTHING
            points = _opencv_projection(act.pose.joints[frame], recording.world.camera_records[view])
            column, row = np.clip(points.round().astype(int), 0, 499).T
            assert mask[row, column].all(), [H36M_17.names[j] for j in np.flatnonzero(mask[row, column] == 0)]


def test_render_limbs_are_centered_on_their_joints():
    # The outline of a lone limb has its joints' projections in the middle of its ends.
    recording = SyntheticRecording(_world(size=1000), 7, 1)
    act = recording.act(np.array([1]))
    world = recording.world
    body = body_solids(act.pose, 0, world.person)
    shins = [i for i, name in enumerate(body.material) if name == "forearm"]
    for view in range(4):
        rays = world.views[view].rays
        points = _opencv_projection(act.pose.joints[0], world.camera_records[view])
        for part, side in zip(shins, "rl", strict=True):
            lone = type(body)(
                *(getattr(body, n)[part : part + 1] for n in ("start", "end", "front", "radii", "depth", "cap")),
                material=("forearm",),
            )
            hits = cast(lone, world.cameras[view], rays)
            rows, columns = np.nonzero(hits.part != NOTHING)
            pixels = np.stack([columns + hits.columns.start, rows + hits.rows.start], 1).astype(float)
            start, end = points[H36M_17.indices([f"{side}elb", f"{side}wri"])]
            length = np.linalg.norm(end - start)
            if length < 25:
                continue  # seen end on
            along = (end - start) / length
            share = (pixels - start) @ along / length
            middle = np.abs(share - 0.5) < 0.35
            across = (pixels[middle] - start) @ np.array([-along[1], along[0]])
            assert abs(0.5 * (across.max() + across.min())) < 1.0


def test_render_occlusion_by_furniture_and_body():
    world = _world()
    bare = SyntheticRecording(world, 2, 1)
    bare.furniture = Furniture()
    ids = np.array([1, 101])
    act = bare.act(ids)
    wall = SyntheticRecording(world, 2, 1)
    wall.furniture = Furniture()
    root = act.pose.joints[0, 0, :2]
    line = world.cameras.T[0, :2] - root
    place = root + line / np.linalg.norm(line) * 1200
    yaw = float(np.arctan2(line[1], line[0]))
    wall.furniture.put(place, yaw, (0, 0, 400), (10, 1500, 400), np.ones(3))  # hides the legs from camera 0
    free, behind = (recording.render(act, 0, 1, 0)[1] for recording in (bare, wall))
    ankles = H36M_17.indices(["rank", "lank"])
    head = H36M_17.index("head")
    assert behind[ankles].all()
    assert not behind[head]
    assert not free[ankles].any()
    assert (behind >= free).all()


def test_render_nose_is_hidden_from_behind_alone():
    world = _world(occluders=0.0)
    recording = SyntheticRecording(world, 14, 1)  # hands stay low
    act = recording.act(np.arange(4) * 100 + 1)
    nose = H36M_17.index("nose")
    seen_from = []
    for frame in range(4):
        for view in range(4):
            away = act.pose.joints[frame, nose] - world.cameras.T[view]
            facing = -(away / np.linalg.norm(away)) @ act.pose.head[frame][:, 0]
            if abs(facing) > 0.4:
                assert recording.render(act, frame, 1, view)[1][nose] == (facing < 0)
                seen_from.append(facing < 0)
    assert set(seen_from) == {True, False}


def test_render_is_reproducible_and_differs_between_frames():
    first = SyntheticRecording(SubjectWorld(WorldSettings(image_size=120), 5), 4, 2)
    second = SyntheticRecording(SubjectWorld(WorldSettings(image_size=120), 5), 4, 2)
    ids = np.array([1, 201])
    image, hidden = first.render(first.act(ids), 1, 201, 2)
    again, hidden_again = second.render(second.act(ids[1:]), 0, 201, 2)  # alone, in a world of its own
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(hidden, hidden_again)
    assert np.abs(image.astype(int) - first.render(first.act(ids), 0, 1, 2)[0]).max() > 30


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_render_any_number_of_views(num_views):
    recording = SyntheticRecording(_world(num_views=num_views, size=100), 6, 1)
    act = recording.act(np.array([1]))
    images = [recording.render(act, 0, 1, view)[0] for view in range(num_views)]
    assert len({image.tobytes() for image in images}) == num_views


def test_joint_thickness_grows_with_girth():
    np.testing.assert_allclose(joint_thickness(1.2), 1.2 * joint_thickness(1.0))


def test_synthetic_recording_people_keep_clear_of_furniture():
    for action, subaction in ((4, 2), (9, 1), (10, 1), (14, 1)):
        recording = SyntheticRecording(_world(6, size=100, occluders=1.0), action, subaction)
        joints = recording.act(np.arange(1, 1500, 25)).pose.joints
        assert recording.furniture.boxes
        for box in recording.furniture.boxes:
            cos, sin = np.cos(box.yaw), np.sin(box.yaw)
            away = joints - box.center
            local = np.stack(
                [cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0], away[..., 2]], -1
            )
            assert not (np.abs(local) < box.half + 15).all(-1).any()
