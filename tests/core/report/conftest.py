import json

import numpy as np
import pytest
from cvf_tests.predictions import write_perfect_predictions, write_poses
from cvf_tests.table_results import write_2d

from lib.core.config_io import dump_config, load_config
from lib.core.report.run_poses import load_run_poses


@pytest.fixture
def make_run(tiny_root, tiny_config, tmp_path):
    """make_run(**options of tiny_root) returns (configuration, RunPoses, records of the annotation)."""

    def make(h36m_pickle, **options):
        root = tiny_root(mpii=0, **options)
        config = tiny_config(root)
        write_perfect_predictions(config, tmp_path / "run")
        write_poses(config, tmp_path / "run")
        return config, load_run_poses(config, tmp_path / "run", "poses3d.npz"), h36m_pickle(root, "validation")

    return make


@pytest.fixture
def write_run(tmp_path):
    """write_run(name, rate, error, *opts, poses=(F, J, 3)) -> run directory with 2D and 3D results."""
    (tmp_path / "a.yaml").write_text("")

    def write(name, rate=0.8, error=50.0, *opts, poses=None):
        directory = tmp_path / name
        write_2d(directory, {"all": {"root": rate}, "occluded": {"root": rate - 0.2}, "visible": {"root": rate}})
        joints = {"Eating": {"absolute": error}}
        entry = {"mpjpe": {"absolute": {"frames": error, "actions": error}}, "per_action": joints, "per_joint": joints}
        if poses is not None:
            entry["poses"] = "poses3d.npz"
            ids = np.array([["a"], ["b"], ["c"]])
            np.savez(directory / "poses3d.npz", pose_world=poses, gt_world=np.zeros_like(poses), image_ids=ids)
        (directory / "results_3d.json").write_text(json.dumps({"rpsm (numpy)": entry}))
        dump_config(load_config(tmp_path / "a.yaml", opts), directory / "config_train.yaml")
        return directory

    return write
