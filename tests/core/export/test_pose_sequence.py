from __future__ import annotations

import numpy as np
import pytest

from lib.core.export.pose_sequence import load_sequences
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17


def image_ids(*names: str) -> np.ndarray:
    return np.array([[name, f"other/{name}"] for name in names])


def test_load_sequences_of_a_recording(walk, pose_file):
    (sequence,) = load_sequences(pose_file(walk, 40 + np.arange(30)))
    assert (sequence.name, sequence.rate, sequence.unit) == ("", 50, "mm")
    np.testing.assert_array_equal(sequence.positions, walk)
    assert sequence.frame[0] == 40
    assert sequence.time_s[0] == pytest.approx(0.8)
    (slower,) = load_sequences(pose_file(walk), 25)
    assert slower.rate == 25
    assert slower.time_s[-1] == pytest.approx(29 / 25)


def test_load_sequences_of_a_run_are_its_recordings_in_order_of_time(walk, pose_file):
    ids = image_ids(
        *(f"s_09_act_02_subact_01_ca_01/s_09_act_02_subact_01_ca_01_{number:06d}.jpg" for number in (105, 5, 205)),
        *(f"s_11_act_02_subact_01_ca_03/s_11_act_02_subact_01_ca_03_{number:06d}.jpg" for number in (7, 8)),
        "walk_000001.png",
        "walk_000002.png",
    )
    first, second, third = load_sequences(pose_file(walk[7:14], image_ids=ids), 50)
    assert [one.name for one in (first, second, third)] == ["s_09_act_02_subact_01", "s_11_act_02_subact_01", "walk"]
    assert first.frame.tolist() == [5, 105, 205]
    assert first.rate == pytest.approx(0.5)
    np.testing.assert_array_equal(first.positions, walk[[8, 7, 9]])
    np.testing.assert_array_equal(second.positions, walk[10:12])


@pytest.mark.parametrize(
    ("arrays", "rate", "message"),
    [
        ({"image_ids": image_ids("a_1.jpg", "a_2.jpg")}, None, "--rate 50 of Human3.6M"),
        ({"image_ids": image_ids("a_1.jpg", "a_1.jpg")}, 50, "frame 1 of 'a' occurs twice"),
        ({"image_ids": image_ids("a.jpg", "b.jpg")}, 50, "expected a number at the end of the name"),
        ({}, -1, "--rate: expected a positive number"),
    ],
)
def test_load_sequences_refuses(walk, pose_file, arrays, rate, message):
    with pytest.raises(InputError, match=message):
        load_sequences(pose_file(walk[:2], **arrays), rate)


def test_load_sequences_of_one_frame_needs_a_rate(walk, pose_file):
    with pytest.raises(InputError, match="give the frames per second with --rate"):
        load_sequences(pose_file(walk[:1]))
    assert load_sequences(pose_file(walk[:1]), 25)[0].rate == 25


def test_turned_keeps_heights_and_handedness(walk, pose_file):
    turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # y up
    (sequence,) = load_sequences(pose_file(walk @ turn.T))
    assert sequence.turned(None) is sequence
    for up, axis in (("z", 2), ("y", 1)):
        turned = sequence.turned(up).positions
        np.testing.assert_allclose(turned[..., axis], walk[..., 2], atol=1e-9)
        np.testing.assert_allclose(sequence.turned(up, "y").positions, turned, atol=1e-9)
        three = [H36M_17.index(name) for name in ("rank", "lank", "neck")]
        for before, after in ((walk[0, three], turned[0, three]), (walk[1, three], turned[1, three])):
            assert np.linalg.det(before) == pytest.approx(np.linalg.det(after))
    np.testing.assert_allclose(sequence.turned("z", "-y").positions[..., 2], -walk[..., 2], atol=1e-9)


def test_evenly_spaced_fills_missing_frames(walk, pose_file):
    frame = np.delete(np.arange(30), [3, 7])
    (sequence,) = load_sequences(pose_file(walk[frame], 10 + frame))
    assert sequence.rate is None
    even = sequence.evenly_spaced()
    assert (even.rate, len(even)) == (50, 30)
    expected = walk.copy()
    expected[[3, 7]] = np.nan
    np.testing.assert_array_equal(even.positions, expected)
    np.testing.assert_allclose(even.time_s, np.arange(10, 40) / 50)


def test_evenly_spaced_refuses_frames_without_a_rate(walk, pose_file):
    (sequence,) = load_sequences(pose_file(walk[:3], np.array([0, 1, 90])))
    with pytest.raises(InputError, match="expected even steps in time, received 3 frames in steps of 1 to 89"):
        sequence.evenly_spaced()


def test_scaled_and_without(walk, pose_file):
    (sequence,) = load_sequences(pose_file(walk))
    np.testing.assert_allclose(sequence.scaled("m").scaled("cm").positions, walk / 10)
    fewer = sequence.without(("root", "head"))
    assert len(fewer.joint_names) == 15
    np.testing.assert_array_equal(fewer.positions[:, fewer.joint_names.index("rwri")], walk[:, 16])


def test_filled_interpolates_gaps_and_drops_unknown_joints(walk, pose_file):
    walk[:, 2] = np.nan
    (sequence,) = load_sequences(pose_file(walk))
    filled = sequence.filled()
    assert "rkne" not in filled.joint_names
    left_knee = filled.positions[:, filled.joint_names.index("lkne")]
    np.testing.assert_allclose(left_knee[5], (walk[3, 5] + walk[7, 5]) / 2)
    assert np.isfinite(filled.positions).all()
    walk[:] = np.nan
    with pytest.raises(InputError, match="expected known positions"):
        load_sequences(pose_file(walk))[0].filled()
