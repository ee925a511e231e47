from __future__ import annotations

import resource
import time
from contextlib import closing

import h5py
import numpy as np
import pytest

from lib.utils.errors import InputError
from lib.utils.files.prediction_file import PredictionFile, PredictionWriter

NAMES = ["root", "upper neck", "rkne"]
IDS = [f"s_0{group}/ca_{view}é.jpg" for group in range(3) for view in range(2)]
WH = (6, 4)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.random((6, 3, 4, 6), np.float32), rng.random((6, 3, 3), np.float32)


@pytest.fixture
def path(tmp_path, rows):
    """A file of six rows, written in batches of 4 and 2."""
    said = {"fusion": "adaptive", "weights": "a/b.pth.tar"}
    with PredictionWriter(tmp_path / "p.h5", 6, NAMES, WH, rows_per_chunk=2, attributes=said) as writer:
        for part in (slice(0, 4), slice(4, 6)):
            writer.append(rows[0][part], rows[1][part], IDS[part])
        assert not (tmp_path / "p.h5").exists()  # it appears when complete
    return tmp_path / "p.h5"


def test_prediction_writer_arrays_equal_the_original_format(path, rows):
    with h5py.File(path) as file:
        assert sorted(file) == ["heatmaps", "image_ids", "joint_names_order", "locations"]
        assert file["heatmaps"].dtype == file["locations"].dtype == np.float32
        assert np.array_equal(file["heatmaps"], rows[0])
        assert np.array_equal(file["locations"], rows[1])
        assert [name.decode() for name in file["joint_names_order"]] == NAMES


def test_prediction_file_reads_slices(path, rows):
    with PredictionFile(path) as file:
        assert (file.joint_names, file.image_ids) == (NAMES, IDS)
        assert file.attributes == {"fusion": "adaptive", "weights": "a/b.pth.tar"}
        assert isinstance(file.heatmaps, h5py.Dataset)  # read on access
        heatmaps, locations = file.read(1, 5)
        assert np.array_equal(heatmaps, rows[0][1:5])
        assert np.array_equal(locations, rows[1][1:5])
        file.check_matches(IDS, NAMES)


@pytest.mark.parametrize("size", [1, 2, 4, 6, 9])
def test_batches_return_all_rows_in_order(path, rows, size):
    with PredictionFile(path) as file:
        parts = list(file.batches(size))
    assert [len(heatmaps) for heatmaps, _ in parts] == [len(range(6)[i : i + size]) for i in range(0, 6, size)]
    assert np.array_equal(np.concatenate([heatmaps for heatmaps, _ in parts]), rows[0])
    assert np.array_equal(np.concatenate([locations for _, locations in parts]), rows[1])


def test_batches_read_one_batch_ahead(path, monkeypatch):
    read = []

    def slow_read(self, start, stop, allocate):
        time.sleep(0.02)
        read.append(start)
        return start, stop

    monkeypatch.setattr(PredictionFile, "read", slow_read)
    with PredictionFile(path) as file, closing(file.batches(1)) as batches:
        assert next(batches) == (0, 1)
        assert next(batches) == (1, 2)
        time.sleep(0.2)  # the computation
        assert read == [0, 1, 2]


def test_batches_error_of_the_thread_is_raised(path, monkeypatch):
    read = PredictionFile.read

    def fail_at_4(self, start, stop, allocate):
        if start == 4:
            raise InputError("p.h5: rows 4 to 6 are damaged")
        return read(self, start, stop, allocate)

    monkeypatch.setattr(PredictionFile, "read", fail_at_4)
    with PredictionFile(path) as file:
        batches = file.batches(2)
        assert len(next(batches)[0]) == len(next(batches)[0]) == 2
        with pytest.raises(InputError, match="rows 4 to 6"):
            next(batches)


def test_prediction_writer_error_keeps_the_old_file(path, rows):
    def fail_halfway():
        with PredictionWriter(path, 6, NAMES, WH) as writer:
            writer.append(rows[0][:2], rows[1][:2], IDS[:2])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert [file.name for file in path.parent.iterdir()] == ["p.h5"]
    with PredictionFile(path) as file:
        assert len(file.heatmaps) == 6


def test_prediction_writer_missing_rows_are_an_error(tmp_path, rows):
    def write_four():
        with PredictionWriter(tmp_path / "p.h5", 6, NAMES, WH) as writer:
            writer.append(rows[0][:4], rows[1][:4], IDS[:4])

    with pytest.raises(ValueError, match="4 of 6 rows"):
        write_four()
    assert not list(tmp_path.iterdir())


