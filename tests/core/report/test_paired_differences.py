"""Differences of two runs are paired over images and frames, and only where both have the same ones."""

from __future__ import annotations

import json

import numpy as np

from lib.core.report.compared_runs import group_by_settings, load_overview_runs, single_runs
from lib.core.report.paired_differences import paired_differences, paired_rate_differences
from lib.core.report.run_overview import overview
from lib.utils.files.digest import content_digest


def test_paired_differences_interval_is_over_frames(write_run):
    first, second = np.zeros((3, 1, 3)), np.zeros((3, 1, 3))
    first[:, 0, 0] = [10.0, 20.0, 60.0]
    second[:, 0, 0] = [11.0, 22.0, 63.0]  # differences 1, 2, 3: mean 2, standard deviation 1
    runs = load_overview_runs([write_run("a", poses=first), write_run("b", poses=second)])
    half = 1.96 / 3**0.5
    expected = ["b", "rpsm", "+2.0", f"{2 - half:+.1f} to {2 + half:+.1f}", 3]
    assert paired_differences(single_runs(runs)) == [expected]


def test_paired_differences_are_of_equal_seeds_and_equal_images(write_run):
    poses = {name: np.full((3, 1, 3), value) for name, value in {"a0": 1.0, "a1": 5.0, "b1": 6.0, "c": 2.0}.items()}
    directories = [
        write_run("a0", poses=poses["a0"]),
        write_run("a1", 0.8, 50.0, "SEED", "1", poses=poses["a1"]),
        write_run("b1", 0.8, 50.0, "SEED", "1", "TRAIN.LR", "0.5", poses=poses["b1"]),
        write_run("b2", 0.8, 50.0, "SEED", "2", "TRAIN.LR", "0.5"),
    ]
    (row,) = paired_differences(group_by_settings(load_overview_runs(directories)))
    assert row[2] == f"{3**0.5:+.1f}"  # b1 minus a1
    other = write_run("c", poses=poses["c"])
    np.savez(
        other / "poses3d.npz",
        pose_world=poses["c"],
        gt_world=np.zeros((3, 1, 3)),
        image_ids=np.array([["a"], ["b"], ["x"]]),
    )
    assert paired_differences(single_runs(load_overview_runs([directories[0], other]))) == []


def add_hits(directory, hits, truth="same"):
    path = directory / "hits_2d.npz"
    np.savez(path, rows=["fused, crop threshold"], hits=np.array([hits], np.int8))
    content = json.loads((directory / "results_2d.json").read_text())
    content["hits"] = {"digest": content_digest(path), "truth": truth}
    (directory / "results_2d.json").write_text(json.dumps(content))
    return path


def test_paired_rate_differences_mean_is_the_difference_of_the_rates(write_run):
    directories = [write_run("a"), write_run("b")]
    before = [[1, 0], [0, -1], [0, -1], [1, 0]]  # rates 2/4 and 0/2
    after = [[1, 1], [1, -1], [0, -1], [0, 1]]  # 2/4 and 2/2
    paths = [add_hits(*pair) for pair in zip(directories, (before, after), strict=True)]
    ((name, heatmaps, mean, interval, images),) = paired_rate_differences(single_runs(load_overview_runs(directories)))
    assert (name, heatmaps, mean, images) == ("b", "fused", "+50.0", 4)
    shares = 100 * 4 * np.array([1 / 2, 1 / 4, 0, -1 / 4 + 1 / 2]) / 2  # of the images
    half = 1.96 * shares.std(ddof=1) / 2
    assert interval == f"{50 - half:+.1f} to {50 + half:+.1f}"
    assert "points of JDR" in overview(single_runs(load_overview_runs(directories)))
    paths[1].write_bytes(paths[0].read_bytes())  # not of these results
    assert paired_rate_differences(single_runs(load_overview_runs(directories))) == []


def test_paired_rate_differences_of_other_images_or_joints_are_not_given(write_run):
    directories = [write_run(name) for name in "abc"]
    add_hits(directories[0], [[1, 0]])
    add_hits(directories[1], [[1, 0]], truth="other")
    add_hits(directories[2], [[1, -1]])
    assert paired_rate_differences(single_runs(load_overview_runs(directories))) == []
