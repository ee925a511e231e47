"""A small rig as its user has it: calibration, detections and videos in a folder."""

from __future__ import annotations

import pytest
from cvf_tests.rig_files import write_toml


@pytest.fixture
def toml(tmp_path):
    return write_toml(tmp_path / "Calib.toml")