def test_prediction_writer_full_disk_is_an_input_error(tmp_path):
    def write_much():
        with PredictionWriter(tmp_path / "p.h5", 8, NAMES, (100, 100)) as writer:
            for _ in range(4):
                writer.append(np.ones((2, 3, 100, 100)), np.ones((2, 3, 3)), ["a", "b"])

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(InputError, match=r"p\.h5: cannot be written"):
            write_much()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_prediction_writer_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be created"), PredictionWriter(tmp_path / "file/p.h5", 6, NAMES, WH):
        pass


@pytest.mark.parametrize("compression", ["lzf", "gzip"])
def test_prediction_writer_compression_is_lossless(tmp_path, compression):
    """Smooth heatmaps near zero, like the heatmaps of a network, are compressed without loss."""
    y, x = np.mgrid[:64, :48]
    maps = np.exp(-((x - 20) ** 2 + (y - 30) ** 2) / 8).astype(np.float32) + np.zeros((6, 3, 64, 48), np.float32)
    sizes = {}
    for kind in ("none", compression):
        path = tmp_path / f"{kind}.h5"
        with PredictionWriter(path, 6, NAMES, (48, 64), 2, compression=kind) as writer:
            writer.append(maps, np.zeros((6, 3, 3), np.float32), IDS)
        with PredictionFile(path) as file:
            assert file.heatmaps.compression == (None if kind == "none" else kind)
            assert file.heatmaps.chunks == (2, 3, 64, 48)
            np.testing.assert_array_equal(file.read(0, 6)[0], maps)
        sizes[kind] = path.stat().st_size
    assert sizes[compression] < 0.5 * sizes["none"]


@pytest.mark.parametrize("compression", ["none", "lzf"])
def test_prediction_writer_float16_is_read_as_float32(tmp_path, rows, compression):
    path = tmp_path / "p.h5"
    with PredictionWriter(path, 6, NAMES, WH, 2, compression, "float16") as writer:
        writer.append(*rows, IDS)
    with PredictionFile(path) as file:
        assert (file.heatmaps.dtype, file.locations.dtype) == (np.float16, np.float32)
        heatmaps, locations = file.read(0, 6)
        batches = [part for part, _ in file.batches(4)]
    assert heatmaps.dtype == batches[0].dtype == np.float32
    np.testing.assert_allclose(heatmaps, rows[0], rtol=2**-11)
    np.testing.assert_array_equal(np.concatenate(batches), heatmaps)
    np.testing.assert_array_equal(locations, rows[1])
    assert not np.array_equal(heatmaps, rows[0])


@pytest.mark.parametrize("bad", [0, 2, 5])
def test_prediction_writer_error_of_the_thread_is_raised(path, rows, monkeypatch, bad):
    """A later append() or the end of the block raises the error; the old file stays."""
    write = PredictionWriter._write
    written = []

    def fail(self, heatmaps, *others):
        if len(written) == bad:
            raise OSError(28, "No space left on device")
        written.append(len(heatmaps))
        write(self, heatmaps, *others)

    monkeypatch.setattr(PredictionWriter, "_write", fail)
    before = path.read_bytes()
    appended = []

    def write_all():
        with PredictionWriter(path, 6, NAMES, WH) as writer:
            for row in range(6):
                writer.append(rows[0][row : row + 1], rows[1][row : row + 1], IDS[row : row + 1])
                appended.append(row)

    with pytest.raises(InputError, match=r"p\.h5: cannot be written \(No space left on device\)"):
        write_all()
    assert len(appended) <= bad + 3  # soon, not after hours of prediction
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["p.h5"]


def test_prediction_writer_queue_is_short(tmp_path, rows, monkeypatch):
    """append() waits for a slow disk: memory stays bounded."""
    write = PredictionWriter._write
    started = []
    most = []

    def slow(self, *batch):
        time.sleep(0.02)
        started.append(1)
        write(self, *batch)

    monkeypatch.setattr(PredictionWriter, "_write", slow)
    with PredictionWriter(tmp_path / "p.h5", 6, NAMES, WH) as writer:
        for row in range(6):
            writer.append(rows[0][row : row + 1], rows[1][row : row + 1], IDS[row : row + 1])
            most.append(row + 1 - len(started))
    assert max(most) <= 2
    with PredictionFile(tmp_path / "p.h5") as file:
        np.testing.assert_array_equal(file.heatmaps, rows[0])


