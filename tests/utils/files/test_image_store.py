from __future__ import annotations

import zipfile

import cv2
import numpy as np
import pytest

from lib.utils.files.image_io import read_image
from lib.utils.files.image_store import open_images


@pytest.mark.parametrize(("as_zip", "data_format"), [(False, "jpg"), (True, "zip")])
def test_what_is_stored_is_what_the_reader_finds(tmp_path, as_zip, data_format):
    image = np.full((20, 30, 3), 77, np.uint8)
    with open_images(tmp_path / "h36m", as_zip) as store:
        for name in ("s_01/a.png", "s_01/b.png", "s_02/a.png"):
            store.add(name, cv2.imencode(".png", image)[1].tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "h36m/images", "s_02/a.png", data_format), image)


def test_an_archive_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "mpii"
    with open_images(folder, as_zip=True) as store:
        store.add("x.jpg", b"12345")
    before = (folder / "images.zip").read_bytes()

    def fail_halfway():
        with open_images(folder, as_zip=True) as store:
            store.add("y.jpg", b"6")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert (folder / "images.zip").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["images.zip"]


def test_zip_stores_entries_below_images(tmp_path):
    for name in ("a", "b"):
        with open_images(tmp_path / name, as_zip=True) as store:
            store.add("s_01/x.jpg", b"12345")
    with zipfile.ZipFile(tmp_path / "a" / "images.zip") as archive:
        assert archive.read("images/s_01/x.jpg") == b"12345"
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED
    assert (tmp_path / "a" / "images.zip").read_bytes() == (tmp_path / "b" / "images.zip").read_bytes()
