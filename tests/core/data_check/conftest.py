"""Groups of the miniature data set, with its records changed at will."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lib.core.data_check.views import Views
from lib.dataset.groups import group_views
from lib.dataset.h36m import load_h36m
from lib.multiviews.body import H36M_BODY


@pytest.fixture
def make_views(tiny_root) -> Callable[..., Views]:
    """make_views(edit, frames=30, num_views=4, ...): three recordings of frames / 3 groups, 3 frames apart."""

    def make(edit=None, frames=30, **words) -> Views:
        annotations = load_h36m(tiny_root(frames=frames, mpii=0, edit=edit, **words), "train")
        return Views.ordered(annotations, group_views(annotations), H36M_BODY)

    return make
