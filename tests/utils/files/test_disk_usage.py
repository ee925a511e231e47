from __future__ import annotations

import pytest

from lib.utils.files.disk_usage import directory_bytes, size_text


def test_directory_bytes_counts_files_below(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/b").write_bytes(b"x" * 5)
    (tmp_path / "inside/again").symlink_to(tmp_path)
    link = len(str(tmp_path))  # its own size
    assert directory_bytes(tmp_path) in (15, 15 + link)
    assert directory_bytes(tmp_path / "absent") == 0


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (123456789, "123 MB"), (2e12, "2 TB")]
)
def test_size_text_has_three_digits(num_bytes, text):
    assert size_text(num_bytes) == text
