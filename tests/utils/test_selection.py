import pytest

from lib.utils.selection import evenly_spread


@pytest.mark.parametrize(
    ("num_frames", "count", "expected"), [(7, 3, [0, 3, 6]), (3, 5, [0, 1, 2]), (9, 1, [0]), (1, 4, [0]), (0, 4, [])]
)
def test_evenly_spread_has_at_most_count_frames_and_both_ends(num_frames, count, expected):
    assert evenly_spread(num_frames, count).tolist() == expected
