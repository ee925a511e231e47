"""Backbone and fusion as an ONNX file, compared with torch."""

import json
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.dataset.synthetic.camera_rig import make_rig
from lib.models.multiview_pose import MultiViewPose
from lib.models.onnx_graph import CAMERA_INPUTS, OnnxGraph
from lib.multiviews.cameras import Cameras, CropCameras
from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_path, make_directory
from lib.utils.joints import UNION_20
from lib.utils.transforms import IMAGE_MEAN, IMAGE_STD, SCALE_UNIT_PX, image_to_heatmap_affine

MAX_DIFFERENCE = 1e-4  # of a heatmap, whose peaks are 1
_OPSET = 20
_MAX_FILE_BYTES = 1_800_000_000  # an ONNX file holds less than 2 GB; larger weights are in a second file
_EXAMPLE_IMAGE_PX = 1000
_CROP_PX = 460.0  # side of the crops, 2 m at the distance of the example rig
_TIMED_RUNS = 5


@dataclass(frozen=True)
class OnnxCheck:
    """Comparison of an ONNX file with torch.

    Attributes:
        difference: output -> largest difference.
        torch_s, onnx_s: shortest of the timed runs, seconds.
    """

    difference: dict[str, float]
    torch_s: float
    onnx_s: float


def require_onnx() -> None:
    """Raise an InputError if a package for ONNX is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"expected the packages of requirements-onnx.txt, found no {error.name}; run pip install -r "
            "requirements-onnx.txt"
        ) from None


def example_inputs(model: MultiViewPose, config: Any, num_views: int, batch: int, seed: int = 0) -> dict[str, Tensor]:
    """Return random images, and cameras and crops of a rig like Human3.6M's, by the names of the graph's inputs.

    Args:
        model: the network.
        config: reads NETWORK.IMAGE_SIZE and HEATMAP_SIZE.
        num_views: number of views V.
        batch: number of groups B.
        seed: of the images and the rigs.
    """
    width, height = config.NETWORK.IMAGE_SIZE
    generator = torch.Generator().manual_seed(seed)
    inputs = {"images": torch.randn(batch, num_views, 3, height, width, generator=generator)}
    if not OnnxGraph(model).needs_cameras:
        return inputs
    rigs = [
        Cameras.from_records(make_rig(group, num_views, _EXAMPLE_IMAGE_PX, seed, rig=1 + seed))
        for group in range(batch)
    ]
    center = np.full((batch, num_views, 2), _EXAMPLE_IMAGE_PX / 2)
    scale = np.full((batch, num_views, 2), _CROP_PX / SCALE_UNIT_PX)
    arrays = {name: np.stack([getattr(rig, name) for rig in rigs]) for name in CAMERA_INPUTS}
    arrays["to_heatmap"] = image_to_heatmap_affine(
        center, scale, config.NETWORK.IMAGE_SIZE, config.NETWORK.HEATMAP_SIZE
    )
    return inputs | {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


def export_onnx(model: MultiViewPose, config: Any, path: Path, num_views: int, batch: int = 1) -> None:
    """Write the network as an ONNX file.

    Args:
        model: network in evaluation mode with weights, on the CPU.
        config: reads NETWORK.IMAGE_SIZE and HEATMAP_SIZE.
        path: the file. Weights of more than 1.8 GB are in a second file, PATH.data.
        num_views: number of views V, fixed in the file.
        batch: number of groups B, fixed in the file.

    Raises:
        InputError: a package is missing, or the disk is full.
    """
    require_onnx()
    graph = OnnxGraph(model).eval().requires_grad_(False)
    inputs = example_inputs(model, config, num_views, batch)
    outputs = ["single_view", *([] if model.fusion is None else ["fused"])]
    for name in ("onnx_ir", "onnxscript"):  # their notes on the graph
        logging.getLogger(name).setLevel(logging.WARNING)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's parts
        program = torch.onnx.export(
            graph,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(inputs),
            output_names=outputs,
            verbose=False,
            optimize=False,  # takes minutes for the fusions; the runtime optimizes the graph as well
        )
    metadata = {
        "image_mean": IMAGE_MEAN.tolist(),
        "image_std": IMAGE_STD.tolist(),
        "joints": list(UNION_20.names),
        "image_size": list(config.NETWORK.IMAGE_SIZE),
        "heatmap_size": list(config.NETWORK.HEATMAP_SIZE),
    }
    program.model.metadata_props.update({key: json.dumps(value) for key, value in metadata.items()})
    size = sum(weight.numel() * weight.element_size() for weight in graph.state_dict().values())
    if size > _MAX_FILE_BYTES:  # the first file names the second, so they cannot be renamed
        make_directory(path.parent)
        program.save(path, external_data=True)
        return
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)


def check_onnx(
    model: MultiViewPose, config: Any, path: Path, num_views: int, batch: int = 1, threads: int = 2
) -> OnnxCheck:
    """Compare an ONNX file with torch on other images and cameras than it was exported with.

    Args:
        model: the network, as for export_onnx().
        config: as for export_onnx().
        path: the file.
        num_views, batch: as for export_onnx().
        threads: processor threads of both.

    Raises:
        InputError: a package is missing, or an output differs by more than MAX_DIFFERENCE.
    """
    require_onnx()
    import onnxruntime

    inputs = example_inputs(model, config, num_views, batch, seed=1)
    arrays = {name: value.numpy() for name, value in inputs.items()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        expected, torch_s = _timed(lambda: _run_torch(model, inputs))
        found, onnx_s = _timed(lambda: session.run(None, arrays))
    finally:
        torch.set_num_threads(before)
    difference = {
        output.name: float(np.abs(array - tensor.numpy()).max())
        for output, array, tensor in zip(session.get_outputs(), found, expected, strict=True)
    }
    for name, value in difference.items():
        if not value <= MAX_DIFFERENCE:
            path.unlink()
            raise InputError(
                f"{path}: {name} differs from torch by {value:.2g}, expected at most {MAX_DIFFERENCE:g}; the file is "
                "removed"
            )
    return OnnxCheck(difference, torch_s, onnx_s)


@torch.no_grad()
def _run_torch(model: nn.Module, inputs: dict[str, Tensor]) -> list[Tensor]:
    views = None
    if "to_heatmap" in inputs:
        views = CropCameras(Cameras(**{name: inputs[name] for name in CAMERA_INPUTS}), inputs["to_heatmap"])
    return [output for output in model(inputs["images"], views) if output is not None]


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a function and its shortest time, s, after one run that is not counted."""
    result = run()
    times = []
    for _ in range(_TIMED_RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return result, min(times)
