"""Cells of the plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.core.config_io import load_config
from lib.core.experiments.plan import DEPTHS_ROW, EVALUATIONS_3D, make_plan
from lib.core.experiments.protocols import config_protocol
from lib.core.pose3d.results_3d import method_name
from lib.utils.errors import InputError

MIXED = Path("experiments-local/mixed/resnet50/256_fusion.yaml")


def test_make_plan_synthetic_protocol(plan, plan_folder):
    names = [cell.name for cell in plan.cells]
    assert len(names) == len(set(names))
    trainings = [cell for cell in plan.cells if cell.name.startswith("seed1/") and cell.name.endswith("/train")]
    assert len(trainings) == 10
    for cell in trainings:
        words = " ".join(cell.commands[0])
        assert "SEED 1" in words
        assert ("TRAIN.FREEZE_BACKBONE true" in words) == ("fusion" in cell.name or "adaptive" in cell.name)
    for seeds in plan.results.values():
        assert seeds[1].is_relative_to(plan_folder / "out/seed1")
    labels = next(cell for cell in plan.cells if cell.name == "seed1/free/labels")
    assert "--locations-only" in labels.commands[0]  # heatmaps of a training set may fill a disk
    assert "rig1_v3/fusion" not in plan.results
    assert DEPTHS_ROW in plan.results


def test_make_plan_config_protocol(tmp_path):
    plan = make_plan(config_protocol(MIXED, tmp_path), (0,), tmp_path)
    fusion = next(cell for cell in plan.cells if cell.name == "seed0/mixed/fusion/train")
    assert "TRAIN.FREEZE_BACKBONE" not in fusion.commands[0]
    assert not any(command[0].endswith("make_synthetic.py") for cell in plan.cells for command in cell.commands)


def test_make_plan_other_data_sets_are_refused(tmp_path):
    cfg = Path("experiments-local/totalcapture/resnet50/256_fusion.yaml")
    with pytest.raises(InputError, match="expected multiview_h36m"):
        make_plan(config_protocol(cfg, tmp_path), (0,), tmp_path)


@pytest.mark.parametrize("name", EVALUATIONS_3D)
def test_evaluations_3d_names_equal_entries_of_results(name, tmp_path):
    (tmp_path / "a.yaml").write_text("")
    method, *opts = EVALUATIONS_3D[name]
    assert method_name(load_config(tmp_path / "a.yaml", opts), method) == name
