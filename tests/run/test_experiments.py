"""run/experiments/tables.py: all cells of a tiny experiment, the page, going on, failures."""

from __future__ import annotations

import pytest

OPTS = ("TRAIN.END_EPOCH", "1", "TRAIN.LR_STEP", "[9]")


@pytest.mark.slow
def test_all_cells_and_the_page(tiny_root, tiny_yaml, tmp_path, run_script):
    root = tiny_root()
    cfg, out, page = tiny_yaml(root), tmp_path / "tables", tmp_path / "RESULTS.md"
    words = ("--cfg", cfg, "--out", out, "--page", page, "--jobs", 2, "--seeds", 0, "--opts", *OPTS)
    done = run_script("experiments/tables.py", *words)
    assert done.code == 0, done.err
    text = page.read_text()
    means = text.split("## Table 2")[1].split("*paper:*")[0].strip().splitlines()[4:]
    assert len(means) == 9  # and the beginning of the paper's first row
    assert not any(cell.strip() == "-" for line in means[:8] for cell in line.split("|"))
    for title in ("Table 1", "Table 2", "Table 3", "Table 4", "without pose labels"):
        assert title in text
    again = run_script("experiments/tables.py", *words, "--list")
    assert "not done" not in again.out
