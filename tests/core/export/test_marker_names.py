from __future__ import annotations

import pytest

from lib.core.export.marker_names import MARKER_SETS, marker_names
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17


@pytest.mark.parametrize("marker_set", MARKER_SETS)
def test_marker_names_are_unique_and_keep_the_sides(marker_set):
    names = marker_names(H36M_17.names, marker_set)
    assert len(set(names)) == 17
    for right, left in H36M_17.flip_pairs:
        assert marker_names([right], marker_set)[0][0].lower() == "r"
        assert marker_names([left], marker_set)[0][0].lower() == "l"


def test_marker_names_of_an_unknown_joint():
    with pytest.raises(InputError, match="received toe"):
        marker_names(["root", "toe"], "joints")
