from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from lib.core.evaluation2d.metrics_2d import (
    heatmap_accuracy,
    heatmap_hits,
    jdr_summary,
    jdr_table,
    jdr_threshold,
    joint_detection_rate,
    mean_rate,
)

RATES = {"fused": np.array([0.5, np.nan, 1.0]), "single": np.full(3, np.nan)}
NAMES = ["root", "nose", "upper neck"]


def test_thresholds_are_half_the_head():
    scale = np.array([[2.0, 3.0], [1.0, 1.0]])
    heads = np.array([30.0, np.nan])
    assert jdr_threshold("published", (256, 256), scale, heads).tolist() == [12.8, 12.8]
    assert jdr_threshold("published", (320, 320), scale, heads).tolist() == [16, 16]
    assert jdr_threshold("crop", (256, 256), scale, heads).tolist() == [20, 10]  # a twentieth of 400 and 200 px
    np.testing.assert_array_equal(jdr_threshold("head", (256, 256), scale, heads), [15, np.nan])


def test_detection_rates_by_hand():
    true = np.zeros((3, 2, 2))
    predicted = np.array([[[3, 4], [0, 6]], [[0, 0], [5.01, 0]], [[9, 9], [0, 0]]], np.float64)
    visible = np.array([[True, True], [True, True], [True, False]])
    threshold = np.array([5.0, 5.0, 5.0])
    # joint 0: distances 5 (counts: within), 0, 12.7; joint 1: 6, 5.01, not annotated
    assert joint_detection_rate(predicted, true, visible, threshold).tolist() == [2 / 3, 0.0]
    assert joint_detection_rate(predicted, true, visible, np.array([7.0, 5, 20])).tolist() == [1.0, 0.5]


def test_images_without_a_threshold_do_not_count():
    true = np.zeros((3, 2, 2))
    visible = np.array([[True, False], [True, False], [True, True]])
    predicted = np.array([[[0, 0]] * 2, [[9, 9]] * 2, [[0, 0]] * 2], np.float64)
    rates = joint_detection_rate(predicted, true, visible, np.array([5.0, 5, np.nan]))
    assert rates[0] == 0.5
    assert np.isnan(rates[1])


def test_joints_that_no_image_shows():
    rates = joint_detection_rate(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), np.array([[True, False]] * 2), np.ones(2))
    assert rates[0] == 1
    assert np.isnan(rates[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mean_rate(rates) == 1
        assert np.isnan(mean_rate(rates[1:]))


def test_table():
    lines = jdr_table(RATES, NAMES).splitlines()
    assert lines == [
        "| JDR (%) | root | nose | upper neck | mean |",
        "|---|---|---|---|---|",
        "| fused | 50.0 | - | 100.0 | 75.0 |",
        "| single | - | - | - | - |",
    ]


def test_summary():
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
def test_accuracy_has_half_a_tenth_of_the_map_as_threshold(point, found):
    accuracy = heatmap_accuracy(heatmap_hits(one_hot(point), one_hot((20, 10)), torch.ones(1, 1, 1, 1)))
    assert accuracy.item() == found


def test_accuracy_is_the_mean_over_joints_that_occur():
    target = one_hot((5, 5), (6, 6), (7, 7)).repeat(2, 2, 1, 1, 1)
    prediction = target.clone()
    prediction[0, 0, 0] = one_hot((30, 5))[0, 0, 0]  # one miss of 4
    prediction[:, :, 2] = 0  # would miss, but counts nowhere
    weight = torch.ones(2, 2, 3, 1)
    weight[:, :, 2] = 0
    weight[0, :, 1] = 0
    assert heatmap_accuracy(heatmap_hits(prediction, target, weight)).item() == pytest.approx((0.75 + 1) / 2)
    assert heatmap_accuracy(heatmap_hits(prediction, target, weight * 0)).item() == 0
