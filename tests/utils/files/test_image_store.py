from __future__ import annotations

import multiprocessing
import struct
import threading
import zipfile
import zlib

import cv2
import numpy as np
import pytest

from lib.utils.errors import InputError
from lib.utils.files import image_store
from lib.utils.files.image_store import missing_images, open_images, read_image


@pytest.fixture
def picture():
    """A smooth image, which JPEG keeps nearly exactly, with different channels."""
    ramp = np.linspace(0, 255, 60).astype(np.uint8)
    return np.stack([np.tile(ramp, (40, 1)), np.full((40, 60), 90, np.uint8), np.tile(ramp[::-1], (40, 1))], -1)


@pytest.fixture
def images(tmp_path, picture):
    """images/a/x.jpg, images/y.png and the same in images.zip."""
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    cv2.imwrite(str(folder / "a/x.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 100])
    cv2.imwrite(str(folder / "y.png"), picture)
    with zipfile.ZipFile(f"{folder}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/x.jpg", "y.png"):
            archive.write(folder / name, f"images/{name}")
    return folder


@pytest.mark.parametrize("data_format", ["jpg", "zip"])
def test_read_image_is_bgr(images, picture, data_format):
    assert np.array_equal(read_image(images, "y.png", data_format), picture)
    assert np.abs(read_image(images, "a/x.jpg", data_format).astype(int) - picture).max() < 8


@pytest.mark.parametrize("data_format", ["jpg", "zip"])
def test_missing_images_folder_and_zip(images, data_format):
    names = ["a/x.jpg", "x.jpg", "y.png", "a", "b/y.png"]
    assert missing_images(images, names, data_format) == ["x.jpg", "a", "b/y.png"]
    if data_format == "zip":
        with pytest.raises(InputError, match=r"none\.zip: no such archive"):
            missing_images(images.with_name("none"), names, data_format)
    else:
        assert missing_images(images.with_name("none"), names) == names


def test_read_image_gray_has_three_channels(images):
    cv2.imwrite(str(images / "gray.png"), np.full((5, 7), 33, np.uint8))
    assert read_image(images, "gray.png").shape == (5, 7, 3)


def test_read_image_ignores_orientation_flags(images, picture):
    data = (images / "a/x.jpg").read_bytes()
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)  # rotate by 90
    exif = b"Exif\0\0" + tiff
    (images / "turned.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert cv2.imread(str(images / "turned.jpg")).shape == (60, 40, 3)  # the flag is there
    assert read_image(images, "turned.jpg").shape == picture.shape


def test_read_image_absent_image_is_named(images):
    with pytest.raises(InputError, match=r"images/b\.jpg: no such image"):
        read_image(images, "b.jpg")
    with pytest.raises(InputError, match=r"images\.zip: no entry 'images/b\.jpg'"):
        read_image(images, "b.jpg", "zip")
    with pytest.raises(InputError, match=r"other\.zip: no such archive .*; provide it"):
        read_image(images.with_name("other"), "b.jpg", "zip")
    with pytest.raises(InputError, match="cannot be read"):
        read_image(images, "a")
    with pytest.raises(InputError, match=r"cannot be read \(embedded null byte\)"):
        read_image(images, "a\0b.jpg")
    with pytest.raises(InputError, match=r"no entry"):
        read_image(images, "a\0b.jpg", "zip")
    assert missing_images(images, ["a\0/b.jpg", "y.png"]) == ["a\0/b.jpg"]


def test_read_image_unknown_format_is_refused(images):
    with pytest.raises(InputError, match="unknown data format 'zpi'; did you mean 'zip'"):
        read_image(images, "y.png", "zpi")
    with pytest.raises(InputError, match="unknown data format 'png'"):
        missing_images(images, ["y.png"], "png")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_read_image_truncated_jpeg_is_refused(images, share):
    data = (images / "a/x.jpg").read_bytes()
    (images / "cut.jpg").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"cut\.jpg: the JPEG is truncated"):
        read_image(images, "cut.jpg")


def with_thumbnail(data: bytes, thumbnail: bytes) -> bytes:
    exif = b"Exif\0\0" + thumbnail
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


@pytest.mark.parametrize("flags", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]])
@pytest.mark.parametrize("tail", [b"\0" * 64, b"\0" * 20_000, b"\xff\xd8\xff", b"\r\n"])
def test_read_image_bytes_after_the_jpeg_are_ignored(images, picture, flags, tail):
    data = cv2.imencode(".jpg", picture, flags)[1].tobytes()
    for whole in (data, with_thumbnail(data, data)):
        (images / "tail.jpg").write_bytes(whole + tail)
        np.testing.assert_array_equal(read_image(images, "tail.jpg"), cv2.imdecode(np.frombuffer(data, np.uint8), 1))
        cut = with_thumbnail(data, data)[:-40]  # the thumbnail is whole
        (images / "cut.jpg").write_bytes(cut)
        with pytest.raises(InputError, match="the JPEG is truncated"):
            read_image(images, "cut.jpg")


