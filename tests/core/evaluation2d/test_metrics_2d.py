from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from lib.core.evaluation2d.metrics_2d import (
    few_images_note,
    heatmap_accuracy,
    heatmap_hits,
    jdr_summary,
    jdr_table,
    jdr_threshold,
    joint_detection_rate,
    mean_rate,
    pckh,
    pckh_scores,
    pckh_table,
)
from lib.utils.joints import MPII_16, UNION_20, union_subset

PAIRS = {"Shoulder": "sho", "Elbow": "elb", "Wrist": "wri", "Hip": "hip", "Knee": "kne", "Ankle": "ank"}
RATES = {"fused": np.array([0.5, np.nan, 1.0]), "single": np.full(3, np.nan)}
NAMES = ["root", "nose", "upper neck"]


def test_jdr_threshold_is_half_the_head_size():
    side = np.array([400.0, 200.0])
    heads = np.array([30.0, np.nan])
    assert jdr_threshold("published", (256, 256), side, heads).tolist() == [12.8, 12.8]
    assert jdr_threshold("published", (320, 320), side, heads).tolist() == [16, 16]
    assert jdr_threshold("crop", (256, 256), side, heads).tolist() == [20, 10]  # a twentieth of 400 and 200 px
    np.testing.assert_array_equal(jdr_threshold("head", (256, 256), side, heads), [15, np.nan])


def test_joint_detection_rate_equals_hand_computed_values():
    true = np.zeros((3, 2, 2))
    predicted = np.array([[[3, 4], [0, 6]], [[0, 0], [5.01, 0]], [[9, 9], [0, 0]]], np.float64)
    visible = np.array([[True, True], [True, True], [True, False]])
    threshold = np.array([5.0, 5.0, 5.0])
    # joint 0: distances 5 (counts: within), 0, 12.7; joint 1: 6, 5.01, not annotated
    assert joint_detection_rate(predicted, true, visible, threshold).tolist() == [2 / 3, 0.0]
    assert joint_detection_rate(predicted, true, visible, np.array([7.0, 5, 20])).tolist() == [1.0, 0.5]


def test_joint_detection_rate_images_without_threshold_do_not_count():
    true = np.zeros((3, 2, 2))
    visible = np.array([[True, False], [True, False], [True, True]])
    predicted = np.array([[[0, 0]] * 2, [[9, 9]] * 2, [[0, 0]] * 2], np.float64)
    rates = joint_detection_rate(predicted, true, visible, np.array([5.0, 5, np.nan]))
    assert rates[0] == 0.5
    assert np.isnan(rates[1])


