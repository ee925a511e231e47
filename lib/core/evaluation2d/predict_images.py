"""Predict the images of a loader batch by batch, and decode each batch while the next one is computed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from lib.core.evaluation2d.decode import predict_locations
from lib.core.evaluation2d.validation_settings import ValidationSettings
from lib.core.loss import LossSettings, image_losses, route
from lib.dataset.network_input import crop_cameras, gaussian_targets, network_images
from lib.dataset.sample import SampleSettings
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.utils.errors import unknown_name
from lib.utils.joints import UNION_20, JointSet, union_subset
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)

# (step, batch of the loader, single-view heatmaps, routed heatmaps)
DebugHook = Callable[[int, dict[str, Tensor], Tensor, Tensor], None]

FLIP_SHIFT_PX = 1  # heatmap px; mirroring the image shifts peaks by 3/4 heatmap px at stride 4, rounded
_PER_IMAGE = ("center", "scale", "joints_img", "visible", "occluded", "person_side", "head_size", "image_index")


@dataclass(frozen=True)
class PredictedImages:
    """Predictions of a batch, one row per image; the views of a group are consecutive.

    Attributes:
        heatmaps: (n, J, H, W) float32 routed heatmaps of the data set's joints, on the device unless copied; 0 for
            joints that the network has not learned.
        locations: (n, J, 3) x, y in image px, and the peak value, of `heatmaps`.
        columns: what detection_rates() needs, name -> (n, ...).
        single_view_peaks: (n, J, K, 3) float32 x, y, heatmap px, and value of the peaks before fusion; None = not
            found.
    """

    heatmaps: Tensor
    locations: np.ndarray
    columns: dict[str, np.ndarray]
    single_view_peaks: np.ndarray | None = None


@torch.no_grad()
def predict_images(
    model: nn.Module,
    loader: DataLoader,
    settings: ValidationSettings,
    device: torch.device,
    debug: DebugHook | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    to_cpu: bool = False,
) -> Iterator[PredictedImages]:
    """Predict the images of a loader, batch by batch; arguments as validate().

    A batch is decoded after the next one has been sent to the device. So a GPU has work while this process reads,
    decodes and writes.

    Args:
        to_cpu: copy the heatmaps to the CPU.

    Yields:
        The predictions of this rank's share of each batch; no rows if the share is empty.
    """
    model.eval()
    joint_set = loader.dataset.joint_set
    joints = union_subset(joint_set)
    learned = learned_joints(settings.joints, joint_set)[joints]
    decoding = _SideStream(device)

    def decode(step: int, batch: dict[str, Tensor], predicted: dict[str, Tensor], computed: Any) -> PredictedImages:
        num_groups = loader.batch_sampler.shares(step)[ranks.rank]
        with decoding.after(computed):
            images = _rows_of_batch(predicted, batch, num_groups, joints, learned, settings)
            if settings.with_loss:
                losses = _image_losses(predicted, batch, loader.dataset.settings, settings.loss)
                images.columns["loss"] = losses[:num_groups].flatten().cpu().numpy()
            images = replace(images, heatmaps=images.heatmaps.to("cpu", non_blocking=True)) if to_cpu else images
        decoding.hand_over(images.heatmaps)
        return images

    bar = tqdm(loader, desc="validation", unit="batch", disable=None if ranks.is_main else True, leave=False)
    before = None
    for step, batch in enumerate(bar):
        predicted = _predict(model, batch, device, settings.flip_test)
        if debug is not None and step == 0:
            debug(step, batch, predicted["single_view"], next(iter(predicted.values())))
        following = step, batch, predicted, decoding.mark()
        if before is not None:
            yield decode(*before)
        before = following
        if ranks.is_main and (step + 1) % settings.print_freq == 0:
            logger.info("validation step %d/%d", step + 1, len(loader))
    if before is not None:
        yield decode(*before)


class _SideStream:
    """CUDA stream for reading results while the main stream computes the next ones; does nothing on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def mark(self) -> Any:
        """Return an event after the work that the main stream has so far; None on the CPU."""
        return None if self._stream is None else torch.cuda.current_stream(self._stream.device).record_event()

    @contextlib.contextmanager
    def after(self, event: Any) -> Iterator[None]:
        """Run a block on this stream after an event of mark(), and wait for its results."""
        if self._stream is None:
            yield
            return
        self._stream.wait_event(event)
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()

    def hand_over(self, result: Tensor) -> None:
        """Let the main stream use a tensor of this stream."""
        if result.is_cuda:
            result.record_stream(torch.cuda.current_stream(result.device))


