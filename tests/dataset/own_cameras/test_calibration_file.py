from __future__ import annotations

import tomllib

import cv2
import numpy as np
import pytest
from cvf_tests.rig_files import write_toml

from lib.dataset.own_cameras.calibration_file import load_rig, rig_from_dicts
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


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("unit", ["m", "mm"])
def test_rig_from_dicts_equals_the_calibration_file(toml, center, unit):
    expected = load_rig(toml, unit).cameras
    tables = tomllib.loads(toml.read_text())
    cameras = []
    for table in (tables["cam_0"], tables["cam_1"]):
        rotation, translation = cv2.Rodrigues(np.array(table["rotation"]))[0], np.array(table["translation"])
        place = {"T": -rotation.T @ translation} if center else {"t": translation}
        cameras.append({"K": table["matrix"], "R": table["rotation"], "distortion": table["distortions"], **place})
    if unit == "mm":  # 4 mm from the world's origin
        with pytest.raises(InputError, match=r"^unit=mm: the largest distance between cameras would be"):
            rig_from_dicts(cameras, unit)
        return
    rig = rig_from_dicts(cameras, unit)
    assert rig.names == ("1", "2")
    for field in ("R", "T", "f", "c", "k", "p"):
        np.testing.assert_allclose(getattr(rig.cameras, field), getattr(expected, field), atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": None}, r"camera 2: expected K, R, distortion and one of t \(translation\) and T \(center\)"),
        ({"T": [0, 0, 0]}, "camera 2: expected K, R, distortion and one of t"),
        ({"K": None}, "camera 2: expected K, R"),
        ({"K": np.ones((2, 3))}, "camera 2: matrix: expected 3 x 3 finite numbers"),
        ({"R": 2 * np.eye(3)}, "camera 1: R is not a rotation"),
        ({"distortion": [0.1] * 6}, "camera 2: distortions: expected k1 k2 p1 p2"),
    ],
)
def test_rig_from_dicts_invalid_camera_is_refused(change, message):
    camera = {"K": [[300, 0, 100], [0, 300, 100], [0, 0, 1]], "R": np.eye(3), "t": [0, 0, 3000.0]}
    other = {key: value for key, value in {**camera, "t": [500.0, 0, 3000.0], **change}.items() if value is not None}
    with pytest.raises(InputError, match=message):
        rig_from_dicts([camera, other])


