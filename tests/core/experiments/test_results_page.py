"""The results page, and the page of the repository against the generator."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from cvf_tests.scripts import REPOSITORY
from cvf_tests.table_results import page_tables, write_page_figures

from lib.core.experiments import results_page
from lib.core.experiments.results_page import PageSettings, check_page, write_page
from lib.core.experiments.seed_results import SeedResults
from lib.utils.errors import InputError


@pytest.fixture
def settings(plan, tmp_path):
    return PageSettings(
        path=tmp_path / "RESULTS.md",
        plots=tmp_path / "plots",
        command="make experiments",
        machine="a machine",
        seconds={"a": 7200.0},
        num_cells=len(plan.cells),
        seeds=(0, 1),
    )


CHARTS = ("rates", "errors", "depth", "free", "difficulty")


@pytest.fixture
def no_charts(monkeypatch):
    """Charts take seconds."""
    monkeypatch.setattr(results_page, "save_charts", lambda *_: {})


@pytest.fixture
def named_charts(monkeypatch):
    """The charts are named in the page, but not drawn."""

    def paths(results, sets, folder):
        return {name: folder / f"{name}.png" for name in CHARTS}

    monkeypatch.setattr(results_page, "save_charts", paths)


def test_write_page_with_charts_and_analysis(written, plan, protocol, settings, tmp_path):
    write_page(written, protocol, replace(settings, analysis=tmp_path / "docs/analysis.md"))
    text = settings.path.read_text()
    for words in (
        "`make experiments`",
        "2.0 hours in all, on a machine; seeds 0, 1.",
        "[analysis](docs/analysis.md)",
        "Evaluated: 7 groups",
        "unseen rig, 8 views",
        f"{len(plan.cells) - 1} cells are not run yet",
    ):
        assert words in text
    for name in CHARTS:
        assert f"](plots/{name}.png)" in text
        assert cv2.imread(str(tmp_path / f"plots/{name}.png")).std() > 5
    assert "fewer seeds" not in text


@pytest.mark.usefixtures("no_charts")
def test_write_page_rows_with_fewer_seeds_are_named(written, plan, protocol, settings):
    (plan.results["mixed/sum"][1] / "results_2d.json").unlink()
    write_page(written, protocol, settings)
    assert "**Rows with fewer seeds: without seed 1: mixed/sum.**" in settings.path.read_text()


def test_write_page_without_results(plan, protocol, settings):
    write_page(SeedResults(plan.results, (0,)), protocol, settings)
    text = settings.path.read_text()
    assert "Fusion above Single: no figures yet" in text
    assert ".png" not in text


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize("flag", ["--analysis", "--remarks"])
def test_check_page_refuses_fewer_cells_or_no_analysis(written, protocol, settings, flag):
    path = settings.path
    command = f"python run/experiments/tables.py {flag} texts.md --seeds 0 1"
    check_page(path, 0, None)  # there is none
    write_page(written, protocol, replace(settings, command=command, seconds={"a": 1.0, "b": 1.0}))
    check_page(path, 2, Path("texts.md"))
    with pytest.raises(InputError, match="has 2 cells, the new page would have 1; name another --page"):
        check_page(path, 1, Path("texts.md"))
    with pytest.raises(InputError, match=r"belongs to the analysis texts\.md; name it with --analysis"):
        check_page(path, 2, None)


@pytest.mark.usefixtures("named_charts")
def test_repository_page_equals_the_generators(plan, protocol, tmp_path):
    """Result files with the figures of the page's tables give the same page, except for rounding and the run."""
    text = (REPOSITORY / "RESULTS.md").read_text(encoding="utf-8")
    write_page_figures(text, plan.results, protocol.validation_text)
    settings = PageSettings(
        path=tmp_path / "RESULTS.md",
        plots=tmp_path / "docs/images/results",
        command="x",
        machine="x",
        seconds=dict.fromkeys((cell.name for cell in plan.cells), 180.0),
        num_cells=len(plan.cells),
        seeds=(0, 1),
        analysis=tmp_path / "docs/analysis.md",
    )
    write_page(SeedResults(plan.results, (0, 1)), protocol, settings)
    generated = settings.path.read_text(encoding="utf-8")

    def comparable(page: str) -> str:
        page = re.sub(r"^(`python|`x`).*$", "", page, flags=re.MULTILINE)
        page = re.sub(r"^(\d+ cells \(.*\)), .*$", r"\1", page, flags=re.MULTILINE)
        return re.sub(r", [+-][\d.]+ ± [\d.]+ (points|mm), ", r", \1, ", page)  # differences of rounded figures

    def without_table_1(page: str) -> str:
        return re.sub(r"## Table 1.*?!\[", "![", page, flags=re.DOTALL)  # its means are of rounded figures

    assert without_table_1(comparable(generated)) == without_table_1(comparable(text))
    first, other = (page_tables(page)["Table 1: 2D joints"] for page in (generated, text))
    assert first.keys() == other.keys()
    for label in first:
        means = [[float(cell.split(" ± ")[0]) for cell in row[label]] for row in (first, other)]
        assert means[0] == pytest.approx(means[1], abs=0.11)
    check_page(REPOSITORY / "RESULTS.md", len(plan.cells), Path("docs/analysis.md"))
