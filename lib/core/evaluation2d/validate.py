"""Validation: predict all test images, write the heatmaps, compute JDR and PCKh. One process or several."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from lib.core.config import JDR_THRESHOLDS
from lib.core.evaluation2d.decode import peak_mode, predict_locations
from lib.core.evaluation2d.metrics_2d import (
    few_images_note,
    jdr_table,
    jdr_threshold,
    joint_detection_rate,
    joint_hits,
    mean_rate,
    pckh_scores,
    pckh_table,
)
from lib.core.loss import image_losses, route
from lib.dataset.network_input import crop_cameras, gaussian_targets, network_images
from lib.dataset.sample import SampleSettings
from lib.models.registry import fusion_name
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.utils.errors import InputError, unknown_name
from lib.utils.files.digest import short_digest
from lib.utils.files.prediction_file import PredictionWriter
from lib.utils.joints import UNION_20, JointSet, union_subset
from lib.utils.parallel.distributed import gather_on_main
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)

# (step, batch of the loader, single-view heatmaps, routed heatmaps)
DebugHook = Callable[[int, dict[str, Tensor], Tensor, Tensor], None]

OUTPUTS = ("heatmaps", "locations", "nothing")  # what is written; heatmaps include locations
FLIP_SHIFT_PX = 1  # heatmap px; mirroring the image shifts peaks by 3/4 heatmap px at stride 4, rounded
_PER_IMAGE = ("center", "scale", "joints_img", "visible", "occluded", "person_side", "head_size", "image_index")


@dataclass(frozen=True)
class ValidationSettings:
    """Settings of validate().

    Attributes:
        image_wh: network input (width, height), px.
        peak_mode: see get_max_preds().
        jdr_threshold: definition of the JDR threshold of `perf`, one of JDR_THRESHOLDS.
        joints: names of the joints that the network has learned; empty = all of the data set.
        print_freq: steps between log lines.
        flip_test: average with the mirrored image; only without fusion.
        output: what all ranks send to the writer of rank 0, one of OUTPUTS.
        with_loss: compute the loss too.
        use_target_weight: exclude joints without annotation from the loss.
        single_view_peaks: number and mode of the single-view peaks that are found behind a fusion, see find_peaks();
            None = none.
    """

    image_wh: tuple[int, int]
    peak_mode: str = "argmax"
    jdr_threshold: str = "crop"
    joints: tuple[str, ...] = ()
    print_freq: int = 100
    flip_test: bool = False
    output: str = "nothing"
    with_loss: bool = False
    use_target_weight: bool = True
    single_view_peaks: tuple[int, str] | None = None

    @classmethod
    def from_config(
        cls, config: Any, output: str = "nothing", with_loss: bool = False, with_peaks: bool = False
    ) -> ValidationSettings:
        """Read NETWORK.{IMAGE_SIZE,FUSION}, LOSS, PRINT_FREQ, TRIANGULATE.{NUM_PEAKS,PEAK_MODE} and
        TEST.{PEAK_MODE,POST_PROCESS,JDR_THRESHOLD,JOINTS,FLIP_TEST}.

        Args:
            config: the configuration.
            output: one of OUTPUTS.
            with_loss: compute the loss too.
            with_peaks: find the single-view peaks if the network fuses views.

        Raises:
            InputError: TEST.FLIP_TEST with a fusion, which is wrong for mirrored images.
        """
        if config.TEST.FLIP_TEST and fusion_name(config.NETWORK) != "none":
            raise InputError(
                "--flip-test (TEST.FLIP_TEST true): expected NETWORK.FUSION none, received a fusion, which is wrong "
                "for mirrored images; omit it"
            )
        return cls(
            image_wh=tuple(config.NETWORK.IMAGE_SIZE),
            peak_mode=peak_mode(config.TEST),
            jdr_threshold=config.TEST.JDR_THRESHOLD,
            joints=tuple(config.TEST.JOINTS),
            print_freq=config.PRINT_FREQ,
            flip_test=config.TEST.FLIP_TEST,
            output=output,
            with_loss=with_loss,
            use_target_weight=config.LOSS.USE_TARGET_WEIGHT,
            single_view_peaks=stored_peaks(config) if with_peaks else None,
        )


def stored_peaks(config: Any) -> tuple[int, str] | None:
    """Return TRIANGULATE.NUM_PEAKS and PEAK_MODE if NETWORK.FUSION fuses views, else None."""
    has_fusion = fusion_name(config.NETWORK) != "none"
    return (config.TRIANGULATE.NUM_PEAKS, config.TRIANGULATE.PEAK_MODE) if has_fusion else None


@dataclass
class ValidationResult:
    """Result of a validation.

    Attributes:
        joint_names: names of the J joints, in union order.
        jdr_threshold: the configured threshold, one of JDR_THRESHOLDS.
        rates: "<heatmaps>, <threshold> threshold" -> (J,) joint detection rates, for all thresholds that can be
            computed, the configured one first. If the annotation marks occluded joints, the configured threshold also
            has "..., occluded joints" and "..., visible joints".
        counts: "all joints", "occluded joints" and "visible joints" -> (J,) number of images that count.
        num_images: number of different images.
        pckh: row name -> pckh_scores(); empty without annotated head sizes.
        loss: mean over groups, as in training; None = not computed.
        hits: key of `rates` at the configured threshold -> (M, J) int8 of the images in the data set's order: 1 joint
            found, 0 not found, -1 does not count.
        truth: digest of the joints that the hits are measured against.
    """

    joint_names: list[str]
    jdr_threshold: str
    rates: dict[str, np.ndarray]
    counts: dict[str, np.ndarray]
    num_images: int
    pckh: dict[str, dict[str, dict[str, float]]]
    loss: float | None = None
    hits: dict[str, np.ndarray] = field(default_factory=dict)
    truth: str = ""

    @property
    def perf(self) -> float:
        """Mean JDR of the routed heatmaps at the configured threshold."""
        return mean_rate(next(iter(self.rates.values())))

    @property
    def original_perf(self) -> float:
        """Mean JDR of the routed heatmaps at the original code's threshold, which its logs call Perf Indicator."""
        return mean_rate(next(iter(self._rates_at("published").values())))

    def means(self) -> str:
        """Return the mean detection rates in one line."""
        rates = self._rates_at(self.jdr_threshold)
        return f"JDR (%): {'; '.join(f'{name} {100 * mean_rate(rate):.1f}' for name, rate in rates.items())}"

    def tables(self) -> str:
        """Format detection rates and PCKh as Markdown tables; name the rates over few images."""
        original = self._rates_at("published") if self.jdr_threshold != "published" else None
        parts = [jdr_table(self._rates_at(self.jdr_threshold), self.joint_names, original)]
        parts += [pckh_table(self.pckh)] if self.pckh else []
        note = few_images_note(self.counts)
        return "\n\n".join([*parts, note] if note else parts)

    def _rates_at(self, kind: str) -> dict[str, np.ndarray]:
        """Return "<heatmaps>" or "<heatmaps>, occluded joints" -> (J,) rates at a threshold."""
        words = f", {kind} threshold"
        return {name.replace(words, ""): rate for name, rate in self.rates.items() if words in name}


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
                losses = _image_losses(predicted, batch, loader.dataset.settings, settings.use_target_weight)
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


