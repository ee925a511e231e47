from __future__ import annotations

from lib.utils.meters import AverageMeter


def test_weighted_mean():
    meter = AverageMeter()
    assert meter.average == 0.0
    meter.update(2.0, 3)
    meter.update(6.0)
    assert (meter.value, meter.count, meter.average) == (6.0, 4, 3.0)
