"""The code blocks of docs/extending.md: short, and complete as a module that the scripts can use."""

from __future__ import annotations

import importlib
import json
import re
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from cvf_tests.predictions import write_perfect_predictions
from cvf_tests.scripts import REPOSITORY
from cvf_tests.tiny_data import h36m_records, write_images

from lib.core.config_io import load_config
from lib.core.pose3d.methods import METHODS
from lib.dataset.data_sets import DATA_SETS
from lib.models.registry import BACKBONES, FUSIONS
from lib.multiviews.cameras import Cameras, camera_to_world

MAX_LINES = 40
RUN_DIRECTORY = "toy/multiview_toy_18/tiny"


def _blocks() -> list[str]:
    text = (REPOSITORY / "docs/extending.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def toys(tmp_path, monkeypatch) -> ModuleType:
    """The page's blocks as the imported module toys; the registries are restored afterwards."""
    registries = (BACKBONES, FUSIONS, DATA_SETS, METHODS)
    saved = [dict(registry) for registry in registries]
    (tmp_path / "toys.py").write_text("\n\n".join(_blocks()))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("toys")
    del sys.modules["toys"]
    for registry, entries in zip(registries, saved, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.fixture
def toy_yaml(toys, tiny_yaml, tmp_path):
    """An experiment with the toy backbone, fusion and data set; two subsets of three groups."""
    rng = np.random.default_rng(5)
    for subset in ("train", "validation"):
        records, files = h36m_records([1], 3, 4, rng)
        entries = []
        for record in records:
            camera = Cameras.from_records([record["camera"]])
            joints_world = camera_to_world(record["joints_3d"], camera[0])
            entries.append(
                {
                    "image": record["image"],
                    "frame": record["image_id"],
                    "view": record["camera_id"],
                    "camera": {key: np.asarray(value).tolist() for key, value in record["camera"].items()},
                    "joints_world": joints_world.tolist(),
                }
            )
        (tmp_path / "root/toy/annot").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"root/toy/annot/toy_{subset}.json").write_text(json.dumps(entries))
        write_images(tmp_path / "root/toy", files, ["jpg"])
    path = tiny_yaml(tmp_path / "root")
    values = yaml.safe_load(path.read_text())
    values |= {"BACKBONE_MODEL": "toy", "MODEL": "multiview_toy"}
    values["NETWORK"]["FUSION"] = "toy"
    values["DATASET"] |= {"TRAIN_DATASET": "toy", "TEST_DATASET": "toy"}
    path.write_text(yaml.safe_dump(values))
    return path


def test_blocks_are_short():
    lengths = [len(block.splitlines()) for block in _blocks()]
    assert len(lengths) == 4
    assert max(lengths) <= MAX_LINES


def test_toy_backbone_gives_heatmaps(toys):
    heatmaps = toys.ToyBackbone(20, 8)(torch.zeros(2, 3, 64, 64))
    assert heatmaps.shape == (2, 20, 16, 16)


def test_toy_fusion_mixes_the_views(toys):
    heatmaps = torch.stack([torch.zeros(20, 16, 16), torch.ones(20, 16, 16)])[None]
    fused = toys.ToyFusion()(heatmaps)
    torch.testing.assert_close(fused[0, :, 0, 0, 0], torch.tensor([0.05, 0.95]))


def test_toys_train_validate_and_estimate(toy_yaml, tmp_path, run_script):
    for script, options in (
        ("pose2d/train.py", ()),
        ("pose2d/valid.py", ()),
        ("pose3d/estimate.py", ("--method", "toy")),
    ):
        done = run_script(script, "--cfg", toy_yaml, *options)
        assert done.code == 0, done.err
    directory = tmp_path / "output" / RUN_DIRECTORY
    weights = torch.load(directory / "final_state.pth.tar", weights_only=True)
    assert weights["fusion.mix"] != pytest.approx(0.1)  # the fusion was trained
    poses = np.load(directory / "poses3d_toy.npz")["pose_world"]
    assert poses.shape == (3, 17, 3)
    assert np.isfinite(poses).all()


def test_toy_method_finds_exact_joints(toy_yaml, tmp_path, run_script):
    directory = tmp_path / "output" / RUN_DIRECTORY
    directory.mkdir(parents=True)
    write_perfect_predictions(load_config(toy_yaml, []), directory)
    done = run_script("pose3d/estimate.py", "--cfg", toy_yaml, "--method", "toy")
    assert done.code == 0, done.err
    stored = np.load(directory / "poses3d_toy.npz")
    errors_mm = np.linalg.norm(stored["pose_world"] - stored["gt_world"], axis=-1)
    assert np.median(errors_mm) < 5
