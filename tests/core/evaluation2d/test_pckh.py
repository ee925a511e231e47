from __future__ import annotations

import numpy as np
import pytest
from lib.core.evaluation2d.pckh import pckh, pckh_scores, pckh_table

from lib.utils.joints import MPII_16, UNION_20, union_subset

PAIRS = {"Shoulder": "sho", "Elbow": "elb", "Wrist": "wri", "Hip": "hip", "Knee": "kne", "Ankle": "ank"}


def loop(predicted, true, visible, head_size, names, share):
    """Joint by joint and image by image, as Simple Baselines' formulas say."""
    found, counted = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for image, size in enumerate(head_size):
        for joint, name in enumerate(names):
            if visible[image, joint] and size == size:
                counted[name] += 1
                dx, dy = predicted[image, joint] - true[image, joint]
                found[name] += (dx * dx + dy * dy) ** 0.5 / size <= share
    rate = {name: found[name] / counted[name] for name in names if counted[name]}
    total = sum(count for name, count in counted.items() if name not in ("root", "thorax"))
    result = {"Head": rate["head top"]}
    result |= {column: (rate["l" + part] + rate["r" + part]) / 2 for column, part in PAIRS.items()}
    weighted = sum(rate[name] * counted[name] / total for name in rate if name not in ("root", "thorax"))
    return result | {"Mean": weighted}


@pytest.fixture
def sample():
    """Predictions, truth, annotated joints and head sizes of 60 people, some of them without a head box."""
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 500, (60, 16, 2))
    predicted = true + rng.normal(0, 12, true.shape)
    head_size = rng.uniform(20, 90, 60)
    head_size[::7] = np.nan
    return predicted, true, rng.random((60, 16)) < 0.7, head_size


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_equals_a_plain_loop(sample, share):
    names = [UNION_20.names[joint] for joint in union_subset(MPII_16)]  # in the order of the predictions
    expected = loop(*sample, names, share)
    found = pckh(*sample, names, share)
    assert found == pytest.approx(expected)
    assert list(found) == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean"]
    assert 0 < found["Mean"] < 1


def test_joints_of_another_order_and_further_joints(sample):
    predicted, true, visible, head_size = sample
    wide = [np.zeros((60, 20, 2)), np.zeros((60, 20, 2)), np.zeros((60, 20), bool)]
    for array, values in zip(wide, sample[:3], strict=True):
        array[:, UNION_20.indices(MPII_16.names)] = values
    expected = pckh(predicted, true, visible, head_size, MPII_16.names, 0.5)
    assert pckh(*wide, head_size, UNION_20.names, 0.5) == pytest.approx(expected)


def test_by_hand():
    """Two people with heads of 10 and 20 px: half of them is 5 and 10 px, a tenth 1 and 2 px."""
    names = MPII_16.names
    true = np.zeros((2, 16, 2))
    visible = np.zeros((2, 16), bool)
    distance = np.zeros((2, 16))

    def put(person, joint, pixels):
        visible[person, names.index(joint)] = True
        distance[person, names.index(joint)] = pixels

    put(0, "head top", 5)  # exactly half: found at 0.5
    put(1, "head top", 1)  # found at both
    put(0, "lwri", 6)  # missed
    put(1, "lwri", 6)  # found at 0.5
    put(1, "rwri", 2)  # found at both
    put(0, "upper neck", 1)  # found at both; in no column but the mean
    put(0, "root", 0)  # counts nowhere
    put(1, "thorax", 99)
    predicted = true + np.stack([distance, 0 * distance], -1)
    scores = pckh_scores(predicted, true, visible, np.array([10.0, 20.0]), names)
    half, tenth = scores["PCKh@0.5"], scores["PCKh@0.1"]
    assert half["Head"] == 1.0
    assert half["Wrist"] == pytest.approx((0.5 + 1) / 2)  # left and right count the same
    assert half["Mean"] == pytest.approx(5 / 6)  # every annotated joint counts the same
    assert tenth["Head"] == 0.5
    assert tenth["Wrist"] == pytest.approx((0 + 1) / 2)
    assert tenth["Mean"] == pytest.approx(3 / 6)
    assert all(np.isnan(half[column]) for column in ("Shoulder", "Elbow", "Hip", "Knee", "Ankle"))
    assert pckh_table({"fused": scores}).splitlines() == [
        "| PCKh@0.5 (%) |  Head | Shoulder | Elbow | Wrist | Hip | Knee | Ankle | Mean | Mean@0.1 |",
        "| ------------ | ----: | -------: | ----: | ----: | --: | ---: | ----: | ---: | -------: |",
        "| fused        | 100.0 |        - |     - |  75.0 |   - |    - |     - | 83.3 |     50.0 |",
    ]


def test_one_side_alone():
    visible = np.zeros((1, 16), bool)
    visible[0, MPII_16.index("lkne")] = True
    found = pckh(np.zeros((1, 16, 2)), np.zeros((1, 16, 2)), visible, np.ones(1), MPII_16.names, 0.5)
    assert found["Knee"] == found["Mean"] == 1
    assert np.isnan(found["Head"])


def test_nobody_with_a_head_box():
    people = np.zeros((2, 16, 2)), np.zeros((2, 16, 2)), np.ones((2, 16), bool), np.full(2, np.nan)
    assert all(np.isnan(value) for value in pckh(*people, MPII_16.names, 0.5).values())
