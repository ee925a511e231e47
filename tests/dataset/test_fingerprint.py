from __future__ import annotations

import shutil

import numpy as np
import pytest

from lib.core.build_data import build_dataset
from lib.core.config_io import load_config
from lib.dataset.data_sets import annotation_file
from lib.dataset.fingerprint import data_fingerprint
from lib.dataset.storage.memmap_writer import save_compact


@pytest.fixture
def identity(tiny_yaml):
    """identity(root, *opts) of the training data."""
    return lambda root, *opts: data_fingerprint(build_dataset(load_config(tiny_yaml(root), opts), root, True))


def test_data_fingerprint_moved_and_converted(tiny_root, tiny_config, identity, tmp_path):
    root = tiny_root(formats=("jpg", "zip"))
    expected = identity(root, "DATASET.TRAIN_DATASET", "mixed")
    assert expected["groups"] == 3 + 2
    moved = tmp_path / "elsewhere/data"
    shutil.copytree(root, moved)
    config = tiny_config(moved)
    file = annotation_file("multiview_h36m", config.DATASET, moved, "train", True)
    save_compact(file.read(), file)
    zipped = ("DATASET.TRAIN_DATASET", "mixed", "DATASET.DATA_FORMAT", "zip")
    assert identity(moved, *zipped) == expected
    file.path.unlink()  # the arrays alone
    assert identity(moved, *zipped) == expected


def _another_joint(records):
    records[5]["joints_2d"] = records[5]["joints_2d"] + np.eye(17, 2)


def _another_visibility(records):
    records[5]["joints_vis"] = 1 - np.eye(17, 3)


def _another_box(records):
    records[5]["center"] = records[5]["center"] + 1


def _another_image(records):
    records[5]["image"] = records[5]["image"].replace(".jpg", "_.jpg")


@pytest.mark.parametrize("edit", [_another_joint, _another_visibility, _another_box, _another_image])
def test_data_fingerprint_changed_records(edit, tiny_root, identity):
    plain = identity(tiny_root(mpii=0))
    other = identity(tiny_root(mpii=0, edit=edit))
    assert plain["groups"] == other["groups"] == 3
    assert plain["digest"] != other["digest"]


def test_data_fingerprint_other_groups(tiny_root, identity):
    root = tiny_root(frames=4)
    opts = [
        (),
        ("DATASET.TRAIN_STEP", "2"),
        ("DATASET.CAMERAS", "[0, 1]"),
        ("DATASET.CAMERAS", "[1, 0]"),
        ("DATASET.TRAIN_DATASET", "h36m"),
        ("DATASET.TRAIN_DATASET", "mixed"),
        ("DATASET.TRAIN_DATASET", "multiview_mpii"),
        ("DATASET.TRAIN_DATASET", "mpii"),
    ]
    found = [identity(root, *one) for one in opts]
    assert [one["groups"] for one in found] == [4, 2, 4, 4, 4, 6, 2, 8]
    assert len({one["digest"] for one in found}) == len(opts)
    assert identity(root) == found[0]
