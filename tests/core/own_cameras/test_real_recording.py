"""Real detections, where they lie beside the repository: a man whom one camera's detector sees turned round."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.core.own_cameras.fit_tables import pose_statistics
from lib.core.own_cameras.recording import load_capture
from lib.multiviews.recording.robust_poses import RobustSettings

REAL = Path(__file__).resolve().parents[4] / "shared/own_cameras"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
TURNED = list(range(41, 60))  # by eye


@pytest.fixture(scope="module")
def capture():
    return load_capture(REAL / "Calib.toml", None, REAL / "pose", rate=60)


def test_what_is_kept(capture):
    statistics = pose_statistics(capture.poses(RobustSettings(cutoff=0.1)), capture)
    assert statistics["kept_share"] > 0.94
    assert statistics["reprojection_px"]["median"] < 7
    for limb in ("relb-rwri", "lelb-lwri", "rkne-rank", "lkne-lank"):
        assert statistics["limbs"][limb]["variation"] < 0.05, limb
    assert statistics["exchanged"] == {"cam02": {"hip, kne, ank": TURNED, "sho, elb, wri": TURNED}}
    assert capture.check().off == ()


@pytest.mark.parametrize("views", [("cam01", "cam02"), ("cam02", "cam03"), ("cam02", "cam03", "cam04")])
def test_fewer_cameras_find_the_turned_frames_too(capture, views):
    few = load_capture(REAL / "Calib.toml", None, REAL / "pose", views=views)
    exchanged = few.poses().exchanged
    assert exchanged[:, views.index("cam02")].all(-1).nonzero()[0].tolist() == TURNED
    assert exchanged.sum() == 2 * len(TURNED)
