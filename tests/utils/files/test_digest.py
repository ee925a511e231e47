from __future__ import annotations

import torch

from lib.utils.files.digest import content_digest


def test_content_digest_archives_of_same_content_are_equal(tmp_path):
    for name, value in (("one", 1.0), ("two", 1.0), ("other", 2.0)):
        torch.save({"weight": torch.full((3,), value)}, tmp_path / f".{name}.pth.tar")
        (tmp_path / f"{name}.pkl").write_bytes(bytes([int(value)]) * 10)
    for files in ([".one.pth.tar", ".two.pth.tar", ".other.pth.tar"], ["one.pkl", "two.pkl", "other.pkl"]):
        one, two, other = (content_digest(tmp_path / file) for file in files)
        assert one == two != other
