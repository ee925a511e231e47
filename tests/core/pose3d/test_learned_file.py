"""File of the learned refinement: it is complete, and for the right joints and heatmaps, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from easydict import EasyDict

from lib.core.pose3d.learned_file import learned_path, load_learned, save_learned
from lib.multiviews.refinement.learned_refinement import NUM_INPUTS, LearnedRefinement
from lib.utils.errors import InputError

NAMES = ("root", "neck")
KEYS = ("mean", "scale", "joint", "hidden", "hidden_bias", "narrow", "body", "body_bias", "own", "others", "from_body")
WEIGHTS = {
    **{key: np.full((2, 2), number, np.float32) for number, key in enumerate(KEYS)},
    "input": np.ones((NUM_INPUTS, 4), np.float32),
    "combined_bias": np.zeros(4, np.float32),
    "output": np.zeros((4, 3), np.float32),
    "output_joint": np.zeros((2, 3), np.float32),
}


def test_load_learned_without_run_directory(tmp_path):
    with pytest.raises(InputError, match="REFINE_LEARNED: expected the file of run/pose3d/train"):
        load_learned(config_of(), None, NAMES)
    save_learned(tmp_path / "a.npz", LearnedRefinement(WEIGHTS, NAMES, "none"))
    assert load_learned(config_of(tmp_path / "a.npz"), None, NAMES).fusion == "none"


def config_of(path: Path | str = "", fusion: str = "none") -> EasyDict:
    return EasyDict(PICT_STRUCT={"REFINE_LEARNED": str(path)}, NETWORK={"FUSION": fusion, "AGGRE": False})


def test_load_learned_returns_what_was_saved(tmp_path):
    path = learned_path(config_of(), tmp_path)
    assert path == tmp_path / "learned_refinement_none.npz"
    assert learned_path(config_of(), tmp_path / "evaluations" / "root=other") == path
    save_learned(path, LearnedRefinement(WEIGHTS, NAMES, "none"))
    found = load_learned(config_of(), tmp_path, NAMES)
    assert (found.joint_names, found.fusion) == (NAMES, "none")
    assert found.weights.keys() == WEIGHTS.keys()
    for name, values in WEIGHTS.items():
        np.testing.assert_array_equal(found.weights[name], values)


@pytest.mark.parametrize(
    ("change", "fusion", "message"),
    [
        ({"joint_names": np.array(["root", "head"])}, "none", "expected joints root, neck, received root, head"),
        ({}, "adaptive", "expected weights for NETWORK.FUSION adaptive, received none"),
        ({"input": np.ones((3, 4))}, "none", f"expected {NUM_INPUTS} inputs, received 3; train it again"),
        ({"own": None}, "none", "it has no 'own'"),
    ],
)
def test_load_learned_unusable_file(tmp_path, change, fusion, message):
    arrays = {**WEIGHTS, "joint_names": np.array(NAMES), "fusion": np.array("none"), **change}
    path = tmp_path / "a.npz"
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})
    with pytest.raises(InputError, match=message):
        load_learned(config_of(path, fusion), tmp_path, NAMES)


def test_learned_path_other_suffix(tmp_path):
    with pytest.raises(InputError, match=r"REFINE_LEARNED: expected a \.npz file, received a\.pth"):
        learned_path(config_of("a.pth"), tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 damaged"])
def test_load_learned_missing_or_damaged_file(tmp_path, content):
    path = tmp_path / "a.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="no such file; run run/pose3d/train" if content is None else "not readable"):
        load_learned(config_of(path), tmp_path, NAMES)