def test_joint_detection_rate_joint_without_annotation_is_nan():
    rates = joint_detection_rate(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), np.array([[True, False]] * 2), np.ones(2))
    assert rates[0] == 1
    assert np.isnan(rates[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mean_rate(rates) == 1
        assert np.isnan(mean_rate(rates[1:]))


def test_jdr_table_is_in_percent():
    assert jdr_table(RATES, NAMES).splitlines() == [
        "| JDR (%) | root | nose | upper neck | mean |",
        "| ------- | ---: | ---: | ---------: | ---: |",
        "| fused   | 50.0 |    - |      100.0 | 75.0 |",
        "| single  |    - |    - |          - |    - |",
    ]


def test_jdr_table_original_threshold_is_a_column():
    original = {"fused": np.array([0.25, np.nan, 0.5])}
    assert jdr_table(RATES, NAMES, original).splitlines() == [
        "| JDR (%) | root | nose | upper neck | mean | original code's threshold |",
        "| ------- | ---: | ---: | ---------: | ---: | ------------------------: |",
        "| fused   | 50.0 |    - |      100.0 | 75.0 |                      37.5 |",
        "| single  |    - |    - |          - |    - |                         - |",
    ]


def test_few_images_note_names_the_rates_over_fewer_than_100_images():
    counts = {"all joints": np.array([100, 0, 300]), "occluded joints": np.array([7, 0, 99])}
    note = "Few images per joint: occluded joints 7 to 99. A rate over fewer than 100 images is imprecise."
    assert few_images_note(counts) == note
    assert few_images_note({"all joints": np.array([69, 69])}).startswith("Few images per joint: all joints 69. ")
    assert few_images_note({"all joints": np.array([100])}) == few_images_note({"all joints": np.zeros(2, int)}) == ""


def test_jdr_summary_has_means_and_joints():
    summary = jdr_summary(RATES, NAMES)
    assert summary["fused"]["mean"] == 0.75
    assert summary["fused"]["per_joint"]["upper neck"] == 1.0
    assert np.isnan(summary["fused"]["per_joint"]["nose"])
    assert all(type(value) is float for value in summary["fused"]["per_joint"].values())


def one_hot(*points, height=20, width=40):
    maps = torch.zeros(1, 1, len(points), height, width)
    for joint, (x, y) in enumerate(points):
        maps[0, 0, joint, y, x] = 1
    return maps


@pytest.mark.parametrize(
    ("point", "found"),
    # a tenth of the map is 4 x 2 px, half of it 2 x 1 px; on the border counts as missed
    [((20, 10), 1), ((21, 10), 1), ((22, 10), 0), ((20, 11), 0), ((21, 11), 0), ((18, 10), 0), ((19, 10), 1)],
)
def test_heatmap_accuracy_threshold_is_half_a_tenth_of_the_map(point, found):
    accuracy = heatmap_accuracy(heatmap_hits(one_hot(point), one_hot((20, 10)), torch.ones(1, 1, 1, 1)))
    assert accuracy.item() == found


def test_heatmap_accuracy_is_the_mean_over_joints_with_targets():
    target = one_hot((5, 5), (6, 6), (7, 7)).repeat(2, 2, 1, 1, 1)
    prediction = target.clone()
    prediction[0, 0, 0] = one_hot((30, 5))[0, 0, 0]  # one miss of 4
    prediction[:, :, 2] = 0  # would miss, but counts nowhere
    weight = torch.ones(2, 2, 3, 1)
    weight[:, :, 2] = 0
    weight[0, :, 1] = 0
    assert heatmap_accuracy(heatmap_hits(prediction, target, weight)).item() == pytest.approx((0.75 + 1) / 2)
    assert heatmap_accuracy(heatmap_hits(prediction, target, weight * 0)).item() == 0


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
    """Predictions, ground truth, visibility and head sizes of 60 people, some without head boxes."""
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 500, (60, 16, 2))
    predicted = true + rng.normal(0, 12, true.shape)
    head_size = rng.uniform(20, 90, 60)
    head_size[::7] = np.nan
    return predicted, true, rng.random((60, 16)) < 0.7, head_size


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_pckh_equals_a_plain_loop(sample, share):
    names = [UNION_20.names[joint] for joint in union_subset(MPII_16)]  # in the order of the predictions
    expected = loop(*sample, names, share)
    found = pckh(*sample, names, share)
    assert found == pytest.approx(expected)
    assert list(found) == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean"]
    assert 0 < found["Mean"] < 1


def test_pckh_other_joint_order_has_the_same_scores(sample):
    predicted, true, visible, head_size = sample
    wide = [np.zeros((60, 20, 2)), np.zeros((60, 20, 2)), np.zeros((60, 20), bool)]
    for array, values in zip(wide, sample[:3], strict=True):
        array[:, UNION_20.indices(MPII_16.names)] = values
    expected = pckh(predicted, true, visible, head_size, MPII_16.names, 0.5)
    assert pckh(*wide, head_size, UNION_20.names, 0.5) == pytest.approx(expected)


def test_pckh_scores_equal_hand_computed_values():
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


def test_pckh_one_side_annotated_is_the_score_of_the_pair():
    visible = np.zeros((1, 16), bool)
    visible[0, MPII_16.index("lkne")] = True
    found = pckh(np.zeros((1, 16, 2)), np.zeros((1, 16, 2)), visible, np.ones(1), MPII_16.names, 0.5)
    assert found["Knee"] == found["Mean"] == 1
    assert np.isnan(found["Head"])


def test_pckh_without_head_sizes_is_nan():
    people = np.zeros((2, 16, 2)), np.zeros((2, 16, 2)), np.ones((2, 16), bool), np.full(2, np.nan)
    assert all(np.isnan(value) for value in pckh(*people, MPII_16.names, 0.5).values())