def png_of_claimed_size(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", b"\xff\xd8\xff\xd9", png_of_claimed_size(40_000)])
def test_read_image_other_data_are_refused(images, data):
    (images / "odd.jpg").write_bytes(data)
    with pytest.raises(InputError, match=r"odd\.jpg: not an image"):
        read_image(images, "odd.jpg")


def test_read_image_truncated_archive_is_refused(images):
    path = images.with_suffix(".zip")
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"images\.zip: not a zip archive, or truncated"):
        read_image(images, "y.png", "zip")


def test_read_image_damaged_entry_is_refused(images):
    path = images.with_suffix(".zip")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("images/y.png").header_offset + 60
    data[start : start + 20] = b"\0" * 20
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"entry 'images/y\.png' is damaged"):
        read_image(images, "y.png", "zip")


def test_read_image_encrypted_entry_is_refused(images):
    path = images.with_suffix(".zip")
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[6] |= 1  # the flag in the header of the entry
    data[directory + 8] |= 1  # and in the directory
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"entry 'images/a/x\.jpg' is damaged"):
        read_image(images, "a/x.jpg", "zip")


def _read_often(images, queue):
    sums = [int(read_image(images, name, "zip").sum()) for name in ("y.png", "a/x.jpg") * 30]
    queue.put((sums, len(image_store._archives)))


def test_read_image_forked_processes_open_their_own_handle(images):
    sums = [int(read_image(images, name, "zip").sum()) for name in ("y.png", "a/x.jpg")]  # opened before the fork
    handles = len(image_store._archives)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_read_often, args=(images, queue)) for _ in range(3)]
    for child in children:
        child.start()
    for _ in children:
        assert queue.get(timeout=20) == (sums * 30, handles + 1)
    for child in children:
        child.join()


def test_read_image_threads_open_their_own_handle(images):
    before = len(image_store._archives)
    read_image(images, "y.png", "zip")
    read_image(images, "a/x.jpg", "zip")
    assert len(image_store._archives) == before + 1
    thread = threading.Thread(target=read_image, args=(images, "y.png", "zip"))
    thread.start()
    thread.join()
    assert len(image_store._archives) == before + 2


@pytest.mark.parametrize(("as_zip", "data_format"), [(False, "jpg"), (True, "zip")])
def test_open_images_stored_images_are_read_again(tmp_path, as_zip, data_format):
    image = np.full((20, 30, 3), 77, np.uint8)
    with open_images(tmp_path / "h36m", as_zip) as store:
        for name in ("s_01/a.png", "s_01/b.png", "s_02/a.png"):
            store.add(name, cv2.imencode(".png", image)[1].tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "h36m/images", "s_02/a.png", data_format), image)


def test_open_images_error_keeps_the_old_archive(tmp_path):
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


def test_open_images_zip_is_stored_and_reproducible(tmp_path):
    for name in ("a", "b"):
        with open_images(tmp_path / name, as_zip=True) as store:
            store.add("s_01/x.jpg", b"12345")
    with zipfile.ZipFile(tmp_path / "a" / "images.zip") as archive:
        assert archive.read("images/s_01/x.jpg") == b"12345"
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED
    assert (tmp_path / "a" / "images.zip").read_bytes() == (tmp_path / "b" / "images.zip").read_bytes()
