from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.own_recording import make_recording

from lib.core.multiview import estimate_recording
from lib.utils.errors import InputError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_recording(tmp_path_factory.mktemp("recording"), num_frames=16)


def test_estimate_recording_from_detections(files, tmp_path):
    found = estimate_recording(files.cameras, None, files.detections, frames=(2, 16), views=("front", "left", "back"))
    assert found.method == "agreement"
    assert found.pose_world.shape == (14, 17, 3)
    assert np.median(np.linalg.norm(found.pose_world - files.pose_world[2:], axis=-1)) < 15
    assert found.sd_mm.shape == (14, 17)
    results = found.save(tmp_path / "out", leave_one_out=True)
    assert results["frames"]["first"] == 2
    assert all(view["median"] < 5 for view in results["leave_one_out_px"].values())
    assert (tmp_path / "out/report.md").is_file()
    written = found.export(tmp_path / "out", ["csv"])
    assert list(written) == [tmp_path / "out/poses3d_export.csv"]
    found.save(tmp_path / "out")
    assert not (tmp_path / "out/poses3d_export.csv").exists()  # of earlier poses
    with pytest.raises(InputError, match="a figure needs the videos"):
        found.save_figure(tmp_path / "frames.jpg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fusion": "epipolar_max"}, "they need --checkpoint"),
        ({"method": "rpsm"}, "uses heatmaps"),
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"checkpoint": "weights.pth.tar"}, "needs --cfg"),
    ],
)
def test_estimate_recording_refuses_arguments_that_exclude_each_other(files, arguments, message):
    with pytest.raises(InputError, match=message):
        estimate_recording(files.cameras, files.videos, files.detections, **arguments)


def test_estimate_recording_fusion_with_weights_needs_a_checkpoint(files):
    with pytest.raises(InputError, match=r"NETWORK\.FUSION adaptive needs --checkpoint, its weights"):
        estimate_recording(files.cameras, files.videos, fusion="adaptive")


def test_estimate_recording_without_detections_needs_videos(files):
    with pytest.raises(InputError, match="expected videos, detections or both"):
        estimate_recording(files.cameras)
