from __future__ import annotations

import pytest

from lib.utils import part_times
from lib.utils.part_times import PartTimes


def test_part_times_shares_and_rest(monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 2.0, 5.0, 6.0, 7.0, 10.0])
    monkeypatch.setattr(part_times.time, "perf_counter", lambda: next(clock))
    times = PartTimes()
    with times.measure("video"):
        pass
    with times.measure("network"):
        pass
    with pytest.raises(ValueError, match="damaged"), times.measure("video"):
        raise ValueError("damaged")
    assert times.describe(25, "3D method") == "2.5 frames per second: video 20 %, network 30 %, 3D method 50 %"
