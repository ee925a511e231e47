from __future__ import annotations

import cv2
import numpy as np
import pytest
from cvf_tests.raw_h36m import write_metadata

from lib.dataset.prepare.h36m_metadata import read_metadata, rotation_xyz
from lib.dataset.synthetic.scene import SubjectWorld, WorldSettings
from lib.utils.errors import InputError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metadata.xml"


def test_rotation_xyz_equals_opencv():
    for angles in np.random.default_rng(0).uniform(-3, 3, (5, 3)):
        single = [cv2.Rodrigues(angle * axis)[0] for angle, axis in zip(angles, np.eye(3), strict=True)]
        np.testing.assert_allclose(rotation_xyz(angles), single[0] @ single[1] @ single[2], atol=1e-12)


def test_read_metadata_cameras_and_names_equal_the_synthetic_world(path):
    worlds = {subject: SubjectWorld(WorldSettings(), subject) for subject in (1, 9, 11)}
    write_metadata(path, worlds)
    metadata = read_metadata(path)
    for subject, world in worlds.items():
        for camera_id, expected in enumerate(world.camera_records):
            found = metadata.camera(camera_id, subject)
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                np.testing.assert_allclose(found[key], value, atol=1e-12, err_msg=key)
                assert found[key].shape == value.shape
    assert metadata.file_stem((9, 2, 1), 0) == "Action2.54138969"
    assert metadata.file_stem((9, 14, 2), 3) == "Action14 1.60457274"
    assert len(metadata.base_names) == 16 * 2 * 11


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "not an XML file, or truncated"),
        (lambda text: "no xml", "not an XML file, or truncated"),
        (lambda text: text.replace("w0>", "w1>"), "has no 'w0'"),
        (lambda text: text.replace("index2id", "id2index"), "has no 'dbcameras/index2id'"),
        (lambda text: text.replace("mapping>", "maps>"), "has no 'mapping'"),
        (lambda text: text.replace("0.0 0.0", "0.0", 1), "expected 4 cameras and 300 numbers .* received 4 and 299"),
        (lambda text: text.replace("<td>60457274</td>", ""), "expected 4 cameras .* received 3"),
        (lambda text: text.replace("Action", "").replace("<td>1</td><td>1</td>", ""), None),
        (lambda text: text.replace("<td>1</td><td>1</td>", "<td>1</td><td>¹</td>"), None),
    ],
)
def test_read_metadata_damaged_file_is_refused(path, change, message):
    write_metadata(path, {1: SubjectWorld(WorldSettings(), 1)})
    path.write_text(change(path.read_text()))
    if message is None:
        assert (1, 1, 1) not in read_metadata(path).base_names
        return
    with pytest.raises(InputError, match=rf"metadata\.xml: {message}"):
        read_metadata(path)


def test_read_metadata_mapping_without_rows_is_refused(path):
    write_metadata(path, {})
    text = path.read_text()
    start = text.index("<mapping>") + 9
    end = text.index("</mapping>")
    path.write_text(text[:start] + "<tr><td>x</td></tr>" + text[end:])
    with pytest.raises(InputError, match="'mapping' has no rows"):
        read_metadata(path)


def test_read_metadata_missing_file_is_named(path):
    with pytest.raises(InputError, match=r"metadata\.xml: no such file; it is part of"):
        read_metadata(path)
