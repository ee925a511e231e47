"""Rooms have correct perspective: a pixel shows the hit point of its ray."""

from __future__ import annotations

import numpy as np

from lib.dataset.synthetic.camera_rig import make_rig, pixel_rays
from lib.dataset.synthetic.rendering.room import Room, make_open_ground, make_room, view_room
from lib.multiviews.cameras import Cameras, project

SIZE = 160


def _view(room: Room) -> tuple[Cameras, np.ndarray, np.ndarray]:
    camera = Cameras.from_records(make_rig(1, 4, SIZE, seed=0))[0]
    return camera, *view_room(room, camera, pixel_rays(camera, (SIZE, SIZE)))


def test_view_room_mark_on_the_floor_is_at_its_projection():
    low = np.array([-6000.0, -6000, 0])
    high = np.array([6000.0, 6000, 3000])
    floor = np.zeros((601, 601, 3), np.uint8)  # one cell is 20 mm
    floor[340:352, 280:292] = 255  # y rows, x columns
    plain = np.full((8, 8, 3), 90, np.uint8)
    camera, image, _ = _view(Room(low, high, (plain,) * 4 + (floor, plain)))
    rows, columns = np.nonzero(image[..., 0] > 180)
    expected, _ = project(np.array([[285.5 * 20 - 6000, 345.5 * 20 - 6000, 0.0]]), camera)
    assert len(rows) > 4
    assert np.abs([columns.mean() - expected[0, 0], rows.mean() - expected[0, 1]]).max() < 0.7


def test_view_room_distances_reach_the_planes():
    room = make_room(np.random.default_rng(0))
    camera, image, distance = _view(room)
    rays = pixel_rays(camera, (SIZE, SIZE))
    points = camera.T + np.moveaxis(rays * distance, 0, -1).astype(float) @ camera.R
    gap = np.minimum(np.abs(points - room.low), np.abs(points - room.high)).min(-1)
    assert gap.max() < 2.0
    assert ((points > room.low - 2) & (points < room.high + 2)).all()
    assert image.std() > 10


def test_view_room_rooms_differ_and_open_ground_has_a_horizon():
    first, second = (_view(make_room(np.random.default_rng(seed)))[1] for seed in (0, 1))
    assert np.abs(first.astype(int) - second).mean() > 5
    _, image, distance = _view(make_open_ground(np.random.default_rng(2)))
    assert np.isfinite(distance).all()
    assert np.abs(image[: SIZE // 4].mean((0, 1)) - image[-SIZE // 4 :].mean((0, 1))).max() > 20
