from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.core.own_cameras import pipeline as estimate_module
from lib.core.own_cameras.fit_tables import error_summary
from lib.core.own_cameras.person_prior import person_prior
from lib.core.own_cameras.pipeline import EstimateSettings, estimate
from lib.core.own_cameras.recording import load_capture
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.utils.errors import InputError

GRID = PictorialSettings().first_grid


def test_what_fails_late_leaves_the_poses(recording, tmp_path, monkeypatch):
    def refuse(*_):
        raise InputError("the disk is full")

    monkeypatch.setattr(estimate_module, "save_label_sheet", refuse)
    capture = load_capture(recording.cameras, recording.videos, recording.detections)
    with pytest.raises(InputError, match="the disk is full"):
        estimate(capture, tmp_path / "out", EstimateSettings())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"poses3d.npz", "poses3d.csv", "results.json"}


def test_what_cannot_be_is_told_before_any_work(recording, tmp_path):
    capture = load_capture(recording.cameras, None, recording.detections, views=("front", "left"))
    with pytest.raises(InputError, match="--leave-one-out needs 3 views, received 2"):
        estimate(capture, tmp_path / "out", EstimateSettings(leave_one_out=True))
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("error")
def test_the_prior_of_the_person(recording):
    poses = load_capture(recording.cameras, None, recording.detections).poses()
    lengths = H36M_BODY.limb_lengths(recording.pose_world).mean(0)
    assert np.median(np.abs(person_prior(poses, GRID).mean_lengths - lengths)) < 15
    known = poses.known.copy()
    known[:, H36M_BODY.joint_names.index("lank")] = False
    with pytest.raises(InputError, match="both ends of lkne-lank"):
        person_prior(replace(poses, known=known), GRID)


@pytest.mark.filterwarnings("error")
def test_errors_that_nobody_knows():
    known = error_summary(np.array([[1.0, 3, np.nan], [2, np.inf, 2]]))
    assert known == pytest.approx({"median": 2.0, "mean": 2.0, "p95": 2.85})
    assert np.isnan(list(error_summary(np.full((2, 3), np.nan)).values())).all()
