"""Cells of the plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.core.config_io import load_config
from lib.core.experiments.plan import DEPTHS_ROW, EVALUATIONS_3D, make_plan
from lib.core.experiments.protocols import LARGE_CFGS, config_protocol, large_protocol
from lib.core.pose3d.results_3d import method_name
from lib.utils.errors import InputError

JOINT_KINDS = ("single", "fusion", "adaptive")
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


def test_make_plan_learned_refinement_is_trained_before_it_is_used(plan):
    """On single-view heatmaps of the groups, and not in section 7.5, which has no pose labels."""
    found = {}
    for cell in plan.cells:
        if cell.name.startswith("seed1/") and cell.name.endswith("/results"):
            scripts = [" ".join(command) for command in cell.commands]
            training = [index for index, words in enumerate(scripts) if "train_refinement.py" in words]
            use = [index for index, words in enumerate(scripts) if "--method rpsm+learned --opts" in words]
            assert len(training) == len(use)
            if use:
                assert training < use
                found[cell.name] = scripts
    assert sorted(found) == ["seed1/h36m/single/results", "seed1/mixed/single/results"]


def test_make_plan_config_protocol(tmp_path):
    plan = make_plan(config_protocol(MIXED, tmp_path), (0,), tmp_path)
    fusion = next(cell for cell in plan.cells if cell.name == "seed0/mixed/fusion/train")
    assert "TRAIN.FREEZE_BACKBONE" not in fusion.commands[0]
    assert not any(command[0].endswith("make_synthetic.py") for cell in plan.cells for command in cell.commands)


@pytest.mark.parametrize("network", LARGE_CFGS)
def test_make_plan_large_protocol(network, tmp_path):
    protocol = large_protocol(network, tmp_path / "data", tmp_path)
    cells = {cell.name: cell for cell in make_plan(protocol, (0,), tmp_path).cells}
    trainings = {name: " ".join(cell.commands[0]) for name, cell in cells.items() if name.endswith("/train")}
    rows = ["mpii/single", *(f"{data}/{kind}" for data in ("h36m", "mixed", "free") for kind in JOINT_KINDS)]
    assert sorted(trainings) == sorted(f"seed0/{row}/train" for row in (*rows, "rigs/single", "rigs/adaptive"))
    assert not any("TRAIN.FREEZE_BACKBONE" in words for words in trainings.values())
    assert all(f"DATASET.CROP_CACHE {tmp_path}/data/crops_{network}" in words for words in trainings.values())
    assert "data/crops" in cells["seed0/mixed/single/train"].needs
    flags = cells["data/rigs"].depends["make"]
    assert flags[flags.index("--rig") + 1 :] == ["0", "2", "3", "4"]
    people = flags[flags.index("--subjects") + 1 : flags.index("--groups-per-train")]
    groups = (len(people) - 2) * 15 * 2 * int(flags[flags.index("--groups-per-train") + 1])
    assert len(set(people) - {"9", "11"}) >= 20
    assert groups >= 16_000


def test_make_plan_large_protocol_smoke_has_all_rows(tmp_path):
    rows = [
        set(make_plan(large_protocol("resnet50", tmp_path / "data", tmp_path, (), smoke), (0,), tmp_path).results)
        for smoke in (False, True)
    ]
    assert rows[1] < rows[0]
    assert {row for row in rows[0] - rows[1] if "_v4/" not in row and "_v8/" not in row} == set()
    assert "rigs_rig1_v2/adaptive" in rows[1]
    assert not any(row.startswith("rigs") and row.endswith("/fusion") for row in rows[0])


def test_make_plan_other_data_sets_are_refused(tmp_path):
    cfg = Path("experiments-local/totalcapture/resnet50/256_fusion.yaml")
    with pytest.raises(InputError, match="expected multiview_h36m"):
        make_plan(config_protocol(cfg, tmp_path), (0,), tmp_path)


@pytest.mark.parametrize("name", EVALUATIONS_3D)
def test_evaluations_3d_names_equal_entries_of_results(name, tmp_path):
    (tmp_path / "a.yaml").write_text("")
    method, *opts = EVALUATIONS_3D[name]
    assert method_name(load_config(tmp_path / "a.yaml", opts), method) == name
