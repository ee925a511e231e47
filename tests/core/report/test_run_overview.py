"""Overview tables hold the numbers of the result files, joined over seeds."""

from __future__ import annotations

import csv
import json

import cv2
import pytest

from lib.core.config_io import dump_config, load_config
from lib.core.report.compared_runs import group_by_settings, load_overview_runs, single_runs
from lib.core.report.run_overview import check_comparable, overview, save_overview
from lib.utils.errors import InputError
from lib.utils.files.digest import content_digest


def table(text, number=0):
    """Return the cells of the rows below the header of a Markdown table."""
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[number].splitlines()]


def test_overview_has_the_values_of_each_run(write_run):
    runs = load_overview_runs([write_run("first", 0.8, 50.0), write_run("second", 0.9, 40.0)])
    header, _, *rows = table(overview(single_runs(runs)))
    assert header == ["run", "fused (%)", "fused, occluded (%)", "rpsm (mm)"]
    assert rows == [["first", "80.0", "60.0", "50.0"], ["second", "90.0", "70.0", "40.0"]]


def test_overview_says_how_the_weights_were_selected(write_run):
    directories = [write_run(name) for name in ("first", "second", "third")]
    for directory, selection in zip(directories, ("last epoch", "best epoch on A", "last epoch"), strict=True):
        path = directory / "results_2d.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "selection": selection}))
    notes = overview(single_runs(load_overview_runs([*directories, write_run("older")]))).splitlines()[-2:]
    assert notes == ["- Weights of first, third: last epoch.", "- Weights of second: best epoch on A."]


def test_overview_run_without_3d_results_has_empty_cells_and_no_empty_column(write_run):
    directory = write_run("first")
    (directory / "results_3d.json").unlink()
    header, _, *rows = table(overview(single_runs(load_overview_runs([directory]))))
    assert header == ["run", "fused (%)", "fused, occluded (%)"]
    _, _, *rows = table(overview(single_runs(load_overview_runs([directory, write_run("second")]))))
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


def test_overview_paper_rows_only_where_asked_for(write_run):
    groups = single_runs(load_overview_runs([write_run("a")]))
    assert "Paper" not in overview(groups)
    assert ["Fusion, H36M+MPII, RPSM", "26.2"] in table(overview(groups, with_paper=True), 1)


def test_save_overview_writes_tables_and_charts(write_run, tmp_path):
    groups = single_runs(load_overview_runs([write_run("a"), write_run("b", 0.5)]))
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
    _, _, *rows = table(overview(single_runs(runs)))
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
    text = overview(single_runs(load_overview_runs([run])))
    assert "Columns in %" in text
    assert "Columns in mm" not in text
    assert "Intervals" not in text