def validate(
    model: nn.Module,
    loader: DataLoader,
    settings: ValidationSettings,
    device: torch.device,
    writer: PredictionWriter | None = None,
    debug: DebugHook | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    after_batch: Callable[[], None] | None = None,
) -> ValidationResult | None:
    """Predict all images and compute detection rates. Repeated images count once.

    Memory does not grow with the heatmaps: each batch goes to the writer, only positions are kept.

    Args:
        model: (images, views) -> (single-view heatmaps, fused heatmaps or None), not in DistributedDataParallel.
        loader: unshuffled batches, the share of this rank.
        settings: see ValidationSettings.
        device: device of the model.
        writer: receives routed heatmaps and locations of the data set's joints, on rank 0.
        debug: called with the first batch.
        ranks: the processes that share the work.
        after_batch: called after each batch; it may raise to end the validation.

    Returns:
        Rates of routed and, with fusion, single-view heatmaps; on rank 0 only, else None.

    Raises:
        InputError: `settings.joints` names a joint that the data set does not have.
    """
    columns: list[dict[str, np.ndarray]] = []
    for predicted in predict_images(model, loader, settings, device, debug, ranks, settings.output == "heatmaps"):
        if settings.output != "nothing":
            heatmaps = predicted.heatmaps.numpy() if settings.output == "heatmaps" else None
            written = heatmaps, predicted.locations, predicted.columns["image_index"], predicted.single_view_peaks
            for maps, places, images, peaks in gather_on_main(written, ranks) or ():  # ranks in the data set's order
                if len(places):
                    names = [loader.dataset.image_name(int(index)) for index in images]
                    writer.append(maps, places, names, peaks)
        columns.append(predicted.columns)
        if after_batch is not None:
            after_batch()
    gathered = gather_on_main(concatenated(columns), ranks)
    return None if gathered is None else detection_rates(concatenated(gathered), loader.dataset.joint_set, settings)


