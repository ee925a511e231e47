"""Results of seeds -> tables, claims, charts and page."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.core.experiments.cell_records import fingerprints
from lib.core.experiments.charts import save_charts
from lib.core.experiments.paper_tables import Claim, depth_table, free_claims, rate_claims, rate_table
from lib.core.experiments.plan import DEPTHS_ROW, make_plan
from lib.core.experiments.protocols import config_protocol, synthetic_protocol
from lib.core.experiments.results_page import PageSettings, check_page, read_remarks, write_page
from lib.core.experiments.seed_results import SeedResults, SeedValues
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17, MPII_16

PUBLISHED = Path("experiments-local/mixed/resnet50/256_fusion.yaml")
RATES = {"single": 0.80, "sum": 0.82, "max": 0.84, "fusion": 0.90, "adaptive": 0.92}
ERRORS = {
    "triangulate, equal weights": 65.0,
    "triangulate": 60.0,
    "triangulate_robust": 50.0,
    "rpsm": 40.0,
    "rpsm+refine": 30.0,
    "rpsm, depth 0": 90.0,
    "rpsm, depth 1": 70.0,
    "rpsm, depth 3": 45.0,
    "rpsm, depth 5": 40.5,
}


@pytest.fixture
def plan(tmp_path):
    return make_plan(synthetic_protocol(tmp_path / "data", tmp_path / "out"), (0, 1), tmp_path / "out")


@pytest.fixture
def written(plan):
    """Results of seeds 0 and 1 of all rows; seed 1 is one point and one mm better."""
    for row, seeds in plan.results.items():
        for seed, directory in seeds.items():
            directory.mkdir(parents=True)
            rate = RATES[row.split("/")[1]] + 0.01 * seed
            names = {"": rate, ", occluded joints": rate - 0.2, ", visible joints": rate + 0.05}
            (directory / "results_2d.json").write_text(
                json.dumps(
                    {
                        "jdr": {
                            f"fused, crop threshold{where}": {
                                "mean": value,
                                "per_joint": dict.fromkeys(H36M_17.names, value),
                            }
                            for where, value in names.items()
                        }
                    }
                )
            )
            worse = 20 * row.startswith("mpii")
            (directory / "results_3d.json").write_text(
                json.dumps(
                    {
                        f"{method} (numpy)": {
                            "num_frames": 7,
                            "mpjpe": {"absolute": {"frames": error - seed + worse}},
                            "per_action": {"Eating": {"absolute": error}},
                            "per_joint": {
                                name: {"absolute": error - seed + worse if name in MPII_16.names else 1000.0}
                                for name in H36M_17.names
                            },
                        }
                        for method, error in ERRORS.items()
                    }
                )
            )
    return SeedResults(plan.results, (0, 1))


def test_values():
    both = SeedValues({0: 1.0, 1: 3.0})
    assert str(both) == "2.0 ± 1.4"
    assert str(SeedValues({0: 1.0})) == "1.0"
    assert str(SeedValues({})) == "-"
    assert both.minus(SeedValues({1: 1.0, 2: 5.0})).by_seed == {1: 2.0}


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ({0: 1.0, 1: 2.0}, "holds, +1.5 ± 0.7 points, 2 of 2 seeds; paper +3.0"),
        ({0: -1.0, 1: 0.0}, "**does not hold**, -0.5 ± 0.7 points, 0 of 2 seeds; paper +3.0"),
        ({0: -1.0, 1: 2.0}, "**undecided**, +0.5 ± 2.1 points, 1 of 2 seeds; paper +3.0"),
        ({}, "no figures yet, or none in this data"),
    ],
)
def test_claims(gain, words):
    assert Claim("A above B", SeedValues(gain), "points", 3.0).line() == f"- A above B: {words}"


def test_tables_show_what_the_files_hold(written):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in rate_table(written).splitlines()]
    fusion = next(row for row in rows if row[0] == "Fusion, H36M+MPII")
    assert fusion[1:] == ["90.5 ± 0.7"] * 8 + ["70.5 ± 0.7", "95.5 ± 0.7"]
    paper = next(row for row in rows if row[0] == "*paper:* Fusion, H36M+MPII")
    assert paper[1:8] == ["99.0", "98.1", "97.2", "99.8", "98.9", "95.1", "98.0"]  # as printed, and their mean
    assert all(": holds, " in claim.line() for claim in rate_claims(written))
    assert "| 89.5 ± 0.7 | 69.5 ± 0.7 | 44.5 ± 0.7 | 40.0 ± 0.7 | 39.5 ± 0.7 |" in depth_table(written)
    assert [": holds, " in claim.line() for claim in free_claims(written)] == [True, True, False, False]


def test_page_with_charts_and_remarks(written, plan, tmp_path):
    (tmp_path / "remarks.md").write_text("## intro\n\nOf two seeds.\n\n## depth\nDeeper is better.\n")
    settings = PageSettings(
        tmp_path / "RESULTS.md",
        tmp_path / "plots",
        "make experiments",
        "a machine",
        {"a": 7200.0},
        len(plan.cells),
        (0, 1),
        read_remarks(tmp_path / "remarks.md"),
    )
    write_page(written, synthetic_protocol(tmp_path / "data", tmp_path / "out"), settings)
    text = (tmp_path / "RESULTS.md").read_text()
    for words in (
        "`make experiments`",
        "2.0 hours in all, on a machine; seeds 0, 1.",
        "Of two seeds.",
        "Deeper is better",
        "Evaluated: 7 groups",
        "unseen rig, 8 views",
        f"{len(plan.cells) - 1} cells are not run yet",
    ):
        assert words in text
    for name in ("rates", "errors", "depth", "free", "difficulty"):
        assert f"](plots/{name}.png)" in text
        assert cv2.imread(str(tmp_path / f"plots/{name}.png")).std() > 5
    assert "fewer seeds" not in text


def test_a_page_of_more_cells_or_with_remarks_is_not_replaced(written, plan, tmp_path):
    path = tmp_path / "RESULTS.md"
    command = "python run/experiments/tables.py --remarks texts.md --seeds 0 1"
    settings = PageSettings(path, tmp_path / "plots", command, "x", {"a": 1.0, "b": 1.0}, len(plan.cells), (0, 1), {})
    check_page(path, 0, None)  # there is none
    write_page(written, synthetic_protocol(tmp_path / "data", tmp_path / "out"), settings)
    check_page(path, 2, Path("texts.md"))
    with pytest.raises(InputError, match="is of 2 cells, the new page would be of 1; name another --page"):
        check_page(path, 1, Path("texts.md"))
    with pytest.raises(InputError, match=r"has the texts of texts\.md; name them with --remarks"):
        check_page(path, 2, None)
    check_page(Path("RESULTS.md"), 119, Path("experiments-local/synthetic/remarks.md"))  # the committed one


def test_charts_show_the_results(written, plan, tmp_path):
    """Other results, other pictures; nothing to show, no picture."""
    sets = synthetic_protocol(tmp_path / "data", tmp_path / "out").test_sets
    both = save_charts(written, sets, tmp_path / "both")
    first = save_charts(SeedResults(plan.results, (0,)), sets, tmp_path / "first")
    assert set(both) == set(first) == {"rates", "errors", "depth", "free", "difficulty"}
    for name in both:
        pictures = [cv2.imread(str(paths[name])) for paths in (both, first)]
        assert pictures[0].shape == pictures[1].shape
        assert (pictures[0] != pictures[1]).any()
    assert save_charts(SeedResults(plan.results, (7,)), sets, tmp_path / "none") == {}


def test_rows_of_fewer_seeds_are_named(written, plan, tmp_path):
    (plan.results["mixed/sum"][1] / "results_2d.json").unlink()
    assert written.incomplete() == {"mixed/sum": (1,)}
    settings = PageSettings(tmp_path / "R.md", tmp_path / "plots", "x", "y", {}, len(plan.cells), (0, 1), {})
    write_page(written, synthetic_protocol(tmp_path / "data", tmp_path / "out"), settings)
    assert "**Rows of fewer seeds than others: without seed 1: mixed/sum.**" in (tmp_path / "R.md").read_text()


def test_a_page_without_results_says_so(plan, tmp_path):
    settings = PageSettings(tmp_path / "RESULTS.md", tmp_path / "plots", "x", "y", {}, len(plan.cells), (0,), {})
    write_page(SeedResults(plan.results, (0,)), synthetic_protocol(tmp_path / "data", tmp_path / "out"), settings)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "Fusion above Single: no figures yet" in text
    assert ".png" not in text


@pytest.mark.parametrize("text", ["## other\nx", "depth: 3", "## depth 3", "\xff"])
def test_remarks_that_do_not_fit(text, tmp_path):
    (tmp_path / "r.md").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"r\.md"):
        read_remarks(tmp_path / "r.md")


def test_plans(plan, tmp_path):
    names = [cell.name for cell in plan.cells]
    assert len(names) == len(set(names))
    trainings = [cell for cell in plan.cells if cell.name.startswith("seed1/") and cell.name.endswith("/train")]
    assert len(trainings) == 10
    for cell in trainings:
        words = " ".join(cell.commands[0])
        assert "SEED 1" in words
        assert ("TRAIN.FREEZE_BACKBONE true" in words) == ("fusion" in cell.name or "adaptive" in cell.name)
    assert np.all(
        [
            directory.is_relative_to(tmp_path / "out/seed1")
            for row in plan.results.values()
            for seed, directory in row.items()
            if seed == 1
        ]
    )
    labels = next(cell for cell in plan.cells if cell.name == "seed1/free/labels")
    assert "--locations-only" in labels.commands[0]  # the maps of a training set may fill a disk
    assert "rig1_v3/fusion" not in plan.results
    assert DEPTHS_ROW in plan.results
    published = make_plan(config_protocol(PUBLISHED, tmp_path), (0,), tmp_path)
    fusion = next(cell for cell in published.cells if cell.name == "seed0/mixed/fusion/train")
    assert "TRAIN.FREEZE_BACKBONE" not in fusion.commands[0]
    assert not any(command[0].endswith("make_synthetic.py") for cell in published.cells for command in cell.commands)


def test_plans_are_of_human36m(tmp_path):
    cfg = Path("experiments-local/totalcapture/resnet50/256_fusion.yaml")
    with pytest.raises(InputError, match="expected multiview_h36m"):
        make_plan(config_protocol(cfg, tmp_path), (0,), tmp_path)


def digests(out, *opts, data=Path("data/experiments")):
    return fingerprints(make_plan(synthetic_protocol(data, out, opts), (0,), out).cells)


@pytest.mark.parametrize(
    "opts",
    [
        ("WORKERS", "1"),
        ("PRINT_FREQ", "7"),
        ("GPUS", "7"),
        ("DEBUG.DEBUG", "true"),
        ("CUDNN.BENCHMARK", "false"),
        ("TRAIN.CHECKPOINT_STEPS", "50"),
        ("TRAIN.VALIDATE_EVERY", "3"),
        ("TRAIN.KEEP_CHECKPOINTS", "2"),
        ("TEST.HEATMAP_COMPRESSION", "lzf"),
        ("LOG_DIR", "elsewhere"),
    ],
)
def test_cells_stay_the_same_where_the_results_do(opts):
    assert digests(Path("output/x"), *opts) == digests(Path("output/x"))


def test_cells_stay_the_same_wherever_they_lie(tmp_path):
    assert digests(tmp_path / "moved", data=tmp_path / "sets") == digests(Path("output/x"))
    plan = make_plan(config_protocol(PUBLISHED, Path("output/x")), (0,), Path("output/x"))
    there = ("DATASET.ROOT", str(Path("data").resolve()))
    out = Path("output/x").resolve()
    absolute = make_plan(config_protocol(PUBLISHED, out, there), (0,), out)
    assert fingerprints(absolute.cells) == fingerprints(plan.cells)


@pytest.mark.parametrize(
    "opts", [("TRAIN.LR", "0.5"), ("GPUS", "0,1,2"), ("TRAIN.AMP", "bf16"), ("DATASET.ROOT", "data/other")]
)
def test_cells_change_where_the_results_do(opts):
    out = Path("output/x")
    before, after = (
        fingerprints(make_plan(config_protocol(PUBLISHED, out, words), (0,), out).cells) for words in ((), opts)
    )
    assert not {name for name in before if before[name] == after[name]}


def test_data_sets_depend_on_how_they_are_made_alone():
    before = digests(Path("output/x"))
    after = digests(Path("output/x"), "TRAIN.LR", "0.5")
    kept = {name for name in before if before[name] == after[name]}
    assert kept == {name for name in before if name.startswith("data/") and name != "data/prior"}
