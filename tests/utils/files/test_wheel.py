from __future__ import annotations

import zipfile

import pytest

from lib.utils.errors import InputError
from lib.utils.files.wheel import extract, opened_wheel


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing/deep/a.bin", "A")
        archive.writestr("thing/b.txt", "B")
        archive.writestr("thing-1.0.dist-info/LICENSE", "free")
    return path


def test_extract_chosen_files_and_license(wheel, tmp_path):
    with opened_wheel("thing==1.0", 1, wheel) as archive:
        found = extract(archive, tmp_path / "out", lambda name: name.endswith(".bin"), tmp_path / "L", "*.bin")
    assert found == [tmp_path / "out/a.bin"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.bin"]
    assert (found[0].read_text(), (tmp_path / "L").read_text()) == ("A", "free")


def test_extract_wheel_without_the_files_is_refused(wheel, tmp_path):
    with (
        opened_wheel("thing==1.0", 1, wheel) as archive,
        pytest.raises(InputError, match=r"expected a wheel with videos, received one without"),
    ):
        extract(archive, tmp_path / "out", lambda name: False, tmp_path / "L", "videos")
    assert not (tmp_path / "out").exists()


def test_opened_wheel_other_file_is_refused(wheel):
    wheel.write_text("no zip")
    with pytest.raises(InputError, match="not a wheel, or truncated"), opened_wheel("thing==1.0", 1, wheel):
        pass
