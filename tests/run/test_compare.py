from __future__ import annotations

from cvf_tests.table_results import write_2d


def test_compare_prints_and_writes_the_table(run_script, tmp_path):
    for name, rate in {"a": 0.5, "b": 0.75}.items():
        write_2d(tmp_path / name, {"all": {"root": rate}})
    done = run_script("compare.py", tmp_path / "a", tmp_path / "b", "--seeds", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "75.0" in done.out
    assert "75.0" in (tmp_path / "out/overview.md").read_text()


def test_compare_missing_run_is_one_line(run_script, tmp_path):
    done = run_script("compare.py", tmp_path / "absent")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "expected a run directory" in done.err
