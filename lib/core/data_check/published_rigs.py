"""Check of published calibrations: is each subject's rig the one that a network's 2D predictions fit best?

The bundle adjustment of run/data/refine_rig.py, on frames spread over the recordings. They are not consecutive, so sync
offsets are not estimated. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.data_check.findings import NOTE, WARNING, CheckResult, Section
from lib.core.pose3d.frames import EvaluatedFrames, load_frames, open_predictions
from lib.core.rig_refinement.rig_report import view_results, view_table
from lib.multiviews.body import body_of
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.multiviews.rig.rig_refinement import DEFAULT_SETTINGS, RefinementSettings
from lib.multiviews.rig.rig_verdict import REFINED, RIGHT, RigVerdict, VerdictSettings, judge_rig, matters
from lib.utils.errors import InputError
from lib.utils.files.image_store import read_image
from lib.utils.files.prediction_file import PredictionFile
from lib.utils.selection import evenly_spread
from lib.utils.transforms import image_to_heatmap_affine, invert_affine, similarity_scale, transform_points

_MIN_FRAMES = 20  # fewer determine no rig
_MIN_SHIFT_HM = 0.1  # heatmap px; networks shift joints systematically by less
_FUSED = (
    "the heatmaps are fused, so they follow the calibration that the fusion knows; run run/pose2d/valid.py again: it "
    "stores single-view peaks"
)


@dataclass(frozen=True)
class PublishedRig:
    """A rig of a data set, and what it recorded.

    Attributes:
        title: the subject.
        names: names of the V cameras.
        cameras: leading axis V.
        image_wh: (V, 2) size of the images, px; 0 = unknown.
        frames: (N,) frames in the order of EvaluatedFrames.
    """

    title: str
    names: list[str]
    cameras: Cameras
    image_wh: np.ndarray
    frames: np.ndarray


def check_published_rigs(config: Any, directory: Path) -> Iterator[CheckResult]:
    """Refine the rig of each subject of the test data, and compare it with the published one.

    Args:
        config: the configuration; reads DATA_DIR, DATASET, NETWORK and TEST.HEATMAP_LOCATION_FILE.
        directory: holds the predictions, see evaluation_directory().

    Yields:
        One result with a section per rig.

    Raises:
        InputError: there are no predictions of the test data.
    """
    frames = load_frames(config)
    with open_predictions(config, directory, frames, needs_heatmaps=False) as predictions:
        source = _source(predictions)
        sections = [
            _check_rig(rig, frames, predictions, config.NETWORK)
            for rig in published_rigs(frames, config.DATASET.DATA_FORMAT)
        ]
        if predictions.single_view_peaks is None and predictions.attributes.get("fusion", "none") != "none":
            sections[0].add(NOTE, _FUSED)
    name = f"{frames.annotations.source}, {config.DATASET.TEST_SUBSET}"
    yield CheckResult(f"{name}: calibration against {source} of {predictions.path.name}", sections, None)


def published_rigs(
    frames: EvaluatedFrames, data_format: str, max_frames: int = DEFAULT_SETTINGS.fine_frames
) -> Iterator[PublishedRig]:
    """Yield the rigs of each subject, with at most `max_frames` evenly spaced frames.

    Args:
        frames: the frames.
        data_format: "jpg" or "zip".
        max_frames: frames per rig.
    """
    labels = frames.annotations.labels3d
    index = labels.camera_idx[frames.groups]  # (F, V)
    for subject in np.unique(frames.subject):
        rigs = np.unique(index[frames.subject == subject], axis=0)
        for number, rig in enumerate(rigs):
            chosen = np.flatnonzero((frames.subject == subject) & (index == rig).all(1))
            chosen = chosen[evenly_spread(len(chosen), max_frames)]
            yield PublishedRig(
                title=f"S{subject}" + (f", calibration {number + 1} of {len(rigs)}" if len(rigs) > 1 else ""),
                names=[f"camera {camera_id}" for camera_id in labels.camera_id[frames.groups[chosen[0]]]],
                cameras=labels.cameras[rig],
                image_wh=np.array([_image_wh(frames, row, data_format) for row in frames.groups[chosen[0]]]),
                frames=chosen,
            )


def _image_wh(frames: EvaluatedFrames, row: int, data_format: str) -> tuple[int, int]:
    """Return the size of an image, px; 0, 0 if it cannot be read."""
    try:
        image = read_image(frames.annotations.images_dir, frames.annotations.image_name(row), data_format)
    except InputError:
        return 0, 0
    return image.shape[1], image.shape[0]


def predicted_joints(
    predictions: PredictionFile, frames: EvaluatedFrames, chosen: np.ndarray, to_heatmap: np.ndarray
) -> np.ndarray:
    """Return the highest peak of each joint before fusion, else of the stored heatmaps, else the stored location.

    Args:
        predictions: the predictions of `frames`.
        frames: the frames.
        chosen: (N,) frames to read.
        to_heatmap: (N, V, 2, 3) image px -> heatmap px.

    Returns:
        (N, V, J, 3) x, y in image px, and the value relative to the usual one.
    """
    num_views = frames.groups.shape[1]
    locations = predictions.read_locations()
    joints = []
    for frame in chosen:
        rows = int(frame) * num_views, (int(frame) + 1) * num_views
        if predictions.single_view_peaks is not None:
            joints.append(predictions.read_single_view_peaks(*rows)[:, :, 0])
        elif predictions.heatmaps is not None:
            joints.append(stacked_peaks(predictions.read(*rows)[0], 1, "log_quadratic")[:, :, 0])
        else:
            joints.append(locations[slice(*rows)])
    found = np.stack(joints)[:, :, frames.joint_order].astype(np.float64)
    if predictions.single_view_peaks is not None or predictions.heatmaps is not None:
        found[..., :2] = transform_points(found[..., :2], invert_affine(to_heatmap))
    found[..., 2] /= max(float(np.median(found[..., 2])), np.finfo(float).tiny)
    return found


def _source(predictions: PredictionFile) -> str:
    if predictions.single_view_peaks is not None:
        return "the single-view peaks"
    return "the joints" if predictions.heatmaps is None else "the heatmaps"


def _check_rig(rig: PublishedRig, frames: EvaluatedFrames, predictions: PredictionFile, network: Any) -> Section:
    """Judge a rig by the predictions of its frames. The section NETWORK says how large crops and heatmaps are."""
    section = Section(rig.title)
    if len(rig.frames) < _MIN_FRAMES:
        section.not_judged(f"{len(rig.frames)} frames, at least {_MIN_FRAMES} are needed")
        return section
    to_heatmap = image_to_heatmap_affine(
        frames.center[rig.frames], frames.scale[rig.frames], network.IMAGE_SIZE, network.HEATMAP_SIZE
    )
    points = predicted_joints(predictions, frames, rig.frames, to_heatmap)
    joint_set = frames.joint_set
    flip_pairs = [tuple(joint_set.indices(pair)) for pair in joint_set.flip_pairs]
    settings = RefinementSettings(clocks=False)
    body = body_of(joint_set)
    limits = VerdictSettings(min_shift_px=_MIN_SHIFT_HM / float(np.median(similarity_scale(to_heatmap))))
    try:
        verdict = judge_rig(points, rig.cameras, rig.image_wh, rig.names, body, flip_pairs, settings, limits)
    except InputError as error:
        section.not_judged(f"the predictions show no person ({error})")
        return section
    if verdict.refinement is not None:
        section.body = f"{len(points)} frames.\n\n{view_table(view_results(verdict.refinement, rig.names))}"
    _add_verdict(section, verdict, limits)
    return section


def _add_verdict(section: Section, verdict: RigVerdict, limits: VerdictSettings) -> None:
    found = verdict.refinement
    if verdict.kind == RIGHT:
        section.add(
            NOTE,
            "no camera differs from the published one by more than chance (chi squared "
            f"{found.change:.0f}, {found.change_freedom} degrees of freedom), or by enough to matter "
            f"({found.shift_px:.2f} px; {limits.min_shift_px:.2f} px are a tenth of a heatmap pixel)",
        )
    elif verdict.kind == REFINED:
        section.add(
            WARNING,
            f"the published calibration misplaces joints by {found.shift_px:.1f} px: {'; '.join(verdict.notes)}",
        )
    elif found is None or matters(found, limits):
        section.add(WARNING, "; ".join(verdict.reasons))
    else:
        section.not_judged("; ".join(verdict.reasons))
