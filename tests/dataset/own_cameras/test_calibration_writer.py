from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
from cvf_tests.rig_files import write_toml

from lib.dataset.own_cameras.calibration_file import load_rig
from lib.dataset.own_cameras.calibration_writer import write_rig


def test_write_rig_is_read_again(tmp_path):
    rig = load_rig(write_toml(tmp_path / "given.toml"))
    rig = replace(rig, aliases={"left": ("GX01.mp4",)})
    write_rig(tmp_path / "written.toml", rig, {"sync_offset_frames": np.array([0.0, 1.5])})
    again = load_rig(tmp_path / "written.toml")
    assert again.names == rig.names
    assert again.aliases == rig.aliases
    np.testing.assert_array_equal(again.image_wh, rig.image_wh)
    for name, values in vars(rig.cameras).items():
        np.testing.assert_allclose(getattr(again.cameras, name), values, atol=1e-9)
    assert tomllib.loads((tmp_path / "written.toml").read_text())["metadata"]["sync_offset_frames"] == [0.0, 1.5]


def test_write_rig_names_and_numbers_that_json_writes_otherwise(tmp_path):
    rig = load_rig(write_toml(tmp_path / "given.toml"))
    names = ("\N{MOVIE CAMERA} 1", *rig.names[1:])
    rig = replace(rig, names=names, aliases={names[0]: ("GX01.mp4",)})
    write_rig(tmp_path / "written.toml", rig, {"offset": float("nan"), "limits": [float("-inf"), np.float64("inf")]})
    again = load_rig(tmp_path / "written.toml")
    assert again.names == names
    assert again.aliases == rig.aliases
    metadata = tomllib.loads((tmp_path / "written.toml").read_text(encoding="utf-8"))["metadata"]
    assert np.isnan(metadata["offset"])
    assert metadata["limits"] == [-np.inf, np.inf]
