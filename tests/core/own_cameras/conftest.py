from __future__ import annotations

import pytest
from cvf_tests.own_recording import make_recording


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    """Four views, 20 frames; not to be changed."""
    return make_recording(tmp_path_factory.mktemp("recording"))
