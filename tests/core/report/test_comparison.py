"""Comparison of runs with each other and with the paper."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from lib.core.pose3d.metrics_3d import summarize
from lib.core.report.comparison import comparison, load_results, load_runs, save_comparison
from lib.utils.errors import InputError
from lib.utils.files.json_file import write_json


def results_of(offset_mm, actions=(2, 14), joints=("root", "knee", "foot")):
    """Results of poses whose joints, except the root, are `offset_mm` off."""
    gt = np.random.default_rng(0).normal(0, 300, (len(actions), len(joints), 3))
    pose = gt + [0, 0, offset_mm] * (np.arange(len(joints)) > 0)[:, None]
    settings = {"root_source": "triangulated", "limb_length_source": "prior"}
    return {**settings, **summarize(pose, gt, np.array(actions), joints)}


@pytest.fixture
def run(tmp_path):
    """run("name", method=results, ...) writes and returns a run directory."""

    def make(name, **methods):
        write_json(tmp_path / name / "results_3d.json", methods)
        return tmp_path / name

    return make


def table(text, heading):
    """Rows of the table under a heading: first cell -> {column -> cell}."""
    lines = text.split(f"## {heading}\n\n")[1].split("\n\n")[0].splitlines()
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


def test_comparison_two_runs_and_paper(run):
    rows = load_runs([run("a", rpsm=results_of(30.0), psm=results_of(60.0)), run("b", rpsm=results_of(90.0, (2, 3)))])
    assert [row.label for row in rows] == ["a: rpsm", "a: psm", "b: rpsm"]
    text = comparison(rows)
    means = table(text, "Means")
    assert len(means) == 3 + 8 + 4
    assert means["a: psm"]["mean over frames"] == "40.0"  # 0, 60, 60
    assert (means["b: rpsm"]["median"], means["b: rpsm"]["PCK@150 (%)"]) == ("90.0", "100.0")
    assert means["a: rpsm"]["limbs"] == "prior"
    assert means["paper: Fusion, H36M+MPII, RPSM"]["mean over frames"] == "26.2"
    assert means["paper: Fusion, H36M+MPII, RPSM"]["over actions"] == "26.1"  # 391.50 / 15, worked by hand
    assert means["paper: Fusion, H36M+MPII, recursion depth 0"]["mean over frames"] == "77.3"
    actions = table(text, "Per action")
    assert (actions["a: rpsm"]["Walk"], actions["a: rpsm"]["Disc"], actions["b: rpsm"]["Disc"]) == ("20.0", "-", "60.0")
    assert actions["paper: Single, H36M, RPSM"]["Sit"] == "245.5"
    assert list(actions["a: rpsm"])[:3] == ["Dir", "Disc", "Eat"]
    assert table(text, "Per joint")["knee"] == {"a: rpsm": "30.0", "a: psm": "60.0", "b: rpsm": "90.0"}
    assert "Human3.6M" in text
    assert "shifted" in text


def test_comparison_other_actions_have_columns(run):
    text = comparison(load_runs([run("a", rpsm=results_of(30.0, (2, 40)))]))
    assert table(text, "Per action")["a: rpsm"]["action 40"] == "20.0"
    assert table(text, "Per action")["paper: Single, H36M, RPSM"]["action 40"] == "-"


def total_capture_results(offset_mm, **masks):
    parts = {name: {"all subjects": np.array(mask)} for name, mask in masks.items()}
    results = results_of(offset_mm)
    gt = np.zeros((2, 3, 3))
    pose = gt + [0, 0, offset_mm]
    return {
        **results,
        **summarize(pose, gt, np.array(["Walking 2", "Acting 3"]), ["root", "knee", "foot"], parts=parts),
    }


def test_comparison_total_capture_has_parts_and_paper_rows(run, tmp_path):
    masks = {"W2": [True, False], "FS3": [False] * 2, "A3": [False, True], "all": [True] * 2}
    paths = [run(name, rpsm=total_capture_results(mm, **masks)) for name, mm in (("a", 30.0), ("b", 50.0))]
    rows = load_runs(paths)
    text = comparison(rows)
    means = table(text, "Means")
    assert list(means)[2:] == ["paper: Single, Total Capture, RPSM", "paper: Fusion, Total Capture, RPSM"]
    assert [means[name]["mean over frames"] for name in list(means)[2:]] == ["41.0", "29.0"]
    assert list(table(text, "Per action")["a: rpsm"]) == ["Acting 3", "Walking 2", "Avg"]
    parts = table(text, "Per part")
    assert parts["W2, all subjects"] == {"a: rpsm": "30.0", "b: rpsm": "50.0"}
    assert parts["FS3, all subjects"] == {"a: rpsm": "-", "b: rpsm": "-"}
    assert "Human3.6M" not in text
    assert "are Total Capture" in text
    save_comparison(tmp_path / "report", rows)
    assert (tmp_path / "report/comparison.csv").read_text().splitlines()[-1] == (
        'paper,"Fusion, Total Capture, RPSM",all,all,absolute,mean,mm,29.0'
    )


def test_comparison_human36m_has_no_parts(run):
    text = comparison(load_runs([run("a", rpsm=results_of(30.0))]))
    assert "Per part" not in text
    assert "Total Capture" not in text


def test_save_comparison_writes_markdown_and_csv(run, tmp_path):
    rows = load_runs([run("a", rpsm=results_of(30.0)), run("b", rpsm=results_of(90.0))])
    save_comparison(tmp_path / "report", rows)
    assert (tmp_path / "report/comparison.md").read_text().endswith(f"{comparison(rows)}\n")
    with (tmp_path / "report/comparison.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["run"] for line in lines} == {"a", "b", "paper"}
    paper = [line for line in lines if line["run"] == "paper"]
    assert len(paper) == 8 * 16 + 4
    photo = next(line for line in paper if line["name"] == "TakingPhoto" and line["method"] == "Single, H36M, RPSM")
    assert float(photo["value"]) == 30.28
    assert sorted(entry.name for entry in (tmp_path / "report").iterdir()) == ["comparison.csv", "comparison.md"]


def test_load_runs_equal_names_and_repeated_runs(run):
    paths = [run("resnet/run", m=results_of(1.0)), run("hrnet/run", m=results_of(2.0))]
    rows = load_runs([*paths, paths[0] / "results_3d.json", paths[0] / ".." / "run"])
    assert [row.run for row in rows] == ["resnet/run", "hrnet/run"]


def test_load_runs_renamed_results_file(run):
    path = run("a", rpsm=results_of(30.0)) / "results_3d.json"
    assert load_runs([path.rename(path.with_name("old.json"))])[0].label == "old: rpsm"


def test_load_runs_directory_and_file_of_one_name(run):
    directory = run("a", rpsm=results_of(30.0))
    file = (run("b", rpsm=results_of(40.0)) / "results_3d.json").rename(directory.with_name("a.json"))
    other = (run("b", rpsm=results_of(50.0)) / "results_3d.json").rename(directory.with_name("a.txt"))
    assert [row.run for row in load_runs([directory, file, other])] == ["a", "a.json", "a.txt"]


def test_comparison_older_results_without_distribution(run):
    old = results_of(30.0)
    del old["distribution"], old["num_missing"]
    for entry in (*old["per_action"].values(), *old["per_joint"].values()):
        del entry["pck150"], entry["auc"]
    rows = load_runs([run("a", rpsm=old)])
    assert table(comparison(rows), "Means")["a: rpsm"]["median"] == "-"


def test_comparison_results_without_alignment(run, tmp_path):
    lean = results_of(30.0)
    del lean["mpjpe"]["pa"], lean["distribution"]
    for entry in (*lean["per_action"].values(), *lean["per_joint"].values()):
        del entry["pa"], entry["pck150"]["absolute"]
    rows = load_runs([run("a", rpsm=lean), run("b", rpsm=results_of(40.0))])
    assert table(comparison(rows), "Means")["a: rpsm"]["PA"] == "-"
    save_comparison(tmp_path / "report", rows)
    lines = (tmp_path / "report/comparison.csv").read_text().splitlines()
    knee = [line.split(",")[4:] for line in lines if line.startswith("a,rpsm,joint,knee,")]
    assert [line for line in knee if line[1] != "auc"] == [
        ["absolute", "mean", "mm", "30.0"],
        ["root_relative", "mean", "mm", "30.0"],
        ["root_relative", "pck150", "share", "1.0"],
        ["pa", "pck150", "share", "1.0"],
    ]


def test_comparison_different_numbers_of_frames_are_noted(run):
    paths = [run("a", m=results_of(1.0)), run("b", m=results_of(1.0, (2, 3, 4)))]
    assert "different numbers of frames (2, 3)" in comparison(load_runs(paths))
    assert "different numbers" not in comparison(load_runs(paths[:1]))


def test_load_runs_unusable_input_is_refused(run, tmp_path):
    good = run("a", rpsm=results_of(30.0))
    other = run("b", rpsm=results_of(30.0, joints=("root", "knee", "toe")))
    with pytest.raises(InputError, match=r"'b: rpsm' has other joints than 'a: rpsm': lacks foot, adds toe"):
        load_runs([good, other])
    with pytest.raises(InputError, match=r"nowhere: no such run directory or results file; run/pose3d/estimate\.py"):
        load_runs([good, tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no results_3d\.json in this directory"):
        load_results(tmp_path / "empty")
    wrong = [
        {"distribution": 5},
        {"distribution": {"pa": {"p50": [1]}}},
        {"per_part": ["W2"]},
        {"num_frames": [3]},
        {"per_joint": {"root": 3.0}},
        {"per_joint": {"root": {"absolute": 3.0, "auc": 0.5}}},
    ]
    spoilt = [json.dumps({"rpsm": json.loads((good / "results_3d.json").read_text())["rpsm"] | one}) for one in wrong]
    for content in (
        "[]",
        "{}",
        '{"rpsm": {"mpjpe": 3}}',
        '{"rpsm": null}',
        json.dumps({"perf": {"mean": 0.5}}),
        *spoilt,
    ):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InputError, match=r"bad\.json") as error:
            load_results(tmp_path / "bad.json")
        assert "\n" not in str(error.value)