def learned_joints(names: Sequence[str], joint_set: JointSet) -> np.ndarray:
    """Return which union joints the network has learned, (20,) bool. The other joints are not evaluated.

    Args:
        names: TEST.JOINTS; empty = all of the data set.
        joint_set: joints of the data set.

    Raises:
        InputError: a name that the data set does not have.
    """
    names = names or joint_set.names
    for name in names:
        if name not in joint_set.names:
            raise unknown_name("joint", name, joint_set.names, "TEST.JOINTS")
    return np.isin(UNION_20.names, names)


def _predict(model: nn.Module, batch: dict[str, Tensor], device: torch.device, flip_test: bool) -> dict[str, Tensor]:
    """Return row name -> heatmaps (B, V, 20, H, W), the routed ones first."""
    images = network_images(batch["crops"], device)
    single_view, fused = model(images, crop_cameras(batch, device))
    if flip_test:
        single_view = (single_view + _mirrored(model, images)) / 2
    if fused is None:
        return {"single_view": single_view}
    return {
        "fused": route(single_view, fused, batch["is_multiview"].to(device, non_blocking=True)),
        "single_view": single_view,
    }


def _image_losses(
    predicted: dict[str, Tensor], batch: dict[str, Tensor], sample: SampleSettings, settings: LossSettings
) -> Tensor:
    """Return the loss (B, V) of each image, see image_losses()."""
    device = next(iter(predicted.values())).device
    joints, visible = (batch[key].to(device, non_blocking=True) for key in ("joints_crop", "visible"))
    target, weight = gaussian_targets(
        joints, visible, sample.image_wh, sample.heatmap_wh, sample.sigma, sample.target_subpixel
    )
    return image_losses((maps.float() for maps in predicted.values()), target, weight, settings)


def _rows_of_batch(
    predicted: dict[str, Tensor],
    batch: dict[str, Tensor],
    num_groups: int,
    joints: list[int],
    learned: np.ndarray,
    settings: ValidationSettings,
) -> PredictedImages:
    """Return the rows of the first `num_groups` groups. Joints that are not `learned` count as not annotated."""
    num_rows = num_groups * batch["center"].shape[1]
    flat = {key: batch[key].flatten(0, 1)[:num_rows].numpy() for key in _PER_IMAGE}
    columns: dict[str, np.ndarray] = {key: flat[key] for key in ("person_side", "head_size", "image_index")}
    columns |= {key: flat[key][:, joints] for key in ("joints_img", "visible", "occluded")}
    columns["visible"] = columns["visible"] & learned
    found: dict[str, tuple[Tensor, np.ndarray]] = {}
    for name, maps in predicted.items():
        heatmaps = maps.flatten(0, 1)[:num_rows, joints].float()  # (n, J, H, W), a copy
        heatmaps[:, torch.from_numpy(~learned).to(heatmaps.device)] = 0
        found[name] = (
            heatmaps,
            predict_locations(heatmaps, flat["center"], flat["scale"], settings.image_wh, settings.peak_mode),
        )
        columns[name] = found[name][1][..., :2]
    peaks = None
    if settings.single_view_peaks is not None:
        peaks = stacked_peaks(found["single_view"][0], *settings.single_view_peaks)
    return PredictedImages(*next(iter(found.values())), columns, peaks)  # the first ones are the routed ones


def _mirrored(model: nn.Module, images: Tensor) -> Tensor:
    """Predict the mirrored images and mirror the heatmaps back: (B, V, J, H, W)."""
    maps = model(images.flip(-1))[0].flip(-1)[:, :, UNION_20.mirrored_order()]
    shifted = maps.clone()
    shifted[..., FLIP_SHIFT_PX:] = maps[..., :-FLIP_SHIFT_PX]
    return shifted
