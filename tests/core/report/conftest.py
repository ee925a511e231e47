import pytest
from cvf_tests.predictions import write_perfect_predictions, write_poses

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