def test_resized_projects_to_the_same_share_of_the_image(toml):
    rig = load_rig(toml)
    half = rig.resized(rig.image_wh // 2)
    full_px, half_px = (project(POINTS_M * 1000, one.cameras[0])[0] for one in (rig, half))
    np.testing.assert_allclose((half_px + 0.5) / (full_px + 0.5), 0.5, atol=1e-9)


def test_load_rig_views_order_and_unknown_names(toml):
    rig = load_rig(toml)
    assert load_rig(toml, views=["right", "left"]).names == ("right", "left")
    np.testing.assert_array_equal(load_rig(toml, views=["right", "left"]).cameras.c, rig.cameras.c[::-1])
    with pytest.raises(InputError, match="did you mean 'right'"):
        load_rig(toml, views=["left", "rigth"])
    with pytest.raises(InputError, match="2 to 8"):
        load_rig(toml, views=["left"])
    with pytest.raises(InputError, match="repeated name in left, left"):
        load_rig(toml, views=["left", "left"])


def test_load_rig_only_chosen_cameras_are_read_and_counted(tmp_path):
    names = [f"cam{number}" for number in range(10)]
    path = write_toml(tmp_path / "ten.toml", names)
    path.write_text(path.read_text().replace("[[300.0, 0.0, 109.5]", "[[-300.0, 0.0, 109.5]"))  # of cam9
    with pytest.raises(InputError, match="2 to 8 cameras, received 10; choose some of them with --views"):
        load_rig(path)
    assert load_rig(path, views=names[2:6]).names == tuple(names[2:6])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_load_rig_byte_order_marks_are_accepted(toml, encoding):
    expected = load_rig(toml)
    toml.write_text(toml.read_text().replace("\n", "\r\n"), encoding=encoding)
    np.testing.assert_array_equal(load_rig(toml).cameras.T, expected.cameras.T)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("translation = [0.3, -0.1, 4.0]", "translation = [[0.3], [-0.1], [4.0]]"),
        ("rotation = [0.1, 0.0, -0.2]", "rotation = [[0.1, 0.0, -0.2]]"),
        ("size = [200.0, 160.0]", "size = [[200], [160]]"),
        ("distortions = [-0.1, 0.05, 0.001, -0.002, 0.03]", "distortions = [[-0.1, 0.05, 0.001, -0.002, 0.03]]"),
        ("[[300.0, 0.0, 100.5], [0.0, 301.0, 79.0], [0.0, 0.0, 1.0]]", "[300, 0, 100.5, 0, 301.0, 79.0, 0, 0, 1]"),
    ],
)
def test_load_rig_every_shape_with_the_right_values(toml, old, new):
    expected = load_rig(toml)
    text = toml.read_text()
    assert old in text
    toml.write_text(text.replace(old, new))
    found = load_rig(toml)
    for name in ("R", "T", "f", "c", "k", "p"):
        np.testing.assert_array_equal(getattr(found.cameras, name), getattr(expected.cameras, name))
    np.testing.assert_array_equal(found.image_wh, expected.image_wh)


@pytest.mark.parametrize(
    ("line", "radial", "noted"),
    [("", [0, 0, 0], "0 of"), ("distortions = []", [0, 0, 0], "0 of"), ("distortions = [-0.1]", [-0.1, 0, 0], "1 of")],
)
def test_load_rig_missing_coefficients_are_zero(toml, line, radial, noted):
    toml.write_text(toml.read_text().replace("distortions = [-0.1, 0.05, 0.001, -0.002, 0.03]", line))
    rig = load_rig(toml)
    assert rig.cameras.k.tolist() == [radial, radial]
    assert not rig.cameras.p.any()
    assert len(rig.notes) == 2
    assert noted in rig.notes[0]


def test_load_rig_tables_without_entries_of_a_camera_are_no_cameras(toml):
    toml.write_text("date = 2023-05-06\nfps = 24\n[charuco]\ncolumns = 4\nsize = 3\n" + toml.read_text())
    assert load_rig(toml).names == ("left", "right")


def test_load_rig_without_a_name_the_table_names_the_camera(toml):
    toml.write_text(toml.read_text().replace('name = "left"', 'name = ""').replace('name = "right"', ""))
    assert load_rig(toml).names == ("cam_0", "cam_1")


def test_load_rig_match_table(toml):
    toml.write_text(toml.read_text() + '[match]\nleft = "GX01.MP4"\nright = ["GX02.MP4", "GX02_json"]\n')
    assert load_rig(toml).aliases == {"left": ("GX01.MP4",), "right": ("GX02.MP4", "GX02_json")}
    toml.write_text(toml.read_text().replace("right = [", "top = ["))
    with pytest.raises(InputError, match=r"unknown camera 'top' in .*\[match\]"):
        load_rig(toml)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fisheye = false", "fisheye = true", "fisheye"),
        ("translation = [0.3, -0.1, 4.0]", "", "no 'translation'"),
        ("rotation = [0.1, 0.0, -0.2]", "rotation = [0.1, 0.2]", "rotation"),
        ("0.03]", "0.03, 0.5]", "distortions"),
        ("[[300.0, 0.0", "[[300.0, 7.0", "skew"),
        (", 100.5], [0.0, 301.0, 79.0], [0.0", ", 0.0], [0.0, 301.0, 0.0], [100.5", "fx, 0, cx"),  # transposed
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
