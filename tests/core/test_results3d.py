"""Names and files of the 3D results."""

from __future__ import annotations

import pytest

from lib.core.config_io import load_config
from lib.core.results3d import default_poses_name, results_name
from lib.multiviews.kernels import NumpyKernel

TRUE = ("PICT_STRUCT.ROOT_SOURCE", "ground_truth", "PICT_STRUCT.LIMB_LENGTH_SOURCE", "ground_truth")


@pytest.mark.parametrize(("method", "opts", "name", "poses"), [
    ("rpsm", (), "rpsm", "poses3d"),
    ("rpsm", ("PICT_STRUCT.RECUR_DEPTH", "3", "TRIANGULATE.WEIGHTS", "equal"), "rpsm, depth 3", "poses3d_rpsm_depth_3"),
    ("rpsm+refine", TRUE, "rpsm+refine, true root, true limbs", "poses3d_rpsm+refine_true_root_true_limbs"),
    ("psm", TRUE, "psm, true root", "poses3d_psm_true_root"),
    ("triangulate", ("PICT_STRUCT.RECUR_DEPTH", "3", *TRUE), "triangulate", "poses3d_triangulate"),
    ("triangulate", ("TRIANGULATE.WEIGHTS", "equal"), "triangulate, equal weights",
     "poses3d_triangulate_equal_weights"),
    ("triangulate_robust", ("TRIANGULATE.WEIGHTS", "equal"), "triangulate_robust", "poses3d_triangulate_robust"),
])  # fmt: skip
def test_settings_that_matter_are_in_the_names(method, opts, name, poses, tmp_path):
    (tmp_path / "a.yaml").write_text("")
    config = load_config(tmp_path / "a.yaml", opts)
    assert results_name(config, method, NumpyKernel()) == f"{name} (numpy)"
    assert default_poses_name(config, method) == f"{poses}.npz"
