"""Boxes are drawn at the projection of their corners and hide what is behind them."""

from __future__ import annotations

import cv2
import numpy as np

from lib.dataset.synthetic.camera_rig import make_rig, pixel_rays
from lib.dataset.synthetic.motion.locomotion import Seat
from lib.dataset.synthetic.rendering.furniture import Box, Furniture, add_chair, add_occluders, draw_box
from lib.multiviews.cameras import Cameras, project

SIZE = 200


def _setup() -> tuple[Cameras, np.ndarray]:
    camera = Cameras.from_records(make_rig(1, 4, SIZE, seed=0))[1]
    return camera, pixel_rays(camera, (SIZE, SIZE))


def _corners(box: Box) -> np.ndarray:
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    local = signs * box.half
    cos, sin = np.cos(box.yaw), np.sin(box.yaw)
    world = np.stack([cos * local[:, 0] - sin * local[:, 1], sin * local[:, 0] + cos * local[:, 1], local[:, 2]], 1)
    return world + box.center


def test_draw_box_fills_the_hull_of_its_projected_corners():
    camera, rays = _setup()
    box = Box(np.array([300.0, -200, 500]), np.array([200.0, 500, 400]), 0.6, np.array([0.2, 0.5, 0.9]))
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    distance = np.full((SIZE, SIZE), 9e9, np.float32)
    draw_box(image, distance, box, camera, rays)
    hull = cv2.convexHull(project(_corners(box), camera)[0].round().astype(np.int32))
    expected = cv2.fillConvexPoly(np.zeros((SIZE, SIZE), np.uint8), hull, 1) > 0
    drawn = distance < 9e9
    assert (expected ^ drawn).sum() < 0.06 * expected.sum()  # the rim: rounding and the lens' bent edges
    depths = np.linalg.norm(_corners(box) - camera.T, axis=1)
    assert distance[drawn].min() > depths.min() - 250
    assert distance[drawn].max() < depths.max()


def test_draw_box_hidden_box_is_not_drawn():
    camera, rays = _setup()
    box = Box(np.array([0.0, 0, 500]), np.full(3, 300.0), 0.0, np.ones(3))
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    distance = np.full((SIZE, SIZE), 1000, np.float32)
    draw_box(image, distance, box, camera, rays)
    assert not image.any()
    assert (distance == 1000).all()


def test_add_occluders_between_person_and_camera_at_a_distance():
    cameras = Cameras.from_records(make_rig(1, 4, SIZE, seed=0))
    target = np.array([200.0, -100.0])
    for seed in range(20):
        furniture = Furniture()
        add_occluders(furniture, target, cameras, np.random.default_rng(seed), 1.0, clear_mm=1200)
        for box in furniture.boxes:
            away = box.center[:2] - target
            assert np.linalg.norm(away) > 1200 - 580  # the middle of a piece keeps clear, its legs reach out
            assert np.linalg.norm(away) < 4000
        none = Furniture()
        add_occluders(none, target, cameras, np.random.default_rng(seed), 0.0, clear_mm=1200)
        assert not none.boxes
        assert none.solids() is None


def test_add_occluders_more_pieces_per_camera_extend_fewer():
    cameras = Cameras.from_records(make_rig(1, 4, SIZE, seed=0))

    def boxes(number: float) -> list[Box]:
        furniture = Furniture()
        add_occluders(furniture, np.zeros(2), cameras, np.random.default_rng(3), number, clear_mm=1200)
        return furniture.boxes

    one, many = boxes(1.0), boxes(3.0)
    assert len(many) > 1.8 * len(one)
    for first, second in zip(one, many, strict=False):
        np.testing.assert_array_equal(first.center, second.center)


def test_add_chair_seat_height():
    furniture = Furniture()
    add_chair(furniture, Seat(np.array([100.0, 50.0]), 0.3, 450.0), np.random.default_rng(0))
    tops = [box.center[2] + box.half[2] for box in furniture.boxes]
    assert any(abs(top - 450) < 5 for top in tops)
    assert min(box.center[2] - box.half[2] for box in furniture.boxes) > -1
