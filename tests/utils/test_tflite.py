from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lib.utils.errors import InputError
from lib.utils.tflite import TfliteNetwork


class Interpreter:
    """Stand-in for the package: a network that doubles its input, with the interface of TensorFlow Lite."""

    def __init__(self, path, num_threads):
        if Path(path).read_bytes() != b"network":
            raise ValueError("Model provided has model identifier")
        self.shape, self.allocations = (1, 2), 0

    def get_input_details(self):
        return [{"index": 7, "shape": np.array(self.shape)}]

    def get_output_details(self):
        return [{"index": 9, "name": "double"}]

    def resize_tensor_input(self, index, shape):
        assert index == 7
        self.shape, self.allocations = shape, self.allocations + 1

    def allocate_tensors(self):
        self.ready = self.shape

    def set_tensor(self, index, values):
        assert (values.shape, values.dtype) == (self.ready, np.float32)
        self.values = values

    def invoke(self):
        self.result = 2 * self.values

    def get_tensor(self, index):
        return {9: self.result}[index]


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", SimpleNamespace(Interpreter=Interpreter))
    file = tmp_path / "a.tflite"
    file.write_bytes(b"network")
    return file


def test_tflite_network_runs_batches(path):
    network = TfliteNetwork(path)
    assert network.input_shape == (2,)
    for size in (3, 3, 1):
        inputs = np.arange(2 * size, dtype=np.float32).reshape(size, 2)
        np.testing.assert_array_equal(network(inputs, "double")[0], 2 * inputs)
    assert network._interpreter.allocations == 2


def test_tflite_network_unusable_files_are_refused(path):
    with pytest.raises(InputError, match=r"expected a network with output Identity_3, received double"):
        TfliteNetwork(path)(np.zeros((1, 2)), "Identity_3")
    path.write_bytes(b"text")
    with pytest.raises(InputError, match=r"a\.tflite: expected a TensorFlow Lite network"):
        TfliteNetwork(path)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.tflite: no such network; fetch it"):
        TfliteNetwork(path, advice="fetch it")


def test_tflite_network_without_the_package_is_refused(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(InputError, match=r"ai-edge-litert is not installed; pip install -r requirements-demo\.txt"):
        TfliteNetwork(path)