def test_fingerprint_depends_on_the_content(tmp_path, rows):
    def fingerprint(name, rows=rows, ids=IDS, names=NAMES, dtype="float32", compression="none"):
        with PredictionWriter(tmp_path / name, 6, names, WH, 2, compression, dtype) as writer:
            writer.append(*rows, ids)
        with PredictionFile(tmp_path / name) as file:
            return file.fingerprint()

    other = rows[1].copy()
    other[5, 2, 1] += 0.5
    assert fingerprint("a.h5") == fingerprint("b.h5", compression="gzip")
    changed = [
        fingerprint("a.h5", rows=(rows[0], other)),
        fingerprint("a.h5", ids=IDS[::-1]),
        fingerprint("a.h5", names=NAMES[::-1]),
        fingerprint("a.h5", dtype="float16"),
    ]
    assert len({fingerprint("a.h5"), *changed}) == 5


def original(path, rows, names) -> PredictionFile:
    with h5py.File(path, "w") as file:
        file["heatmaps"], file["locations"], file["joint_names_order"] = *rows, names
    return PredictionFile(path)


def test_prediction_file_without_heatmaps(tmp_path, rows):
    path = tmp_path / "p.h5"
    with PredictionWriter(path, 6, NAMES, None) as writer:
        for part in (slice(0, 4), slice(4, 6)):
            writer.append(None, rows[1][part], IDS[part])
    with h5py.File(path) as file:
        assert sorted(file) == ["image_ids", "joint_names_order", "locations"]
    with PredictionFile(path, needs_heatmaps=False) as file:
        assert file.heatmaps is None
        np.testing.assert_array_equal(file.read_locations(), rows[1])
        file.check_matches(IDS, NAMES)
        with pytest.raises(InputError, match="expected the 4 images of the data set, received 6"):
            file.check_matches(IDS[:4], NAMES)
    with pytest.raises(InputError, match=r"p\.h5: has no heatmaps; .*without --locations-only"):
        PredictionFile(path)
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["locations"], file["joint_names_order"] = rows[1][0], [0, 1, 2]
    with pytest.raises(InputError, match=r"flat\.h5: locations: expected shape \(M, J, 3\), received \(3, 3\)"):
        PredictionFile(tmp_path / "flat.h5", needs_heatmaps=False)


@pytest.mark.parametrize("names", [[0, 1, 2], np.array(NAMES, "S")])
def test_prediction_file_original_files_have_no_image_ids(tmp_path, rows, names):
    # the original code writes joint numbers 0..J-1 in the order of the data set
    with original(tmp_path / "p.h5", rows, names) as file:
        assert file.image_ids is None
        file.check_matches(IDS, NAMES)
        with pytest.raises(InputError, match="expected the 4 images of the data set, received 6"):
            file.check_matches(IDS[:4], NAMES)
        with pytest.raises(InputError, match="expected the joints"):
            file.check_matches(IDS, [*NAMES, "nose"])


def test_check_matches_numbers_in_other_order_are_refused(tmp_path, rows):
    with original(tmp_path / "p.h5", rows, [2, 0, 1]) as file, pytest.raises(InputError, match="expected the joints"):
        file.check_matches(IDS, NAMES)


def test_check_matches_other_data_set_is_named(path):
    with PredictionFile(path) as file:
        with pytest.raises(InputError, match=r"expected 'other\.jpg' in row 3, received 's_01/ca_1é\.jpg'"):
            file.check_matches([*IDS[:3], "other.jpg", *IDS[4:]], NAMES)
        with pytest.raises(InputError, match="expected the joints"):
            file.check_matches(IDS, NAMES[::-1])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_prediction_file_truncated_file_is_refused(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"p\.h5: not a prediction file, or truncated"):
        PredictionFile(path)


