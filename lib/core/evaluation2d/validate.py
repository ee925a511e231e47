"""One pass of validation, with bounded memory, by one process or several."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from lib.core.config import JDR_THRESHOLDS
from lib.core.evaluation2d.decode import FLIP_SHIFT_PX, peak_mode, predict_locations
from lib.core.evaluation2d.metrics_2d import jdr_table, jdr_threshold, joint_detection_rate, mean_rate
from lib.core.evaluation2d.pckh import pckh_scores, pckh_table
from lib.core.loss import route
from lib.dataset.network_input import crop_cameras, network_images
from lib.utils.errors import unknown_name
from lib.utils.files.prediction_file import PredictionWriter
from lib.utils.joints import UNION_20, JointSet, union_subset
from lib.utils.parallel.distributed import gather_on_main
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)

# (step, batch of the loader, raw heatmaps, routed heatmaps)
DebugHook = Callable[[int, dict[str, Tensor], Tensor, Tensor], None]

OUTPUTS = ("heatmaps", "locations", "nothing")  # of a pass; heatmaps come with locations
_PER_IMAGE = ("center", "scale", "joints_img", "visible", "occluded", "head_size", "image_index")


@dataclass
class ValidationResult:
    """What one pass of validation found.

    Attributes:
        joint_names: the J joints, in union order.
        rates: row name -> (J,) joint detection rates; the first row is the one `perf` is the mean of. Where the
            annotation says which joints are occluded, also for those and for the others, at the first threshold.
        perf: mean JDR of the routed heatmaps.
        num_images: different images evaluated.
        pckh: row name -> pckh_scores(); empty where no head size is annotated.
    """

    joint_names: list[str]
    rates: dict[str, np.ndarray]
    perf: float
    num_images: int
    pckh: dict[str, dict[str, dict[str, float]]]

    def tables(self) -> str:
        """Format the detection rates and, where known, PCKh as Markdown tables."""
        tables = [jdr_table(self.rates, self.joint_names)]
        if self.pckh:
            tables.append(pckh_table(self.pckh))
        return "\n\n".join(tables)


@torch.no_grad()
def validate(
    model: nn.Module,
    loader: DataLoader,
    config: Any,
    device: torch.device,
    writer: PredictionWriter | None = None,
    flip_test: bool = False,
    debug: DebugHook | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    output: str | None = None,
    after_batch: Callable[[], None] | None = None,
) -> ValidationResult | None:
    """Predict all images and count the joints that were found; an image that comes again counts once.

    Memory does not grow with the heatmaps: each batch goes to the writer, only positions are kept. Every PRINT_FREQ
    steps a line tells how far it is.

    Args:
        model: images, their cameras -> (raw heatmaps, fused heatmaps or None), without DistributedDataParallel.
        loader: unshuffled batches, each rank's share.
        config: the configuration.
        device: where the model lives.
        writer: receives the routed heatmaps and positions of the data set's own joints, at rank 0.
        flip_test: average with the mirrored image (only without fusion).
        debug: called with the first batch.
        ranks: the processes that share the work.
        output: what all ranks send to the writer of rank 0, one of OUTPUTS; None = the first where this process has a
            writer, else the last.
        after_batch: called after each batch; may raise to end the pass there.

    Returns:
        Rates with each threshold that the data set allows and PCKh where it has head sizes, of routed and, where
        there is fusion, raw heatmaps; None at the ranks but 0.

    Raises:
        InputError: TEST.JOINTS names a joint that the data set does not have.
    """
    model.eval()
    output = output or (OUTPUTS[-1] if writer is None else OUTPUTS[0])
    joints = union_subset(loader.dataset.joint_set)
    learned = learned_joints(config, loader.dataset.joint_set)[joints]
    columns: dict[str, list[np.ndarray]] = defaultdict(list)
    bar = tqdm(loader, desc="validation", unit="batch", disable=None if ranks.is_main else True, leave=False)
    for step, batch in enumerate(bar):
        share = loader.batch_sampler.shares(step)[ranks.rank]
        predicted = _predict(model, batch, device, flip_test)
        if debug is not None and step == 0:
            debug(step, batch, predicted["single"], next(iter(predicted.values())))
        rows = _rows_of_batch(predicted, batch, share, joints, learned, config)
        heatmaps, locations = rows.pop("heatmaps"), rows.pop("locations")
        written = heatmaps if output == "heatmaps" else None, locations, rows["image_index"]
        for part in () if output == "nothing" else (gather_on_main(written, ranks) or ()):
            _write(writer, loader, *part)
        for key, values in rows.items():
            columns[key].append(values)
        if ranks.is_main and (step + 1) % config.PRINT_FREQ == 0:
            logger.info("validation step %d/%d", step + 1, len(loader))
        if after_batch is not None:
            after_batch()
    gathered = gather_on_main({key: np.concatenate(parts) for key, parts in columns.items()}, ranks)
    if gathered is None:
        return None
    arrays = {key: np.concatenate([part[key] for part in gathered]) for key in gathered[0]}
    return _rates(_each_image_once(arrays), [UNION_20.names[joint] for joint in joints], config)


def learned_joints(config: Any, joint_set: JointSet) -> np.ndarray:
    """Return which union joints the network has learned as TEST.JOINTS says, (20) bool.

    Raises:
        InputError: a name that the data set does not have.
    """
    names = config.TEST.JOINTS or joint_set.names
    for name in names:
        if name not in joint_set.names:
            raise unknown_name("joint", name, joint_set.names, "TEST.JOINTS")
    return np.isin(UNION_20.names, names)


def _predict(model: nn.Module, batch: dict[str, Tensor], device: torch.device, flip_test: bool) -> dict[str, Tensor]:
    """Row name -> heatmaps (B, V, 20, H, W): the routed ones first and, where there is fusion, the raw ones."""
    images = network_images(batch["crops"], device)
    single, fused = model(images, crop_cameras(batch, device))
    if flip_test:
        single = (single + _mirrored(model, images)) / 2
    if fused is None:
        return {"single": single}
    return {"fused": route(single, fused, batch["is_multiview"].to(device)), "single": single}


def _rows_of_batch(
    predicted: dict[str, Tensor],
    batch: dict[str, Tensor],
    share: int,
    joints: list[int],
    learned: np.ndarray,
    config: Any,
) -> dict[str, np.ndarray]:
    """Positions and annotation of the first `share` groups of a batch, image by image, and the routed heatmaps.

    Of the `joints` those that are not learned (J bool) have empty heatmaps and count as not annotated.
    """
    flat = {key: batch[key].flatten(0, 1).numpy() for key in _PER_IMAGE}
    rows: dict[str, np.ndarray] = {key: flat[key] for key in ("scale", "head_size", "image_index")}
    rows |= {key: flat[key][:, joints] for key in ("joints_img", "visible", "occluded")}
    rows["visible"] = rows["visible"] & learned
    for name, maps in predicted.items():
        heatmaps = maps.flatten(0, 1)[:, joints].float().cpu().numpy()  # (B*V, J, H, W), a copy
        heatmaps[:, ~learned] = 0
        locations = predict_locations(
            heatmaps, flat["center"], flat["scale"], config.NETWORK.IMAGE_SIZE, peak_mode(config)
        )
        rows.setdefault("heatmaps", heatmaps)  # of the first, the routed ones
        rows.setdefault("locations", locations)
        rows[name] = locations[..., :2]
    num_views = batch["center"].shape[1]
    return {key: values[: share * num_views] for key, values in rows.items()}


def _write(
    writer: PredictionWriter, loader: DataLoader, heatmaps: np.ndarray | None, locations: np.ndarray, images: np.ndarray
) -> None:
    """Write one rank's part of a batch; those of all ranks in their order are the order of the data set."""
    if len(locations):
        writer.append(heatmaps, locations, [loader.dataset.image_name(int(index)) for index in images])


