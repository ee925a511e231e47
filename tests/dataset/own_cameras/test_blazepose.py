from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cvf_tests.rig_files import write_video

from lib.dataset.own_cameras.blazepose import detect_people
from lib.dataset.own_cameras.videos import open_videos
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17


class PoseStub:
    """Finds nothing in the first frame of a video, and all landmarks at one quarter of the image in the others."""

    def __init__(self, **_):
        self.calls = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def process(self, image):
        self.calls += 1
        marks = SimpleNamespace(landmark=[SimpleNamespace(x=0.25, y=0.25, visibility=0.9)] * 33)
        return SimpleNamespace(pose_landmarks=None if self.calls == 1 else marks)


@pytest.fixture
def videos(tmp_path):
    for name, num_frames in (("left", 3), ("right", 2)):
        write_video(tmp_path / f"{name}.mp4", num_frames)  # 64 x 32 px
    return open_videos(tmp_path, ["left", "right"])


def test_detect_people_landmarks_become_pixels(videos, monkeypatch):
    solutions = SimpleNamespace(pose=SimpleNamespace(Pose=PoseStub))
    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace(solutions=solutions))
    found = detect_people(videos, ("left", "right"))
    assert found.points.shape == (3, 2, 1, 17, 3)
    assert np.isfinite(found.points).all((2, 3, 4)).tolist() == [[False, False], [True, True], [True, False]]
    np.testing.assert_allclose(found.points[1, 0, 0, H36M_17.index("lwri")], [15.5, 7.5, 0.9])


def test_detect_people_package_without_models_is_refused(videos, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace())
    with pytest.raises(InputError, match="no BlazePose with its models; pip install mediapipe=="):
        detect_people(videos, ("left", "right"))
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(InputError, match=r"not installed: pip install .*; or draw them"):
        detect_people(videos, ("left", "right"), "; or draw them")
