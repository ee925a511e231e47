"""The exported graph in onnxruntime against the network in torch."""

from __future__ import annotations

import json
import sys

import onnx
import pytest
import torch
from cvf_tests.small_networks import TWO_CONVOLUTIONS, small_config

from lib.core import onnx_export
from lib.core.build_model import build_model
from lib.core.onnx_export import check_onnx, example_inputs, export_onnx
from lib.models.onnx_graph import OnnxGraph
from lib.models.registry import BACKBONES
from lib.utils.errors import InputError

FUSIONS = ["none", "learned", "epipolar_max", "adaptive"]


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Builds a small network with a fusion and random weights; peaks are about 1."""
    monkeypatch.setitem(BACKBONES, "pose_resnet", TWO_CONVOLUTIONS)

    def build(fusion: str, num_views: int = 3):
        config = small_config(tmp_path, "pose_resnet", "NETWORK.FUSION", fusion, "NETWORK.INIT", "kaiming")
        torch.manual_seed(0)
        return build_model(config, num_views).eval(), config

    return build


@pytest.mark.parametrize("fusion", [*FUSIONS, "epipolar_sum"])
def test_onnx_graph_equals_the_network(make, fusion):
    model, config = make(fusion)
    inputs = example_inputs(model, config, 3, 2)
    with torch.no_grad():
        expected = onnx_export._run_torch(model, inputs)
        found = OnnxGraph(model)(*inputs.values())
    assert len(found) == len(expected) == (1 if fusion == "none" else 2)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", FUSIONS)
def test_export_onnx_equals_torch(make, tmp_path, fusion):
    model, config = make(fusion, 2)
    path = tmp_path / "network.onnx"
    export_onnx(model, config, path, 2)
    found = check_onnx(model, config, path, 2)
    assert set(found.difference) == ({"single_view"} if fusion == "none" else {"single_view", "fused"})
    assert max(found.difference.values()) < 1e-4
    content = onnx.load(path)
    names = [entry.name for entry in content.graph.input]
    has_cameras = fusion in ("epipolar_max", "adaptive")
    assert names == ["images", *(["R", "T", "f", "c", "k", "p", "to_heatmap"] if has_cameras else [])]
    metadata = {entry.key: json.loads(entry.value) for entry in content.metadata_props}
    assert metadata["heatmap_size"] == [16, 16]
    assert len(metadata["joints"]) == 20
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    with pytest.raises(InputError, match="differs from torch by"):
        check_onnx(model, config, path, 2)


def test_export_onnx_without_the_packages(make, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    model, config = make("none")
    with pytest.raises(InputError, match=r"requirements-onnx.txt"):
        export_onnx(model, config, tmp_path / "network.onnx", 2)