def concatenated(columns: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenate the rows of batches or ranks, by column."""
    return {key: np.concatenate([part[key] for part in columns]) for key in columns[0]}


def detection_rates(
    columns: dict[str, np.ndarray], joint_set: JointSet, settings: ValidationSettings
) -> ValidationResult:
    """Compute detection rates from the columns of all images; repeated images count once."""
    _, first = np.unique(columns["image_index"], return_index=True)  # the last pseudo-group repeats images
    columns = {key: array[first] for key, array in columns.items()}
    return _rates(columns, [UNION_20.names[joint] for joint in union_subset(joint_set)], settings)


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
    predicted: dict[str, Tensor], batch: dict[str, Tensor], sample: SampleSettings, use_target_weight: bool
) -> Tensor:
    """Return the loss (B, V) of each image times V, so that the mean over images is the loss of a training step."""
    device = next(iter(predicted.values())).device
    joints, visible = (batch[key].to(device, non_blocking=True) for key in ("joints_crop", "visible"))
    target, weight = gaussian_targets(
        joints, visible, sample.image_wh, sample.heatmap_wh, sample.sigma, sample.target_subpixel
    )
    weight = weight if use_target_weight else None
    return sum(image_losses(maps.float(), target, weight) for maps in predicted.values()) * target.shape[1]


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


def _rates(arrays: dict[str, np.ndarray], joint_names: list[str], settings: ValidationSettings) -> ValidationResult:
    if not arrays["visible"].any():
        raise InputError("the test set has no visible joint (joints_vis is 0 everywhere): nothing can be evaluated")
    head_size = arrays["head_size"]
    occluded = arrays["occluded"]
    has_heads = bool(np.isfinite(head_size).any())
    kinds = [kind for kind in JDR_THRESHOLDS if kind != "head" or has_heads]
    kinds.sort(key=lambda kind: kind != settings.jdr_threshold)  # the configured one first
    thresholds = {kind: jdr_threshold(kind, settings.image_wh, arrays["person_side"], head_size) for kind in kinds}
    maps = [name for name in ("fused", "single_view") if name in arrays]
    rates: dict[str, np.ndarray] = {}
    hits: dict[str, np.ndarray] = {}

    def add_rates(row: str, kind: str, visible: np.ndarray) -> None:
        for name in maps:
            inputs = arrays[name], arrays["joints_img"], visible, thresholds[kind]
            rates[f"{name}, {row}"] = joint_detection_rate(*inputs)
            if kind == kinds[0]:
                found, counted = joint_hits(*inputs)
                hits[f"{name}, {row}"] = np.where(counted, found, -1).astype(np.int8)

    for kind in kinds:
        add_rates(f"{kind} threshold", kind, arrays["visible"])
    joints = {"all joints": arrays["visible"]}
    if occluded.any():
        joints["occluded joints"] = arrays["visible"] & occluded
        joints["visible joints"] = arrays["visible"] & ~occluded
        for name in ("occluded joints", "visible joints"):
            add_rates(f"{kinds[0]} threshold, {name}", kinds[0], joints[name])
    known = np.isfinite(thresholds[kinds[0]])
    counts = {name: which[known].sum(0) for name, which in joints.items()}
    gt = (arrays["joints_img"], arrays["visible"])
    pckh = {name: pckh_scores(arrays[name], *gt, head_size, joint_names) for name in maps if has_heads}
    loss = float(arrays["loss"].mean()) if "loss" in arrays else None
    truth = short_digest(arrays["joints_img"].tobytes() + arrays["visible"].tobytes())
    return ValidationResult(joint_names, kinds[0], rates, counts, len(head_size), pckh, loss, hits, truth)


def _mirrored(model: nn.Module, images: Tensor) -> Tensor:
    """Predict the mirrored images and mirror the heatmaps back: (B, V, J, H, W)."""
    maps = model(images.flip(-1))[0].flip(-1)[:, :, UNION_20.mirrored_order()]
    shifted = maps.clone()
    shifted[..., FLIP_SHIFT_PX:] = maps[..., :-FLIP_SHIFT_PX]
    return shifted
