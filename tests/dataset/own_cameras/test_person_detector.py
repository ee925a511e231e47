from __future__ import annotations

import numpy as np
import pytest

from lib.dataset.own_cameras import person_detector
from lib.dataset.own_cameras.person_detector import PersonDetector, upright_rotation

GRIDS = ((28, 2), (14, 2), (7, 6))  # cells per side, anchors per cell


class Network:
    """Sees red pixels: each cell that holds one reports a person with the head 40 input px above it."""

    def __init__(self, path, advice):
        self.inputs = []

    def __call__(self, inputs, *names):
        assert names == ("Identity", "Identity_1")
        self.inputs.append(inputs)
        rows, columns = np.nonzero((inputs[0, ..., 0] > 0.5) & (inputs[0, ..., 2] < 0))
        points, logits, first = np.zeros((1, 2254, 12), np.float32), np.full((1, 2254, 1), -9.0, np.float32), 0
        for side, count in GRIDS:
            for x, y in zip(columns, rows, strict=True):
                cell = np.array([x, y]) * side // 224
                anchor = first + count * (cell[1] * side + cell[0])
                offset = np.array([x, y]) - (cell + 0.5) * 224 / side  # input px from the middle of the cell
                points[0, anchor, 4:8] = [*offset, *(offset - [0, 40])]
                logits[0, anchor] = 2.0
            first += side * side * count
        return points, logits


@pytest.fixture
def detector(monkeypatch):
    monkeypatch.setattr(person_detector, "TfliteNetwork", Network)
    return PersonDetector("none")


@pytest.mark.parametrize("shape", [(300, 320), (320, 600), (600, 320)])
def test_person_detector_finds_each_person_once(detector, shape):
    image = np.zeros((*shape, 3), np.uint8)
    places = np.array([[60, 80], [shape[1] - 60, shape[0] - 70]])
    for x, y in places:
        image[y - 3 : y + 4, x - 3 : x + 4, 2] = 255
    found = detector(image)
    assert len(found) == 2
    order = np.argsort(found.center[:, 0])
    np.testing.assert_allclose(found.center[order], places, atol=5)
    np.testing.assert_allclose(found.rotation_deg, 0, atol=1e-6)
    assert (found.side > 2.4 * 40).all()
    assert all(-1 <= one.min() <= one.max() <= 1 for one in detector._network.inputs)


def test_person_detector_empty_image_has_nobody(detector):
    assert len(detector(np.zeros((100, 400, 3), np.uint8))) == 0


def test_upright_rotation_turns_up_into_the_crops_up():
    from lib.utils.transforms import get_affine_transform

    for up in ([0.0, -5.0], [3.0, -4.0], [-5.0, 0.0], [1.0, 5.0]):
        angle = upright_rotation(np.array(up))
        matrix = get_affine_transform(np.zeros(2), np.ones(2), angle, (200, 200))
        turned = matrix[:, :2] @ up
        np.testing.assert_allclose(turned, [0, -np.linalg.norm(up)], atol=1e-9)
