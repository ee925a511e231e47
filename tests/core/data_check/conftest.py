"""Groups of the miniature data set, with its records changed at will."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cvf_tests.annotations import load_h36m

from lib.core.data_check.group_sequence import GroupSequence
from lib.dataset.groups import group_views
from lib.multiviews.body import H36M_BODY


@pytest.fixture
def make_groups(tiny_root) -> Callable[..., GroupSequence]:
    """make_groups(edit, frames=30, formats=(), ...): three recordings of frames / 3 groups without images."""

    def make(edit=None, frames=30, formats=(), **words) -> GroupSequence:
        annotations = load_h36m(tiny_root(frames=frames, mpii=0, edit=edit, formats=formats, **words), "train")
        return GroupSequence.ordered(annotations, group_views(annotations), H36M_BODY)

    return make
