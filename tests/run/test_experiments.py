"""run/experiments/tables.py: a tiny experiment, its page, refusals."""

from __future__ import annotations

import pytest
from cvf_tests.table_results import page_tables

OPTS = ("TRAIN.END_EPOCH", "1", "TRAIN.LR_STEP", "[9]")


def test_tables_page_only_without_results_is_refused(tmp_path, run_script):
    page = tmp_path / "RESULTS.md"
    words = ("--out", tmp_path / "tables", "--page-only", "--seeds", 0)
    done = run_script("experiments/tables.py", *words, "--page", page)
    assert done.code == 2
    assert "no results yet of seeds 0" in done.err
    assert not page.exists()
    page.write_text("`python run/experiments/tables.py`\n\n7 cells (data sets, trainings, evaluations), 1 hour\n")
    done = run_script("experiments/tables.py", *words, "--page", page)
    assert "RESULTS.md: has 7 cells, the new page would have 0" in done.err
    assert "7 cells" in page.read_text()


def test_tables_repeated_opts_are_joined(tmp_path, run_script):
    twice = ("--opts", "TRAIN.LRR", 1, "--opts", "WORKERS", 1)
    done = run_script("experiments/tables.py", "--list", "--out", tmp_path, *twice)
    assert done.code == 2
    assert "unknown key 'TRAIN.LRR' in --opts" in done.err


def test_tables_repeated_seed_is_refused(tmp_path, run_script):
    done = run_script("experiments/tables.py", "--list", "--out", tmp_path, "--seeds", 0, 1, 0)
    assert done.code == 2
    assert done.err == "error: --seeds: expected each seed once, received 0 more than once\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--smoke",), "--smoke: expected --large resnet50 or resnet152 with it"),
        (("--large", "resnet50", "--minutes", 0), "--minutes: expected a time above 0, received 0"),
        (("--large", "resnet50", "--cfg", "a.yaml"), "--cfg and --large: expected one of them"),
    ],
)
def test_tables_flags_that_do_not_fit_are_refused(flags, message, run_script):
    done = run_script("experiments/tables.py", *flags)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


@pytest.mark.slow
def test_tables_all_cells_and_the_page(tiny_root, tiny_yaml, tmp_path, run_script):
    root = tiny_root()
    cfg = tiny_yaml(root)
    out = tmp_path / "tables"
    page = tmp_path / "RESULTS.md"
    words = ("--cfg", cfg, "--out", out, "--page", page, "--jobs", 2, "--seeds", 0, "--opts", *OPTS)
    done = run_script("experiments/tables.py", *words)
    assert done.code == 0, done.err
    text = page.read_text()
    means = page_tables(text)["Table 2: 3D, means"]
    assert len(means) == 8
    assert not any(cell == "-" for cells in means.values() for cell in cells)
    for title in ("Table 1", "Table 2", "Table 3", "Table 4", "without pose labels", "learned refinement better than"):
        assert title in text
    again = run_script("experiments/tables.py", *words, "--list")
    assert "not done" not in again.out
