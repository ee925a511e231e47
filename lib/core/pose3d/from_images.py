"""Frames predicted while the 3D step runs: images -> network -> 3D poses in one pass, without a file of heatmaps.

Heatmaps stay on the device of the network. Tables, poses and provenance are the same as if valid.py had stored them.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.core.build_data import build_dataset, build_loader
from lib.core.build_model import build_model
from lib.core.config_io import dataset_root
from lib.core.evaluation2d.predict_images import PredictedImages, predict_images
from lib.core.evaluation2d.provenance import results_provenance
from lib.core.evaluation2d.results_2d import report_results_2d
from lib.core.evaluation2d.validate import ValidationResult, concatenated, detection_rates
from lib.core.evaluation2d.validation_settings import ValidationSettings, stored_peaks
from lib.core.pose3d.frames import EvaluatedFrames, FrameBatch, FrameSource
from lib.core.pose3d.occluded_images import OccludedImages
from lib.core.run_directory import weights_file
from lib.core.runtime.device import CPU, select_device
from lib.models.weights import load_model
from lib.multiviews.pictorial.backend_torch import TorchBackend
from lib.utils.files.prediction_file import predictions_fingerprint

logger = logging.getLogger(__name__)


@contextmanager
def predicted_frames(
    config: Any, directory: Path, frames: EvaluatedFrames, backend: TorchBackend, batch_size: int
) -> Iterator[FrameSource]:
    """Predict the test frames with the weights of the run. After the 3D step, write results_2d.json.

    Args:
        config: the configuration of valid.py.
        directory: the run directory.
        frames: the test frames.
        backend: the network runs on its device.
        batch_size: frames per batch; the network takes TEST.BATCH_SIZE at a time.

    Raises:
        InputError: the weights or the images cannot be used.
    """
    batches = predict_frames(config, directory, frames, backend, batch_size)
    yield FrameSource(batches, batches.provenance, is_stored=False)
    settings = ValidationSettings.from_config(config, with_peaks=True)
    report_results_2d(batches.detection_rates(settings), config, directory, weights_file(config, directory))
    logger.info("images, network and 2D locations alone: %.0f frames/s", len(frames) / max(batches.seconds, 1e-9))


def predict_frames(
    config: Any,
    directory: Path,
    frames: EvaluatedFrames,
    backend: TorchBackend,
    batch_size: int,
    held_out: bool = False,
    occluded: bool = False,
) -> "PredictedFrames":
    """Return the batches of load_frames(config, held_out); arguments and errors as predicted_frames().

    Args:
        occluded: cover a third of the images in part, see OccludedImages.
    """
    device = select_device(CPU if backend.device.type == CPU else config.GPUS, config.CUDNN)
    dataset = build_dataset(config, dataset_root(config), is_train=False, held_out=held_out)
    model = build_model(config, dataset.num_views)
    weights = weights_file(config, directory)
    load_model(model, weights)
    logger.info("weights: %s; predictions are not stored", weights)
    loader = build_loader(config, dataset, is_train=False)
    if occluded:
        loader = OccludedImages(loader, config.SEED)
    settings = ValidationSettings.from_config(config, with_peaks=True)
    predictions = predict_images(model.to(device), loader, settings, device)
    return PredictedFrames(frames, predictions, config, loader, batch_size)


class PredictedFrames:
    """Batches of frames, predicted as they are iterated.

    Attributes:
        seconds: time spent on predictions so far, without the 3D step.
    """

    def __init__(
        self,
        frames: EvaluatedFrames,
        predictions: Iterator[PredictedImages],
        config: Any,
        loader: torch.utils.data.DataLoader,
        batch_size: int,
    ) -> None:
        """
        Args:
            frames: the frames, in the order of the loader.
            predictions: of predict_images().
            config: reads NETWORK.{IMAGE_SIZE,FUSION}, TRIANGULATE, TEST.HEATMAP_DTYPE and TEST.HEATMAP_LOCATION_FILE.
            loader: the loader of the predictions.
            batch_size: frames per batch.
        """
        self._frames = frames
        self._predictions = predictions
        self._image_wh = config.NETWORK.IMAGE_SIZE
        self._heatmap_wh = config.NETWORK.HEATMAP_SIZE
        self._dtype = config.TEST.HEATMAP_DTYPE
        self._file_name = config.TEST.HEATMAP_LOCATION_FILE
        self._loader = loader
        self._batch_size = batch_size
        self._peaks_format = stored_peaks(config)
        self._columns: list[dict[str, np.ndarray]] = []
        self._locations: list[np.ndarray] = []
        self.seconds = 0.0

    def __iter__(self) -> Iterator[FrameBatch]:
        num_views = self._frames.groups.shape[1]
        waiting: list[PredictedImages] = []
        start = stop = 0  # of the frames that wait
        for predicted in self._timed_predictions():
            waiting.append(predicted)
            stop += len(predicted.locations) // num_views
            while stop - start >= self._batch_size or start < stop == len(self._frames):
                rows = slice(start, min(start + self._batch_size, stop))
                start = rows.stop
                yield self._batch(rows, waiting)

    def _timed_predictions(self) -> Iterator[PredictedImages]:
        while True:
            start = time.perf_counter()
            predicted = next(self._predictions, None)
            self.seconds += time.perf_counter() - start  # finding the peaks waits for the device
            if predicted is None:
                return
            self._columns.append(predicted.columns)
            yield predicted

    def _batch(self, rows: slice, waiting: list[PredictedImages]) -> FrameBatch:
        """Take the first of the predictions that wait."""
        count = (rows.stop - rows.start) * self._frames.groups.shape[1]
        heatmaps = torch.cat([one.heatmaps for one in waiting])
        locations = np.concatenate([one.locations for one in waiting])
        columns = concatenated([one.columns for one in waiting])
        peaks = None
        if self._peaks_format is not None:
            peaks = np.concatenate([one.single_view_peaks for one in waiting])
        rest = PredictedImages(
            heatmaps[count:],
            locations[count:],
            {name: values[count:] for name, values in columns.items()},
            None if peaks is None else peaks[count:],
        )
        waiting[:] = [rest] if len(rest.locations) else []
        images = [self._loader.dataset.image_name(int(row)) for row in columns["image_index"][:count]]
        if images != self._frames.image_ids[rows].ravel().tolist():
            raise ValueError(f"frames {rows.start} to {rows.stop}: the loader has other images, e.g. {images[0]}")
        heatmaps = heatmaps[:count]
        if self._dtype == "float16":  # as a prediction file stores them
            heatmaps = heatmaps.half().float()
        self._locations.append(locations[:count].astype(np.float32))
        peaks = None if peaks is None else peaks[:count]
        return self._frames.batch(rows, heatmaps, self._locations[-1], self._image_wh, "predictions", peaks)

    def provenance(self) -> dict[str, str]:
        """Return the results_provenance() that a prediction file would have."""
        locations = np.concatenate(self._locations)
        shape = (*locations.shape[:2], *reversed(self._heatmap_wh))
        images = self._frames.image_ids.ravel().tolist()
        fingerprint = predictions_fingerprint(
            (shape, self._dtype), self._frames.joint_names, images, locations, self._peaks_format
        )
        return results_provenance(self._file_name, fingerprint)

    def detection_rates(self, settings: ValidationSettings) -> ValidationResult:
        """Return the detection rates of all images."""
        return detection_rates(concatenated(self._columns), self._loader.dataset.joint_set, settings)
