"""Frames of 3D inference: what a method reads, what it returns, and how a data set's frames are loaded.

A frame is one moment seen by V views: a group of a data set, or a frame of a recording.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.core.config_io import dataset_root
from lib.core.evaluation2d.provenance import log_provenance, results_provenance
from lib.dataset.annotations import Annotations
from lib.dataset.data_sets import build_groups, has_views, held_out_parts
from lib.dataset.protocol import Parts
from lib.multiviews.body import HumanBody, body_of
from lib.multiviews.cameras import Cameras
from lib.multiviews.pictorial.backend_numpy import Backend
from lib.utils.errors import InputError
from lib.utils.files.prediction_file import PredictionFile
from lib.utils.joints import H36M_17, UNION_20, JointSet, union_subset
from lib.utils.transforms import image_to_heatmap_affine

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameBatch:
    """Input of a 3D method: f frames of V views.

    Attributes:
        heatmaps: (f, V, J, H, W) in the order of the joint set, numpy or an array of the backend.
        locations: (f, V, J, 3) predicted joints: x, y in image px, and the peak value.
        cameras: leading axes (f, V).
        image_to_heatmap: (f, V, 2, 3) image px -> heatmap px.
        center: (f, V, 2) box centers, image px.
        single_view_peaks: (f, V, J, K, 3) x, y, heatmap px, and value of the peaks before fusion, found with
            TRIANGULATE.NUM_PEAKS and PEAK_MODE; None = without fusion, or unknown.
        gt_world: (f, J, 3) ground truth, mm; None = unknown.
        subject: (f,) ids; None = the frames may show different people.
        joint_set: the J joints.
        name: what error messages call the batch.
    """

    heatmaps: Any
    locations: np.ndarray
    cameras: Cameras
    image_to_heatmap: np.ndarray
    center: np.ndarray
    single_view_peaks: np.ndarray | None = None
    gt_world: np.ndarray | None = None
    subject: np.ndarray | None = None
    joint_set: JointSet = H36M_17
    name: str = "heatmaps"

    def __len__(self) -> int:
        return len(self.heatmaps)

    @property
    def body(self) -> HumanBody:
        """The skeleton."""
        return body_of(self.joint_set)


@dataclass(frozen=True)
class Poses:
    """Output of a 3D method: poses of f frames.

    Attributes:
        pose_world: (f, J, 3) mm.
        num_box_roots: frames in which no joint was triangulated; their root is the triangulated box center.
        filled: (f, J) bool, missing joints that copy their neighbor on the skeleton; None = none.
        num_views_agree: (f, J) views that support the joint; set by run_method().
        covariance: (f, J, 3, 3) of the errors of the joints, mm^2, see uncertainty.py; None = unknown.
        degrees_of_freedom: (f,) of the t distribution of these errors; set together with `covariance`.
        state: what Method.finish() needs from these frames; None = the poses are final.
    """

    pose_world: np.ndarray
    num_box_roots: int = 0
    filled: np.ndarray | None = None
    num_views_agree: np.ndarray | None = None
    covariance: np.ndarray | None = None
    degrees_of_freedom: np.ndarray | None = None
    state: Any = None


@dataclass(frozen=True)
class EvaluatedFrames:
    """The F test frames of a data set, in the order in which valid.py predicts them.

    Attributes:
        annotations: annotations of the test images.
        groups: (F, V) rows of the annotations.
        image_ids: (F, V) image names.
        cameras: leading axes (F, V).
        center: (F, V, 2) box centers, image px.
        scale: (F, V, 2) box width and height / 200 px.
        gt_world: (F, J, 3) ground truth, mm; NaN for joints that are labeled in no view.
        actions: (F,) ids or names under which per-action tables list the frames.
        subject: (F,) ids.
        parts: parts of the data set that are evaluated separately, as masks (F,); may be empty.
    """

    annotations: Annotations
    groups: np.ndarray
    image_ids: np.ndarray
    cameras: Cameras
    center: np.ndarray
    scale: np.ndarray
    gt_world: np.ndarray
    actions: np.ndarray
    subject: np.ndarray
    parts: Parts

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def joint_set(self) -> JointSet:
        """The J joints of the data set."""
        return self.annotations.joint_set

    @property
    def joint_names(self) -> list[str]:
        """The J joints in union order, as the predictions hold them."""
        return [UNION_20.names[joint] for joint in union_subset(self.joint_set)]

    @property
    def joint_order(self) -> list[int]:
        """Index into the joints of the predictions for each joint of the joint set."""
        return [self.joint_names.index(name) for name in self.joint_set.names]

    def batch(
        self,
        rows: slice,
        heatmaps: Any,
        locations: np.ndarray,
        image_wh: Sequence[int],
        source: str,
        single_view_peaks: np.ndarray | None = None,
    ) -> FrameBatch:
        """Return consecutive frames with their predictions.

        Args:
            rows: the f frames.
            heatmaps: (f * V, J, H, W) in the order of `joint_names`, numpy or an array of the backend.
            locations: (f * V, J, 3) predicted joints, in the same order.
            image_wh: (width, height) of the crops, NETWORK.IMAGE_SIZE.
            source: what error messages call the predictions.
            single_view_peaks: (f * V, J, K, 3), in the same order; None = without fusion, or unknown.
        """
        num_views = self.groups.shape[1]
        order = self.joint_order
        if order != sorted(order):  # indexing copies the heatmaps
            heatmaps, locations = heatmaps[:, order], locations[:, order]
        if single_view_peaks is not None:
            peaks = single_view_peaks[:, order]
            single_view_peaks = peaks.reshape(-1, num_views, *peaks.shape[1:])
        heatmap_wh = (heatmaps.shape[-1], heatmaps.shape[-2])
        return FrameBatch(
            heatmaps=heatmaps.reshape(-1, num_views, *heatmaps.shape[1:]),
            locations=locations.reshape(-1, num_views, *locations.shape[1:]),
            cameras=self.cameras[rows],
            image_to_heatmap=image_to_heatmap_affine(self.center[rows], self.scale[rows], image_wh, heatmap_wh),
            center=self.center[rows],
            single_view_peaks=single_view_peaks,
            gt_world=self.gt_world[rows],
            subject=self.subject[rows],
            joint_set=self.joint_set,
            name=f"{source}: batch that begins with '{self.image_ids[rows.start, 0]}'",
        )


def load_frames(config: Any, held_out: bool = False) -> EvaluatedFrames:
    """Load the test frames of a multi-view data set.

    Args:
        config: the configuration; reads DATA_DIR and DATASET.
        held_out: load DATASET.HELD_OUT_SUBJECTS of the training data instead.

    Raises:
        InputError: the data set has no calibrated views, or its annotation cannot be read.
    """
    name = config.DATASET.TEST_DATASET
    if not has_views(name) or name == "mixed":
        raise InputError(
            f"DATASET.TEST_DATASET: expected groups of calibrated views such as multiview_h36m, received '{name}'"
        )
    root = dataset_root(config)
    if held_out:
        part = held_out_parts(config.DATASET, root)[0]
        annotations, groups = part.annotations, part.groups
    else:
        annotations, groups = build_groups(config.DATASET, root, is_train=False)
    labels = annotations.labels3d
    first = groups[:, 0]
    labeled = annotations.labeled(groups)
    if not labeled.any():
        raise InputError(f"{annotations.images_dir.parent}: no joint of the test set is labeled: nothing to evaluate")
    return EvaluatedFrames(
        annotations=annotations,
        groups=groups,
        image_ids=np.array([[annotations.image_name(row) for row in group] for group in groups]),
        cameras=labels.cameras[labels.camera_idx[groups]],
        center=annotations.center[groups].astype(np.float64),
        scale=annotations.scale[groups].astype(np.float64),
        gt_world=np.where(labeled[..., None], labels.pose_world(first), np.nan),
        actions=labels.listed_actions(first),
        subject=labels.subject[first],
        parts=labels.parts(first),
    )


def open_predictions(
    config: Any, directory: Path, frames: EvaluatedFrames, needs_heatmaps: bool = True
) -> PredictionFile:
    """Open the predictions of a run and check that they belong to the frames.

    A warning is logged if their provenance differs from the configuration.

    Args:
        config: the configuration; reads TEST.HEATMAP_LOCATION_FILE, NETWORK and DATASET.
        directory: the run directory.
        frames: the frames.
        needs_heatmaps: refuse a file that holds locations only.

    Raises:
        InputError: missing or damaged file, no heatmaps, or other images, joints or heatmap size.
    """
    predictions = PredictionFile(directory / config.TEST.HEATMAP_LOCATION_FILE, needs_heatmaps)
    predictions.check_matches(frames.image_ids.ravel().tolist(), frames.joint_names)
    width, height = config.NETWORK.HEATMAP_SIZE
    if predictions.heatmaps is not None and predictions.heatmaps.shape[2:] != (height, width):
        found = predictions.heatmaps.shape[:1:-1]
        raise InputError(
            f"{predictions.path}: heatmaps are {found} px (width, height), NETWORK.HEATMAP_SIZE is ({width}, {height})"
        )
    log_provenance(config, predictions)
    return predictions


@dataclass(frozen=True)
class FrameSource:
    """Where the 3D step gets its frames from.

    Attributes:
        batches: the frames, in order; iterated once.
        provenance: returns results_provenance() after the iteration.
        is_stored: the predictions are in a file of the run directory.
    """

    batches: Iterable[FrameBatch]
    provenance: Callable[[], dict[str, str]]
    is_stored: bool = True


@contextmanager
def stored_frames(
    config: Any, directory: Path, frames: EvaluatedFrames, backend: Backend, batch_size: int
) -> Iterator[FrameSource]:
    """Open the predictions that valid.py has written; see open_predictions().

    Args:
        config: the configuration.
        directory: the run directory.
        frames: the frames.
        backend: allocates the memory that heatmaps are read into.
        batch_size: frames per batch.
    """
    with (
        open_predictions(config, directory, frames) as predictions,
        closing(
            FrameBatches(
                frames,
                predictions,
                config.NETWORK.IMAGE_SIZE,
                batch_size,
                backend.host_array,
                has_usable_peaks(predictions, config.TRIANGULATE),
            )
        ) as batches,
    ):
        file_name = config.TEST.HEATMAP_LOCATION_FILE
        yield FrameSource(batches, lambda: results_provenance(file_name, predictions.fingerprint()))


def has_usable_peaks(predictions: PredictionFile, triangulate: Any) -> bool:
    """Return whether a file has single-view peaks as section TRIANGULATE asks for; warn if it has other ones."""
    stored = predictions.peaks_format
    wanted = (triangulate.NUM_PEAKS, triangulate.PEAK_MODE)
    if stored not in (None, wanted):
        logger.warning(
            "%s: TRIANGULATE.NUM_PEAKS and PEAK_MODE: expected %s and %s of the stored single-view peaks, received %s "
            "and %s; the refinement uses the peaks of the fused heatmaps; run run/pose2d/valid.py with the same --opts",
            predictions.path,
            *stored,
            *wanted,
        )
    return stored == wanted


class FrameBatches:
    """Batches of frames with their predictions; each iteration reads the file once.

    A thread reads the next batch ahead, so the heatmaps of two batches are in memory. Close before the file.
    """

    def __init__(
        self,
        frames: EvaluatedFrames,
        predictions: PredictionFile,
        image_wh: Sequence[int],
        batch_size: int,
        allocate: Callable[..., np.ndarray] = np.empty,
        with_peaks: bool = False,
    ) -> None:
        """
        Args:
            frames: the frames.
            predictions: their heatmaps and 2D locations.
            image_wh: (width, height) of the crops, NETWORK.IMAGE_SIZE.
            batch_size: frames per batch.
            allocate: see PredictionFile.read().
            with_peaks: read the single-view peaks too.
        """
        self._frames = frames
        self._predictions = predictions
        self._allocate = allocate
        self._image_wh = image_wh
        self._batch_size = batch_size
        self._with_peaks = with_peaks
        self._reading: Generator[FrameBatch] | None = None

    def __iter__(self) -> Generator[FrameBatch]:
        self.close()
        self._reading = self._read()
        return self._reading

    def close(self) -> None:
        """End an iteration that was left early."""
        if self._reading is not None:
            self._reading.close()

    def _read(self) -> Generator[FrameBatch]:
        num_frames, num_views = self._frames.groups.shape
        start = 0
        with (
            tqdm(total=num_frames, desc="3D poses", unit="frame", disable=None, leave=False) as bar,
            closing(self._predictions.batches(self._batch_size * num_views, self._allocate)) as batches,
        ):
            for heatmaps, locations in batches:
                stop = start + len(heatmaps) // num_views
                images = (start * num_views, stop * num_views)
                peaks = self._predictions.read_single_view_peaks(*images) if self._with_peaks else None
                source = str(self._predictions.path)
                yield self._frames.batch(slice(start, stop), heatmaps, locations, self._image_wh, source, peaks)
                bar.update(stop - start)
                start = stop
                del heatmaps, locations  # before the next ones arrive
