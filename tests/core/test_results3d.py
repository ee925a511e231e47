"""Names and files of the 3D results."""

from __future__ import annotations

import pytest

from lib.core.config_io import load_config
from lib.core.results3d import results_name
from lib.multiviews.kernels import NumpyKernel


@pytest.mark.parametrize(("method", "opts", "name"), [
    ("rpsm", (), "rpsm (numpy)"),
    ("rpsm", ("PICT_STRUCT.RECUR_DEPTH", "3", "TRIANGULATE.WEIGHTS", "equal"), "rpsm, depth 3 (numpy)"),
    ("triangulate", ("PICT_STRUCT.RECUR_DEPTH", "3"), "triangulate (numpy)"),
    ("triangulate", ("TRIANGULATE.WEIGHTS", "equal"), "triangulate, equal weights (numpy)"),
    ("triangulate_robust", ("TRIANGULATE.WEIGHTS", "equal"), "triangulate_robust (numpy)"),
])  # fmt: skip
def test_settings_that_matter_are_in_the_name(method, opts, name, tmp_path):
    (tmp_path / "a.yaml").write_text("")
    assert results_name(load_config(tmp_path / "a.yaml", opts), method, NumpyKernel()) == name
