"""Plan of the synthetic protocol, and results of two seeds."""

from __future__ import annotations

import shutil

import pytest
from cvf_tests.table_results import write_2d, write_3d

from lib.core.experiments.plan import make_plan
from lib.core.experiments.protocols import synthetic_protocol
from lib.core.experiments.seed_results import SeedResults
from lib.utils.joints import H36M_17, MPII_16

RATES = {"single": 0.80, "sum": 0.82, "max": 0.84, "fusion": 0.90, "adaptive": 0.92}
ERRORS = {
    "triangulate, equal weights": 65.0,
    "triangulate": 60.0,
    "triangulate_robust": 50.0,
    "rpsm": 40.0,
    "rpsm+refine": 30.0,
    "rpsm+learned": 27.0,
    "rpsm, depth 0": 90.0,
    "rpsm, depth 1": 70.0,
    "rpsm, depth 3": 45.0,
    "rpsm, depth 5": 40.5,
}


@pytest.fixture(scope="session")
def plan_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture(scope="session")
def protocol(plan_folder):
    return synthetic_protocol(plan_folder / "data", plan_folder / "out")


@pytest.fixture(scope="session")
def session_plan(protocol, plan_folder):
    return make_plan(protocol, (0, 1), plan_folder / "out")


@pytest.fixture
def plan(session_plan, plan_folder):
    """The plan, which takes seconds to make; its results are removed after each test."""
    yield session_plan
    shutil.rmtree(plan_folder / "out", ignore_errors=True)


@pytest.fixture
def written(plan):
    """Results of seeds 0 and 1 of all rows; seed 1 is one point and one mm better."""
    for row, seeds in plan.results.items():
        for seed, directory in seeds.items():
            rate = RATES[row.split("/")[1]] + 0.01 * seed
            rates = {"all": rate, "occluded": rate - 0.2, "visible": rate + 0.05}
            write_2d(directory, {where: dict.fromkeys(H36M_17.names, value) for where, value in rates.items()})
            errors = {}
            for method, error in ERRORS.items():
                value = error - seed + 20 * row.startswith("mpii")
                per_joint = {name: value if name in MPII_16.names else 1000.0 for name in H36M_17.names}
                errors[method] = {"frames": value, "per_action": {"Eating": error}, "per_joint": per_joint}
            write_3d(directory, errors, num_frames=7)
    return SeedResults(plan.results, (0, 1))
