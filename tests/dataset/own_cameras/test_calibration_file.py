from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib.dataset.own_cameras.calibration_file import load_rig
from lib.multiviews.cameras import project
from lib.utils.errors import InputError

POINTS_M = np.array([[0.1, 0.2, 0.3], [-0.4, 0.1, 0.2], [0.0, -0.3, -0.5]])


@pytest.mark.parametrize("unit", ["m", "cm", "mm"])
def test_load_rig_projection_equals_opencv(toml, unit):
    """Rodrigues vector, translation and the order k1 k2 p1 p2 k3 are as in cv2.projectPoints."""
    rig = load_rig(toml, unit)
    mm = {"m": 1000.0, "cm": 10.0, "mm": 1.0}[unit]
    assert rig.names == ("left", "right")
    for view, (angle, cx) in enumerate([(0.0, 100.5), (0.4, 101.5)]):
        matrix = np.array([[300.0, 0, cx], [0, 301.0, 79], [0, 0, 1]])
        expected, _ = cv2.projectPoints(
            POINTS_M,
            np.array([0.1, angle, -0.2]),
            np.array([0.3, -0.1, 4.0]),
            matrix,
            np.array([-0.1, 0.05, 0.001, -0.002, 0.03]),
        )
        pixels, depth = project(POINTS_M * mm, rig.cameras[view])
        np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-9)
        assert (depth > 3 * mm).all()


def test_resized_projects_to_the_same_share_of_the_image(toml):
    rig = load_rig(toml)
    half = rig.resized(rig.image_wh // 2)
    full_px, half_px = (project(POINTS_M * 1000, one.cameras[0])[0] for one in (rig, half))
    np.testing.assert_allclose((half_px + 0.5) / (full_px + 0.5), 0.5, atol=1e-9)


def test_select_order_and_unknown_names(toml):
    rig = load_rig(toml)
    assert rig.select(["right", "left"]).names == ("right", "left")
    np.testing.assert_array_equal(rig.select(["right", "left"]).cameras.c, rig.cameras.c[::-1])
    with pytest.raises(InputError, match="did you mean 'right'"):
        rig.select(["left", "rigth"])
    with pytest.raises(InputError, match="2 to 8"):
        rig.select(["left"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fisheye = false", "fisheye = true", "fisheye"),
        ("translation = [0.3, -0.1, 4.0]", "", "no 'translation'"),
        ("rotation = [0.1, 0.0, -0.2]", "rotation = [0.1, 0.2]", "rotation"),
        ("0.03]", "0.03, 0.5]", "distortions"),
        ("[[300.0, 0.0", "[[300.0, 7.0", "skew"),
        ('name = "right"', 'name = "left"', "repeated camera name"),
        ("[cam_0]", "[cam_0", "not a TOML file"),
        ("size = [200.0, 160.0]", "size = [200.0, 'x']", "size: expected numbers"),
    ],
)
def test_load_rig_invalid_entry_is_named(toml, old, new, message):
    toml.write_text(toml.read_text().replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        load_rig(toml)
    assert "Calib.toml" in str(caught.value)


def test_load_rig_unknown_unit(toml):
    with pytest.raises(InputError, match="unit of length"):
        load_rig(toml, "inch")
