"""From Python: calibration with videos or detections -> 3D poses, files and figures, as run/demo/multiview.py.

docs/own_cameras.md keeps estimate_recording() and the methods of RecordingPoses. Imports torch only for a network.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config_io import load_config
from lib.core.export.export_poses import ExportSettings, export_sequence
from lib.core.export.pose_sequence import make_sequence
from lib.core.own_cameras.recording import Recording, associate, load_recording, synchronize, with_detections
from lib.core.own_cameras.recording_figures import save_label_sheet, save_video
from lib.core.own_cameras.recording_poses import AGREEMENT, DEFAULT_SETTINGS, smooth, triangulate
from lib.core.own_cameras.recording_results import POSES, save_recording_poses, save_results
from lib.core.pose3d.make_prior import load_prior
from lib.core.pose3d.methods import METHODS
from lib.dataset.own_cameras.blazepose_files import DEFAULT_CFG
from lib.models.registry import BACKBONES, fusion_name, needs_checkpoint
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.recording.robust_poses import RobustPoses, RobustSettings, leave_one_out
from lib.utils.errors import InputError, unknown_name
from lib.utils.files.atomic import make_directory
from lib.utils.joints import H36M_17


@dataclass(frozen=True)
class RecordingPoses:
    """Poses of one person in a recording of V cameras and F frames. Joints: the 17 of Human3.6M.

    Attributes:
        recording: cameras, videos, frame numbers and the person's joints in the images.
        poses: positions, inliers, swaps and covariances.
        method: name of the 3D method.
        settings: consensus between the views, and smoothing.
        config: configuration of the network; None if detections replace it.
        checkpoint: weights of the network; None = it needs none.
    """

    recording: Recording
    poses: RobustPoses
    method: str
    settings: RobustSettings
    config: Any = None
    checkpoint: str | os.PathLike | None = None

    @property
    def pose_world(self) -> np.ndarray:
        """(F, 17, 3) mm, world frame of the cameras; NaN = unknown."""
        return self.poses.pose_world

    @property
    def sd_mm(self) -> np.ndarray:
        """(F, 17) standard deviation per axis, mm; NaN = unknown."""
        return self.poses.sd_mm

    def save(self, out: str | os.PathLike, *, video: bool = True, leave_one_out: bool = False) -> dict[str, Any]:
        """Write poses, tables and report and, with videos, label sheet and video, as run/demo/multiview.py.

        Args:
            out: folder; results of earlier poses in it are replaced.
            video: write the video.
            leave_one_out: also predict each view from the others, see left_out_px().

        Returns:
            The content of results.json.
        """
        folder = make_directory(out)
        left_out_px = None
        if leave_one_out:
            save_recording_poses(folder, self.recording, self.poses)  # an error or interruption must not cost them
            left_out_px = self.left_out_px()
        return save_results(folder, self.recording, self.poses, self.method, left_out_px, video)

    def left_out_px(self) -> np.ndarray:
        """Predict the joints of each view from the other views.

        With BlazePose, everything is done again without the view. Otherwise, the joints are triangulated without it.

        Returns:
            (F, V, 17) distances of the view's joints from the prediction, px; NaN = none.

        Raises:
            InputError: fewer than three views.
        """
        if self.config is None or not BACKBONES[self.config.BACKBONE_MODEL].is_fixed:
            return leave_one_out(self.poses, self.recording.cameras, H36M_BODY, self.settings)
        from lib.core.own_cameras.heatmap_poses import leave_one_out_of_heatmaps  # torch

        prior = _prior_of_file(self.method, self.config)
        return leave_one_out_of_heatmaps(
            self.recording, self.poses, self.config, self.method, self.settings, prior, self.checkpoint
        )

    def export(
        self, out: str | os.PathLike, formats: Sequence[str], settings: ExportSettings | None = None
    ) -> dict[Path, str]:
        """Write files for other programs.

        Args:
            out: folder.
            formats: names in FORMATS, e.g. ("trc", "c3d", "bvh").
            settings: unit, axes and names; None = the defaults of each format.

        Returns:
            The files, each with its content in words.
        """
        recording = self.recording
        sequence = make_sequence(
            "", H36M_17.names, self.pose_world, recording.frame_numbers, recording.time_s, recording.rate
        )
        stem = Path(out) / Path(POSES).stem
        return export_sequence(sequence, formats, stem, settings or ExportSettings())

    def save_figure(self, path: str | os.PathLike, frames: Sequence[int] | None = None) -> None:
        """Draw frames of all views with the joints; needs videos.

        Args:
            path: .jpg or .png.
            frames: rows of `pose_world`; None = evenly spread.
        """
        if self.recording.videos is None:
            raise InputError("a figure needs the videos: videos=DIR")
        save_label_sheet(Path(path), self.recording, self.poses, frames)

    def save_video(self, path: str | os.PathLike) -> None:
        """Write a video, .mp4 or .gif, of the views next to the 3D pose; needs videos."""
        save_video(Path(path), self.recording, self.pose_world)


def estimate_recording(
    cameras: str | os.PathLike,
    videos: str | os.PathLike | None = None,
    detections: str | os.PathLike | None = None,
    *,
    config: str | os.PathLike | None = None,
    checkpoint: str | os.PathLike | None = None,
    fusion: str | None = None,
    opts: Sequence[str] = (),
    method: str | None = None,
    frames: tuple[int, int] | None = None,
    correct_sync: bool = False,
    settings: RobustSettings = DEFAULT_SETTINGS,
    **files: Any,
) -> RecordingPoses:
    """Estimate the poses of one person.

    Args:
        cameras: calibration file (TOML).
        videos: folder with one video per camera; None = none.
        detections: folder or file of 2D detections; None = a network finds the person: BlazePose, which needs no
            training, or the network of `config` and `checkpoint`.
        config: experiment (YAML) of the network.
        checkpoint: weights of the network; `detections`, if given as well, locate the person.
        fusion: fusion of the heatmaps across views, a name in FUSIONS; None = as in the configuration.
        opts: KEY VALUE pairs, further configuration keys of the network.
        method: 3D method: AGREEMENT, or a name in METHODS, which needs a network; None = the default.
        frames: use the frame numbers START to STOP - 1; None = all.
        correct_sync: correct the sync offsets between the views.
        settings: consensus between the views, and smoothing.
        files: unit, views, point_set, first_frame, rate and match of load_recording().

    Raises:
        InputError: a file is missing or does not fit, or arguments exclude each other.
    """
    keys = [*opts, *([] if fusion is None else ["NETWORK.FUSION", fusion])]
    network, method = network_and_method(config, checkpoint, keys, method, detections is not None)
    recording = load_recording(cameras, videos, detections, **files)
    return poses_of_recording(recording, network, checkpoint, method, settings, frames, correct_sync)


def network_and_method(
    cfg: str | os.PathLike | None,
    checkpoint: str | os.PathLike | None,
    opts: Sequence[str],
    method: str | None,
    has_detections: bool,
) -> tuple[Any, str]:
    """Return the configuration of the network, None if detections replace it, and the 3D method.

    Args:
        cfg: experiment (YAML) of the network; None = BlazePose without detections.
        checkpoint: weights of the network.
        opts: KEY VALUE pairs.
        method: name of the 3D method; None = the default.
        has_detections: there are detections.

    Raises:
        InputError: arguments exclude each other, or the method is unknown.
    """
    if method not in (None, AGREEMENT, *METHODS):
        raise unknown_name("method", method, [AGREEMENT, *METHODS], "--method")
    if checkpoint and not cfg:
        raise InputError("--checkpoint needs --cfg, the experiment that the network was trained with")
    if not checkpoint and has_detections:
        if cfg or opts:
            raise InputError("--cfg and --opts configure a network: they need --checkpoint, its weights")
        if method not in (None, AGREEMENT):
            raise InputError(f"--method {method} uses heatmaps: it needs --cfg and --checkpoint")
        return None, AGREEMENT
    config = load_config(cfg or DEFAULT_CFG, opts)
    is_fixed = BACKBONES[config.BACKBONE_MODEL].is_fixed
    if not checkpoint and needs_checkpoint(config.BACKBONE_MODEL, fusion_name(config.NETWORK)):
        part = f"NETWORK.FUSION {fusion_name(config.NETWORK)}" if is_fixed else f"--cfg {cfg}: its network"
        raise InputError(f"{part} needs --checkpoint, its weights")
    return config, method or ("rpsm+refine" if is_fixed else "rpsm")


def poses_of_recording(
    recording: Recording,
    config: Any,
    checkpoint: str | os.PathLike | None,
    method: str,
    settings: RobustSettings = DEFAULT_SETTINGS,
    frames: tuple[int, int] | None = None,
    correct_sync: bool = False,
    keep: Path | None = None,
) -> RecordingPoses:
    """Associate the person, synchronize, run the network and the 3D method, and smooth.

    Args:
        recording: result of load_recording().
        config, method: results of network_and_method().
        checkpoint: weights of the network.
        settings: consensus between the views, and smoothing.
        frames: use the frame numbers START to STOP - 1; None = all.
        correct_sync: correct the sync offsets between the views.
        keep: folder for the triangulated poses, which remain if the 3D method fails; None = none.

    Raises:
        InputError: as the steps.
    """
    if correct_sync and recording.detections is None:
        recording = _with_found_people(recording, config, checkpoint)
    if recording.detections is not None:
        recording = synchronize(associate(recording), correct=correct_sync)
    if frames is not None:
        recording = recording.select_frames(*frames)
    if keep is not None:
        make_directory(keep)
    if config is None:
        poses = smooth(triangulate(recording, settings), recording, settings)
    else:
        recording, poses = _poses_from_network(recording, config, checkpoint, method, settings, keep)
    return RecordingPoses(recording, poses, method, settings, config, checkpoint)


def _with_found_people(recording: Recording, config: Any, checkpoint: str | os.PathLike | None) -> Recording:
    """Add BlazePose's detections, from which sync offsets are estimated."""
    if not BACKBONES[config.BACKBONE_MODEL].is_fixed:
        raise InputError("--synchronize estimates offsets from detections: name them with --detections")
    from lib.core.own_cameras.heatmap_poses import detect_people  # torch

    return with_detections(recording, detect_people(recording, config, checkpoint))


def _prior_of_file(method: str, config: Any) -> LimbPrior | None:
    """Return the limb prior of PICT_STRUCT.PAIRWISE_FILE; None if the method needs none or there is no file."""
    needs_prior = method in METHODS and METHODS[method].needs_prior
    has_file = Path(config.PICT_STRUCT.PAIRWISE_FILE or "-").is_file()
    return load_prior(config.PICT_STRUCT) if needs_prior and has_file else None


def _poses_from_network(
    recording: Recording,
    config: Any,
    checkpoint: str | os.PathLike | None,
    method: str,
    settings: RobustSettings,
    keep: Path | None,
) -> tuple[Recording, RobustPoses]:
    """Run the network, triangulate its joints, and apply the 3D method if one is given."""
    # These import torch, which detections do not need.
    from lib.core.own_cameras.heatmap_poses import poses_from_heatmaps, poses_from_network

    prior = _prior_of_file(method, config)
    if BACKBONES[config.BACKBONE_MODEL].is_fixed:
        return poses_from_heatmaps(recording, config, method, settings, prior, checkpoint)
    save = None if keep is None else partial(save_recording_poses, keep)
    return poses_from_network(recording, config, checkpoint, method, settings, prior, save)
