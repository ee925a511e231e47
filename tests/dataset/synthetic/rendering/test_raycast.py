"""Distances to round cones against brute force: sampling the hull of balls along each ray."""

from __future__ import annotations

import numpy as np
import pytest

from lib.dataset.storage.record_writer import camera_record
from lib.dataset.synthetic.camera_rig import look_at, pixel_rays
from lib.dataset.synthetic.rendering.raycast import NOTHING, bounding_boxes, cast, distances, surface, to_local
from lib.dataset.synthetic.rendering.solids import Solids
from lib.multiviews.cameras import Cameras

CENTER = np.array([2500.0, 300.0, 1200.0])


def _camera(focal: float = 150.0, size: int = 120) -> Cameras:
    rotation = look_at(CENTER, np.array([0, 0, 900.0]), 0.2)
    record = camera_record(rotation, CENTER, (focal, focal), (size / 2, size / 2), np.zeros(3), np.zeros(2))
    return Cameras.from_records([record])[0]


def _cone(radii=(200.0, 90.0), depth=1.0, cap=1.0) -> Solids:
    return Solids(
        start=np.array([[50.0, -150, 700]]),
        end=np.array([[-100.0, 200, 1150]]),
        front=np.array([[1.0, 0.2, 0.1]]),
        radii=np.array([radii]),
        depth=np.array([depth]),
        cap=np.array([cap]),
        material=("skin",),
    )


def _inside(solid: Solids, points: np.ndarray) -> np.ndarray:
    """Is a point in one of many balls along the axis? In the frame where they are balls."""
    axes = solid.axes()[0] / np.array([1, solid.cap[0], solid.depth[0]])[:, None]
    local = (points - solid.start[0]) @ axes.T
    end = axes @ (solid.end[0] - solid.start[0])
    share = np.linspace(0, 1, 150)
    radii = solid.radii[0, 0] + share * (solid.radii[0, 1] - solid.radii[0, 0])
    inside = np.zeros(local.shape[:-1], bool)
    for part, radius in zip(share, radii, strict=True):
        inside |= ((local - part * end) ** 2).sum(-1) <= radius**2
    return inside


@pytest.mark.parametrize("solid", [_cone(), _cone((90, 200)), _cone((150, 150), depth=0.6), _cone((160, 80), 0.7, 0.5)])
def test_distances_equal_brute_force(solid):
    camera = _camera(focal=330.0)
    rays = pixel_rays(camera, (120, 120))[:, ::9, ::9].reshape(3, -1)
    found = distances(to_local(solid, camera), 0, rays)
    steps = np.arange(1900.0, 3500.0, 4.0)
    points = camera.T + steps[None, :, None] * (rays.T.astype(float) @ camera.R)[:, None]
    inside = _inside(solid, points)
    expected = np.where(inside.any(1), steps[inside.argmax(1)], np.inf)
    assert np.isfinite(expected).sum() > 15
    thick = (inside.sum(1) > 12) | ~np.isfinite(expected)  # rays that only graze it are a matter of rounding
    np.testing.assert_array_equal(np.isfinite(found[thick]) & (found[thick] > 0), np.isfinite(expected[thick]))
    hit = thick & np.isfinite(expected)
    assert np.abs(found[hit] - expected[hit]).max() < 8.0


def test_cast_bounding_boxes_hold_all_hits_and_nearest_part_wins():
    camera, near = _camera(), _cone()
    far = Solids(
        near.start - [600, 0, 0],
        near.end - [600, 0, 0],
        near.front,
        near.radii * 1.5,
        near.depth,
        near.cap,
        near.material,
    )
    both = Solids(
        *(
            np.concatenate([getattr(far, name), getattr(near, name)])
            for name in ("start", "end", "front", "radii", "depth", "cap")
        ),
        material=("skin", "skin"),
    )
    rays = pixel_rays(camera, (120, 120))
    hits = cast(both, camera, rays)
    for index in range(2):
        everywhere = distances(to_local(both, camera), index, rays.reshape(3, -1)).reshape(120, 120)
        rows, columns = np.nonzero(np.isfinite(everywhere))
        x0, y0, x1, y1 = bounding_boxes(both, camera, (120, 120))[index]
        assert x0 <= columns.min()
        assert columns.max() < x1
        assert y0 <= rows.min()
        assert rows.max() < y1
    assert {NOTHING, 0, 1} == set(np.unique(hits.part).tolist())
    overlap = np.isfinite(distances(to_local(near, camera), 0, rays.reshape(3, -1)).reshape(120, 120))
    assert (hits.part[overlap[hits.rows, hits.columns]] == 1).all()


def test_surface_normals_of_a_ball_point_away_from_its_center():
    camera = _camera()
    ball = Solids(
        np.array([[0.0, 0, 900]]),
        np.array([[0.0, 0, 900.5]]),
        np.array([[1.0, 0, 0]]),
        np.array([[250.0, 250.0]]),
        np.ones(1),
        np.ones(1),
        ("skin",),
    )
    rays = pixel_rays(camera, (120, 120)).reshape(3, -1)
    found = distances(to_local(ball, camera), 0, rays)
    hit = np.isfinite(found)
    _, normal = surface(to_local(ball, camera), 0, rays[:, hit], found[hit])
    points = (camera.T + (rays[:, hit] * found[hit]).T.astype(float) @ camera.R) - ball.start[0]
    np.testing.assert_allclose(normal.T @ camera.R, points / np.linalg.norm(points, axis=1, keepdims=True), atol=0.01)
