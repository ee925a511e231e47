"""Overview tables hold the numbers of the result files, joined over seeds and paired over frames."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest
from cvf_tests.table_results import write_2d

from lib.core.config_io import dump_config, load_config
from lib.core.report.run_overview import (
    RunGroup,
    check_comparable,
    group_by_settings,
    load_overview_runs,
    overview,
    paired_differences,
    paired_rate_differences,
    save_overview,
)
from lib.utils.errors import InputError
from lib.utils.files.digest import content_digest


@pytest.fixture
def write_run(tmp_path):
    """write_run(name, rate, error, *opts, poses=(F, J, 3)) -> run directory with 2D and 3D results."""
    (tmp_path / "a.yaml").write_text("")

    def write(name, rate=0.8, error=50.0, *opts, poses=None):
        directory = tmp_path / name
        write_2d(directory, {"all": {"root": rate}, "occluded": {"root": rate - 0.2}, "visible": {"root": rate}})
        joints = {"Eating": {"absolute": error}}
        entry = {"mpjpe": {"absolute": {"frames": error, "actions": error}}, "per_action": joints, "per_joint": joints}
        if poses is not None:
            entry["poses"] = "poses3d.npz"
            ids = np.array([["a"], ["b"], ["c"]])
            np.savez(directory / "poses3d.npz", pose_world=poses, gt_world=np.zeros_like(poses), image_ids=ids)
        (directory / "results_3d.json").write_text(json.dumps({"rpsm (numpy)": entry}))
        dump_config(load_config(tmp_path / "a.yaml", opts), directory / "config_train.yaml")
        return directory

    return write


def table(text, number=0):
    """Return the cells of the rows below the header of a Markdown table."""
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[number].splitlines()]


def singles(runs):
    return [RunGroup(run.name, (run,)) for run in runs]


def test_overview_has_the_values_of_each_run(write_run):
    runs = load_overview_runs([write_run("first", 0.8, 50.0), write_run("second", 0.9, 40.0)])
    header, _, *rows = table(overview(singles(runs)))
    assert header == ["run", "fused (%)", "fused, occluded (%)", "rpsm (mm)"]
    assert rows == [["first", "80.0", "60.0", "50.0"], ["second", "90.0", "70.0", "40.0"]]


def test_overview_says_how_the_weights_were_selected(write_run):
    directories = [write_run(name) for name in ("first", "second", "third")]
    for directory, selection in zip(directories, ("last epoch", "best epoch on A", "last epoch"), strict=True):
        path = directory / "results_2d.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "selection": selection}))
    notes = overview(singles(load_overview_runs([*directories, write_run("older")]))).splitlines()[-2:]
    assert notes == ["- Weights of first, third: last epoch.", "- Weights of second: best epoch on A."]


def test_overview_run_without_3d_results_has_empty_cells_and_no_empty_column(write_run):
    directory = write_run("first")
    (directory / "results_3d.json").unlink()
    header, _, *rows = table(overview(singles(load_overview_runs([directory]))))
    assert header == ["run", "fused (%)", "fused, occluded (%)"]
    _, _, *rows = table(overview(singles(load_overview_runs([directory, write_run("second")]))))
    assert [row[-1] for row in rows] == ["-", "50.0"]


def test_group_by_settings_joins_runs_that_differ_in_the_seed(write_run):
    directories = [
        write_run("a0", 0.8, 50.0),
        write_run("a1", 0.9, 52.0, "SEED", "1", "WORKERS", "3"),
        write_run("b0", 0.7, 60.0, "TRAIN.LR", "0.5"),
    ]
    groups = group_by_settings(load_overview_runs(directories))
    assert [group.name for group in groups] == ["a0 (seeds 0, 1)", "b0"]
    _, _, *rows = table(overview(groups))
    assert rows[0][1:] == ["85.0 ± 7.1", "65.0 ± 7.1", "51.0 ± 1.4"]
    assert rows[1][1:] == ["70.0", "50.0", "60.0"]


def test_paired_differences_interval_is_over_frames(write_run):
    first, second = np.zeros((3, 1, 3)), np.zeros((3, 1, 3))
    first[:, 0, 0] = [10.0, 20.0, 60.0]
    second[:, 0, 0] = [11.0, 22.0, 63.0]  # differences 1, 2, 3: mean 2, standard deviation 1
    runs = load_overview_runs([write_run("a", poses=first), write_run("b", poses=second)])
    half = 1.96 / 3**0.5
    expected = ["b", "rpsm", "+2.0", f"{2 - half:+.1f} to {2 + half:+.1f}", 3]
    assert paired_differences(singles(runs)) == [expected]


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
    assert paired_differences(singles(load_overview_runs([directories[0], other]))) == []


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
    ((name, heatmaps, mean, interval, images),) = paired_rate_differences(singles(load_overview_runs(directories)))
    assert (name, heatmaps, mean, images) == ("b", "fused", "+50.0", 4)
    shares = 100 * 4 * np.array([1 / 2, 1 / 4, 0, -1 / 4 + 1 / 2]) / 2  # of the images
    half = 1.96 * shares.std(ddof=1) / 2
    assert interval == f"{50 - half:+.1f} to {50 + half:+.1f}"
    assert "points of JDR" in overview(singles(load_overview_runs(directories)))
    paths[1].write_bytes(paths[0].read_bytes())  # not of these results
    assert paired_rate_differences(singles(load_overview_runs(directories))) == []


def test_paired_rate_differences_of_other_images_or_joints_are_not_given(write_run):
    directories = [write_run(name) for name in "abc"]
    add_hits(directories[0], [[1, 0]])
    add_hits(directories[1], [[1, 0]], truth="other")
    add_hits(directories[2], [[1, -1]])
    assert paired_rate_differences(singles(load_overview_runs(directories))) == []


def test_overview_paper_rows_only_where_asked_for(write_run):
    groups = singles(load_overview_runs([write_run("a")]))
    assert "Paper" not in overview(groups)
    assert ["Fusion, H36M+MPII, RPSM", "26.2"] in table(overview(groups, with_paper=True), 1)


def test_save_overview_writes_tables_and_charts(write_run, tmp_path):
    groups = singles(load_overview_runs([write_run("a"), write_run("b", 0.5)]))
    files = save_overview(tmp_path / "out", groups, "text")
    assert [file.name for file in files] == ["overview.md", "overview.csv", "overview_2d.png", "overview_3d.png"]
    with (tmp_path / "out/overview.csv").open() as file:
        rows = {(row["run"], row["item"]): float(row["value"]) for row in csv.DictReader(file)}
    assert rows["b", "fused, crop threshold"] == 50.0
    assert rows["a", "rpsm (numpy)"] == 50.0
    assert cv2.imread(str(files[2])).std() > 5


def test_check_comparable_other_data_is_named(write_run):
    runs = load_overview_runs([write_run("a"), write_run("b", 0.8, 50.0, "DATASET.TEST_STEP", "7"), write_run("c")])
    assert check_comparable(runs[::2]) == []
    assert check_comparable(runs[:2]) == ["a and b were evaluated on different data (DATASET.TEST_STEP)"]


def test_overview_of_runs_with_different_thresholds_has_the_crop_threshold(write_run):
    directory, other = write_run("a"), write_run("b", 0.9)
    path = other / "results_2d.json"
    path.write_text(path.read_text().replace('"fused, crop', '"fused, published', 1))
    content = json.loads(path.read_text())
    content["jdr"]["fused, crop threshold"] = {"mean": 0.25}
    path.write_text(json.dumps(content | {"num_images": 12}))
    runs = load_overview_runs([directory, other])
    _, _, *rows = table(overview(singles(runs)))
    assert [row[1] for row in rows] == ["80.0", "25.0"]
    assert check_comparable(runs) == ["b: 12 images; a rate over fewer than 100 images is imprecise"]


@pytest.mark.parametrize("content", [None, "{}", '{"jdr": {"fused": 1}}', "no json"])
def test_load_overview_runs_without_usable_results_is_refused(tmp_path, content):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run/results_2d.json").write_text(content)
    with pytest.raises(InputError, match=r"results_2d\.json"):
        load_overview_runs([tmp_path / "run"])


def test_load_overview_runs_include_evaluations_with_the_seed_of_the_run(write_run, tmp_path):
    for seed in (0, 1):
        directory = write_run(f"a{seed}", 0.8, 50.0 + seed, "SEED", str(seed))
        place = f"a{seed}/evaluations/fusion=epipolar_max"
        other = write_run(place, 0.9, 40.0 + seed)
        (other / "config_train.yaml").unlink()
        opts = ["NETWORK.FUSION", "epipolar_max"]  # without the seed of the training
        dump_config(load_config(tmp_path / "a.yaml", opts), other / "config_valid.yaml")
        for place in (directory, other):
            name = "learned" if place == directory else "epipolar_max"
            content = json.loads((place / "results_2d.json").read_text())
            (place / "results_2d.json").write_text(json.dumps({**content, "fusion": name}))
    runs = load_overview_runs([tmp_path / "a0", tmp_path / "a1"])
    names = [f"a{seed} ({fusion})" for seed in (0, 1) for fusion in ("learned", "epipolar_max")]
    assert [run.name for run in runs] == names
    groups = group_by_settings(runs)
    assert [group.name for group in groups] == ["a0 (learned) (seeds 0, 1)", "a0 (epipolar_max) (seeds 0, 1)"]
    _, _, *rows = table(overview(groups))
    assert [row[-1] for row in rows] == ["50.5 ± 0.7", "40.5 ± 0.7"]
    assert [run.name for run in load_overview_runs([other])] == ["a1 (epipolar_max)"]


def test_check_comparable_names_outdated_results(write_run, tmp_path):
    run = write_run("run")
    weights = tmp_path / "model_best.pth.tar"
    weights.write_bytes(b"new")
    content = json.loads((run / "results_2d.json").read_text())
    for checkpoint, count in [(content_digest(weights), 0), ("older", 1)]:
        changed = {**content, "weights": str(weights), "checkpoint": checkpoint}
        (run / "results_2d.json").write_text(json.dumps(changed))
        notes = check_comparable(load_overview_runs([run]))
        assert sum("model_best.pth.tar has changed since the 2D results" in note for note in notes) == count


def test_overview_notes_fit_the_columns(write_run):
    run = write_run("run")
    (run / "results_3d.json").unlink()
    text = overview(singles(load_overview_runs([run])))
    assert "Columns in %" in text
    assert "Columns in mm" not in text
    assert "Intervals" not in text
