"""Labels of single images."""

from __future__ import annotations

import numpy as np
import pytest

from lib.dataset.synthetic import single_images
from lib.multiviews.cameras import project


@pytest.mark.parametrize("index", [0, 1, 2])
def test_render_single_image_head_size_is_its_length_in_pixels(index, monkeypatch):
    seen = []

    def spy(points, camera):
        seen.append((points, camera))
        return project(points, camera)

    monkeypatch.setattr(single_images, "project", spy)
    image = single_images.render_single_image(3, index, single_images.make_place(3, 0))
    ((joints, camera),) = seen
    neck, top = joints[8], joints[9]
    distance = camera.R[2] @ ((neck + top) / 2 - camera.T)  # along the optical axis
    length = np.sqrt(((top - neck) ** 2).sum())
    assert 120 < length < 400  # mm
    assert image.head_px == pytest.approx(length * camera.f[0] / distance)
    np.testing.assert_allclose(image.joints, project(joints, camera)[0])
    # never much shorter than it looks
    assert np.linalg.norm(image.joints[9] - image.joints[8]) < 1.1 * image.head_px