def test_prediction_file_other_content_is_refused(tmp_path, rows):
    with pytest.raises(InputError, match=r"none\.h5: no such prediction file"):
        PredictionFile(tmp_path / "none.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["heatmaps"] = rows[0]
    with pytest.raises(InputError, match=r"a\.h5: not a prediction file.*locations"):
        PredictionFile(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for name in ("heatmaps", "locations", "joint_names_order"):
            file.create_group(name)
    with pytest.raises(InputError, match=r"b\.h5: not a prediction file"):
        PredictionFile(tmp_path / "b.h5")
    with pytest.raises(InputError, match=r"received \(6, 3, 4, 6\) and \(5, 3, 3\)"):
        original(tmp_path / "c.h5", (rows[0], rows[1][:5]), [0, 1, 2])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("joint_names_order", "root", "not a prediction file"),  # one name, no list
        ("joint_names_order", np.array([b"\xff", b"b", b"c"]), "not a prediction file.*utf-8"),
        ("image_ids", np.array([b"\xff"] * 6), "not a prediction file.*utf-8"),
        ("image_ids", IDS[0], "not a prediction file"),
        ("image_ids", np.arange(5), r"image_ids: expected shape \(6\), received \(5,\)"),
        ("image_ids", np.arange(6), f"expected '{IDS[0]}' in row 0, received '0'"),
    ],
)
def test_prediction_file_names_of_other_type_are_refused(tmp_path, rows, name, value, message):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["heatmaps"], file["locations"] = rows
        for key, names in {"joint_names_order": [0, 1, 2], name: value}.items():
            file[key] = names
    with pytest.raises(InputError, match=rf"p\.h5: {message}"):
        PredictionFile(tmp_path / "p.h5").check_matches(IDS, NAMES)


def test_read_damaged_chunk_is_named(tmp_path, rows):
    path = tmp_path / "p.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("heatmaps", data=rows[0], chunks=(2, 3, 4, 6), fletcher32=True)
        file["locations"], file["joint_names_order"] = rows[1], [0, 1, 2]
    data = bytearray(path.read_bytes())
    start = data.index(rows[0][2:4].tobytes())
    data[start : start + 8] = b"\0" * 8
    path.write_bytes(data)
    with PredictionFile(path) as file:
        assert np.array_equal(file.read(0, 2)[0], rows[0][:2])
        with pytest.raises(InputError, match=r"p\.h5: rows 2 to 4 are damaged"):
            file.read(2, 4)


def test_read_locations_damaged_data_are_named(tmp_path, rows):
    path = tmp_path / "p.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("locations", data=rows[1], chunks=(2, *rows[1].shape[1:]), fletcher32=True)
        file["heatmaps"], file["joint_names_order"] = rows[0], [0, 1, 2]
    with PredictionFile(path) as file:
        assert np.array_equal(file.read_locations(), rows[1])
    data = bytearray(path.read_bytes())
    start = data.index(rows[1][2:4].tobytes())
    data[start : start + 8] = b"\1" * 8
    path.write_bytes(data)
    with PredictionFile(path) as file, pytest.raises(InputError, match=r"p\.h5: the locations are damaged"):
        file.read_locations()


@pytest.mark.parametrize("reason", ["unable to lock file, errno = 11", "file is already open for write"])
def test_prediction_file_open_in_another_program(path, monkeypatch, reason):
    def locked(*_):
        raise BlockingIOError(11, f"Unable to synchronously open file ({reason})")

    monkeypatch.setattr("h5py.File", locked)
    with pytest.raises(InputError, match="another program has it open"):
        PredictionFile(path)


def test_prediction_writer_single_view_peaks(tmp_path, rows):
    peaks = np.random.default_rng(1).random((6, 3, 2, 3), np.float32)
    peaks[0, 0, 1] = [np.nan, np.nan, 0]
    for name, form in (("with", (2, "log_quadratic")), ("without", None)):
        with PredictionWriter(tmp_path / f"{name}.h5", 6, NAMES, WH, peaks=form) as writer:
            writer.append(*rows, IDS, None if form is None else peaks)
    with PredictionFile(tmp_path / "with.h5") as file, PredictionFile(tmp_path / "without.h5") as other:
        assert file.peaks_format == (2, "log_quadratic")
        np.testing.assert_array_equal(file.read_single_view_peaks(0, 4), peaks[:4])
        assert (other.peaks_format, other.single_view_peaks) == (None, None)
        assert file.fingerprint() != other.fingerprint()


def test_prediction_file_peaks_of_another_shape_are_refused(path):
    with h5py.File(path, "r+") as file:
        file["single_view_peaks"] = np.zeros((6, 2, 3, 3), np.float32)
    with pytest.raises(InputError, match="single_view_peaks"):
        PredictionFile(path)
