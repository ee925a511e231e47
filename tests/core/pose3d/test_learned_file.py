"""File of the learned refinement: it is complete, and for the right joints and heatmaps, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from easydict import EasyDict

from lib.core.evaluation2d.provenance import file_digest
from lib.core.pose3d.learned_file import learned_path, load_learned, save_learned
from lib.core.pose3d.train_refinement import untrained
from lib.multiviews.refinement.learned_refinement import LearnedRefinement
from lib.utils.errors import InputError

NAMES = ("root", "neck")
WEIGHTS, CHOICE = dict(untrained(NAMES).weights), dict(untrained(NAMES).choice)


def test_load_learned_without_run_directory(tmp_path):
    with pytest.raises(InputError, match="REFINE_LEARNED: expected the file of run/pose3d/train"):
        load_learned(config_of(), None, NAMES)
    save_learned(tmp_path / "a.npz", LearnedRefinement(WEIGHTS, NAMES, "none", choice=CHOICE))
    assert load_learned(config_of(tmp_path / "a.npz"), None, NAMES).fusion == "none"


def config_of(path: Path | str = "", fusion: str = "none") -> EasyDict:
    return EasyDict(
        PICT_STRUCT={"REFINE_LEARNED": str(path)},
        NETWORK={"FUSION": fusion, "AGGRE": False},
        BACKBONE_MODEL="pose_resnet",
        TEST={"MODEL_FILE": "", "STATE": "best"},
    )


def test_load_learned_returns_what_was_saved(tmp_path):
    path = learned_path(config_of(), tmp_path)
    assert path == tmp_path / "learned_refinement_none.npz"
    assert learned_path(config_of(), tmp_path / "evaluations" / "root=other") == path
    save_learned(path, LearnedRefinement(WEIGHTS, NAMES, "none", choice=CHOICE))
    found = load_learned(config_of(), tmp_path, NAMES)
    assert (found.joint_names, found.fusion) == (NAMES, "none")
    assert found.weights.keys() == WEIGHTS.keys()
    assert found.choice.keys() == CHOICE.keys()
    for given, loaded in ((WEIGHTS, found.weights), (CHOICE, found.choice)):
        for name, values in given.items():
            np.testing.assert_array_equal(loaded[name], values)


@pytest.mark.parametrize(
    ("change", "fusion", "message"),
    [
        ({"joint_names": np.array(["root", "head"])}, "none", "expected joints root, neck, received root, head"),
        ({}, "adaptive", "expected weights for NETWORK.FUSION adaptive, received none"),
        ({"input": np.ones((3, 96))}, "none", "the sizes of its weights do not fit .*; train it again"),
        ({"output_joint": np.ones((5, 3))}, "none", "the sizes of its weights do not fit .*; train it again"),
        ({"own": None}, "none", "it has no 'own'"),
        ({"choice_place": None}, "none", "it has no 'choice_place'; train it again"),
        ({"choice_place": np.ones((3, 128))}, "none", "the sizes of its weights do not fit .*; train it again"),
        ({"choice_joint": np.ones((1, 128))}, "none", "the sizes of its weights do not fit .*; train it again"),
    ],
)
def test_load_learned_unusable_file(tmp_path, change, fusion, message):
    words = {"joint_names": np.array(NAMES), "fusion": np.array("none"), "checkpoint": np.array("")}
    choice = {f"choice_{name}": values for name, values in CHOICE.items()}
    arrays = {**WEIGHTS, **choice, **words, **change}
    path = tmp_path / "a.npz"
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})
    with pytest.raises(InputError, match=message):
        load_learned(config_of(path, fusion), tmp_path, NAMES)


def test_load_learned_file_without_choice(tmp_path, caplog):
    """Files of older versions load; the joints are not chosen."""
    caplog.set_level("INFO")
    path = tmp_path / "a.npz"
    save_learned(path, LearnedRefinement(WEIGHTS, NAMES, "none"))
    found = load_learned(config_of(path), None, NAMES)
    assert found.choice == {}
    assert "without the choice between candidates" in caplog.text


def test_load_learned_other_network_is_logged(tmp_path, caplog):
    weights = tmp_path / "model_best.pth.tar"
    torch.save({"a": torch.zeros(3)}, weights)
    path = learned_path(config_of(), tmp_path)
    save_learned(path, LearnedRefinement(WEIGHTS, NAMES, "none", file_digest(weights), CHOICE))
    load_learned(config_of(), tmp_path, NAMES)
    assert not caplog.records
    torch.save({"a": torch.ones(3)}, weights)
    load_learned(config_of(), tmp_path, NAMES)
    assert "trained on the heatmaps of other weights than" in caplog.text


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