def _each_image_once(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leave out the images that the last pseudo-group repeats."""
    _, first = np.unique(arrays["image_index"], return_index=True)
    return {key: array[first] for key, array in arrays.items()}


def _rates(arrays: dict[str, np.ndarray], joint_names: list[str], config: Any) -> ValidationResult:
    head_size = arrays["head_size"]
    truth = (arrays["joints_img"], arrays["visible"])
    has_heads = bool(np.isfinite(head_size).any())
    kinds = [kind for kind in JDR_THRESHOLDS if kind != "head" or has_heads]
    kinds.sort(key=lambda kind: kind != config.TEST.JDR_THRESHOLD)  # the configured first
    maps = [name for name in ("fused", "single") if name in arrays]
    rates = {}
    for kind in kinds:
        threshold = jdr_threshold(kind, config.NETWORK.IMAGE_SIZE, arrays["scale"], head_size)
        for name in maps:
            rates[f"{name}, {kind} threshold"] = joint_detection_rate(arrays[name], *truth, threshold)
    if arrays["occluded"].any():
        threshold = jdr_threshold(kinds[0], config.NETWORK.IMAGE_SIZE, arrays["scale"], head_size)
        for group, rows in (("occluded", arrays["occluded"]), ("visible", ~arrays["occluded"])):
            for name in maps:
                rates[f"{name}, {kinds[0]} threshold, {group} joints"] = joint_detection_rate(
                    arrays[name], arrays["joints_img"], arrays["visible"] & rows, threshold
                )
    pckh = {name: pckh_scores(arrays[name], *truth, head_size, joint_names) for name in maps if has_heads}
    return ValidationResult(joint_names, rates, mean_rate(next(iter(rates.values()))), len(head_size), pckh)


def _mirrored(model: nn.Module, images: Tensor) -> Tensor:
    """Heatmaps of the mirrored images, mirrored back: (B, V, J, H, W)."""
    maps = model(images.flip(-1))[0].flip(-1)[:, :, UNION_20.mirrored_order()]
    shifted = maps.clone()
    shifted[..., FLIP_SHIFT_PX:] = maps[..., :-FLIP_SHIFT_PX]
    return shifted
