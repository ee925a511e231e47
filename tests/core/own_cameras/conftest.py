from __future__ import annotations

import pytest
from cvf_tests.own_recording import make_recording


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Files of a recording with four views and 20 frames; read only."""
    return make_recording(tmp_path_factory.mktemp("recording"))
