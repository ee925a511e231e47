from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.wrong_rig import SIDE, bumped, filmed_walk

from lib.core.own_cameras.recording import Recording
from lib.core.own_cameras.recording_poses import smooth, triangulate
from lib.core.rig_refinement.rig_hint import rig_hint
from lib.dataset.own_cameras.calibration_file import Rig


@pytest.mark.parametrize(("degrees", "num_frames", "is_given"), [(0.0, 150, False), (0.5, 150, True), (0.5, 60, False)])
def test_rig_hint_is_given_if_the_rig_is_wrong(degrees, num_frames, is_given):
    walk = filmed_walk(num_frames=num_frames)
    rig = Rig(("a", "b", "c"), bumped(walk.state.cameras, 1, degrees), np.full((3, 2), SIDE))
    table = np.repeat(np.arange(num_frames)[:, None], 3, 1)
    recording = Recording(rig, np.full(3, num_frames), np.full(3, 30.0), table, points=walk.points)
    hint = rig_hint(recording, smooth(triangulate(recording), recording))
    assert (hint is not None) == is_given, hint
    if is_given:
        assert "run/data/refine_rig.py" in hint
