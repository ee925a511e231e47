"""TensorFlow Lite networks on the CPU, run by the optional package ai-edge-litert."""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from lib.utils.errors import InputError, brief
from lib.utils.parallel.processes import usable_processors

PACKAGE = "ai-edge-litert"


class TfliteNetwork:
    """A network with one input, run on batches. Not for several threads at a time.

    Attributes:
        input_shape: shape of one input, without the batch.
        path: its file.
    """

    def __init__(self, path: str | os.PathLike, num_threads: int | None = None, advice: str = "check the path") -> None:
        """
        Args:
            path: a .tflite file.
            num_threads: threads per batch; None = number of usable processors.
            advice: what to do if the file is missing, for the error message.

        Raises:
            InputError: the package or the file is missing, or the file is no network.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{path}: no such network; {advice}")
        threads = num_threads or usable_processors()
        try:
            self._interpreter = _interpreter_class()(str(path), num_threads=threads)
        except ValueError as error:
            raise InputError(f"{path}: expected a TensorFlow Lite network ({brief(error)})") from None
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = {one["name"]: one["index"] for one in self._interpreter.get_output_details()}
        self.input_shape = tuple(self._input["shape"][1:].tolist())
        self._batch = 0  # inputs that memory is allocated for

    def __call__(self, inputs: np.ndarray, *names: str) -> list[np.ndarray]:
        """Run the network on inputs (B, *input_shape) float32, and return copies of the outputs with these names.

        Raises:
            InputError: the network has no such output, so its file is another network.
        """
        if len(inputs) != self._batch:
            self._batch = len(inputs)
            self._interpreter.resize_tensor_input(self._input["index"], inputs.shape)
            self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(inputs, np.float32))
        self._interpreter.invoke()
        missing = [name for name in names if name not in self._outputs]
        if missing:
            raise InputError(
                f"{self.path}: expected a network with output {missing[0]}, received {', '.join(self._outputs)}"
            )
        return [self._interpreter.get_tensor(self._outputs[name]) for name in names]


def _interpreter_class() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter
    except ImportError:
        raise InputError(f"the package {PACKAGE} is not installed; pip install -r requirements-demo.txt") from None
