from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cvf_tests.own_recording import SWAPPED, WRONG, load_synchronized, poses_of

from lib.core.own_cameras.recording import load_recording
from lib.core.own_cameras.recording_poses import check_cameras, person_prior, triangulate
from lib.core.own_cameras.recording_tables import pose_statistics
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.multiviews.recording.robust_poses import RobustSettings
from lib.utils.errors import InputError

GRID = PictorialSettings().first_grid
REAL = Path(__file__).resolve().parents[4] / "shared/own_cameras"
REAL_SWAPPED = list(range(41, 60))  # frames in which the detector swaps sides in cam02, by eye
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} does not exist")


def test_poses_swaps_and_outliers_are_found(files):
    recording = load_synchronized(files.cameras, files.videos, files.detections)
    poses = poses_of(recording)
    assert np.median(np.linalg.norm(poses.pose_world - files.pose_world, axis=-1)) < 10
    assert np.argwhere(poses.swapped.all(-1)).tolist() == [[frame, 1] for frame in range(20)[SWAPPED]]
    assert poses.rejected[WRONG]
    assert check_cameras(recording).off == ()


@pytest.mark.parametrize("names", [("front", "left"), ("right", "front", "left")])
def test_poses_of_some_views(files, names):
    recording = load_synchronized(files.cameras, files.videos, files.detections, views=names)
    error = np.linalg.norm(poses_of(recording).pose_world - files.pose_world, axis=-1)
    assert recording.rig.names == names
    assert np.median(error) < 12


def test_check_cameras_moved_camera_is_named(files, tmp_path):
    text = files.cameras.read_text()
    line = next(line for line in text.split("[back]")[1].splitlines() if line.startswith("translation"))
    x, *rest = (float(value) for value in line.split("[")[1].rstrip("]").split(","))
    moved = tmp_path / "moved.toml"
    moved.write_text(text.replace(line, f"translation = {[x + 0.3, *rest]}"))
    for names, expected in (
        (("front", "left", "back", "right"), (2,)),
        (("front", "back", "left"), (1,)),
        (("front", "back"), None),
    ):
        check = check_cameras(load_synchronized(moved, None, files.detections, views=names))
        assert check.off == expected
    assert check.pairs[0, 1] > 0.03


def test_triangulate_without_detections_is_refused(files):
    with pytest.raises(InputError, match="no detections"):
        triangulate(load_recording(files.cameras, files.videos), RobustSettings())


@pytest.mark.filterwarnings("error")
def test_person_prior_has_the_lengths_of_the_person(files):
    poses = poses_of(load_synchronized(files.cameras, None, files.detections))
    lengths = H36M_BODY.limb_lengths(files.pose_world).mean(0)
    assert np.median(np.abs(person_prior(poses, GRID).mean_lengths - lengths)) < 15
    known = poses.known.copy()
    known[:, H36M_BODY.joint_names.index("lank")] = False
    with pytest.raises(InputError, match="both ends of lkne-lank"):
        person_prior(replace(poses, known=known), GRID)


@needs_real
def test_poses_real_detections_swapped_frames_are_corrected():
    recording = load_synchronized(REAL / "Calib.toml", None, REAL / "pose", rate=60)
    statistics = pose_statistics(poses_of(recording, RobustSettings(cutoff=0.1)), recording)
    assert statistics["kept_share"] > 0.94
    assert statistics["reprojection_px"]["median"] < 7
    for limb in ("relb-rwri", "lelb-lwri", "rkne-rank", "lkne-lank"):
        assert statistics["limbs"][limb]["variation"] < 0.05, limb
    assert statistics["swapped"] == {"cam02": {"hip, kne, ank": REAL_SWAPPED, "sho, elb, wri": REAL_SWAPPED}}
    assert check_cameras(recording).off == ()


@needs_real
@pytest.mark.parametrize("views", [("cam01", "cam02"), ("cam02", "cam03"), ("cam02", "cam03", "cam04")])
def test_poses_real_detections_of_fewer_cameras(views):
    swapped = poses_of(load_synchronized(REAL / "Calib.toml", None, REAL / "pose", views=views)).swapped
    assert swapped[:, views.index("cam02")].all(-1).nonzero()[0].tolist() == REAL_SWAPPED
    assert swapped.sum() == 2 * len(REAL_SWAPPED)
