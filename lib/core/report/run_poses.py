"""Predicted 3D poses of a run, with everything needed to evaluate and draw them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.pose3d.frames import EvaluatedFrames, load_frames
from lib.core.pose3d.methods import root_index
from lib.core.pose3d.metrics_3d import joint_errors, mean_error
from lib.core.pose3d.results_3d import load_poses, poses_source
from lib.multiviews.body import body_of
from lib.utils.errors import InputError, unknown_name


@dataclass(frozen=True)
class RunPoses:
    """Poses of F frames.

    Attributes:
        path: the pose file, in the run directory or elsewhere.
        directory: the run directory.
        predictions_path: the predicted heatmaps.
        frames: the frames.
        root: index of the root joint.
        crop_wh: (width, height) of the network's crops.
        data_format: "jpg" or "zip", where the images are.
        pose_world: (F, J, 3) mm.
        gt_world: (F, J, 3) mm, as stored with the poses.
        source: provenance of the predictions; None = unknown, as in older files.
        num_views_agree: (F, J) views that support the joint; None = unknown, as in older files.
    """

    path: Path
    directory: Path
    predictions_path: Path
    frames: EvaluatedFrames
    root: int
    crop_wh: tuple[int, int]
    data_format: str
    pose_world: np.ndarray
    gt_world: np.ndarray
    source: dict[str, str] | None = None
    num_views_agree: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def frame_errors(self) -> np.ndarray:
        """Return the mean error of each frame, (F,) mm; NaN if it has no joint."""
        return np.array([mean_error(errors) for errors in joint_errors(self.pose_world, self.gt_world)])

    def title(self, frame: int) -> str:
        """Return number, subject, action, image number and error of a frame."""
        labels = self.frames.annotations.labels3d
        row = self.frames.groups[frame, 0]
        error = mean_error(joint_errors(self.pose_world[frame], self.gt_world[frame]))
        recording = labels.protocol.recording_name(labels.action[row], labels.subaction[row])
        return f"frame {frame}: S{labels.subject[row]} {recording}, image {labels.frame[row]}, error {error:.0f} mm"

    def check_frames(self, frames: list[int], flag: str) -> None:
        """Raise an InputError if a frame does not exist; `flag` is the command line flag that named it."""
        wrong = [frame for frame in frames if not 0 <= frame < len(self)]
        if wrong:
            raise InputError(f"{flag}: {wrong[0]} does not exist; the data set has frames 0 to {len(self) - 1}")

    def evenly_spaced(self, count: int) -> list[int]:
        """Return up to `count` frames, evenly spaced over the data set."""
        return sorted({int(frame) for frame in np.linspace(0, len(self) - 1, min(count, len(self)))})

    def typical_and_worst(self) -> list[int]:
        """Return the frame with the median error and the frame with the largest; one frame if they are the same."""
        order = np.argsort(self.frame_errors())  # NaN, a frame without any joint, counts as largest
        return list(dict.fromkeys([int(order[(len(order) - 1) // 2]), int(order[-1])]))

    def recording(self, subject: str, action: str, subaction: str | None = None) -> list[int]:
        """Return the frames of a recording, ordered by time.

        Args:
            subject: id, "9" or "S9".
            action: name or id, e.g. "Walking" or "14".
            subaction: id; None = all, one after the other.

        Raises:
            InputError: there is no such recording.
        """
        labels = self.frames.annotations.labels3d
        rows = self.frames.groups[:, 0]
        ids = {
            "subject": (labels.subject[rows], _number("subject", subject.upper().removeprefix("S"))),
            "action": (labels.action[rows], _action_id(action, labels.protocol.action_names)),
        }
        if subaction is not None:
            ids["subaction"] = (labels.subaction[rows], _number("subaction", subaction))
        chosen = np.ones(len(rows), bool)
        for name, (values, wanted) in ids.items():
            if not (chosen & (values == wanted)).any():
                known = ", ".join(str(value) for value in np.unique(values[chosen]))
                named = f" ({action})" if name == "action" and action != str(wanted) else ""
                raise InputError(f"--sequence: no test frame of {name} {wanted}{named}; there are {known}")
            chosen &= values == wanted
        frames = np.flatnonzero(chosen)
        rows = rows[frames]
        return frames[np.lexsort([labels.frame[rows], labels.subaction[rows]])].tolist()


def load_run_poses(config: Any, directory: Path, poses_name: str) -> RunPoses:
    """Load the poses of a run and the annotation of its test images.

    Args:
        config: the configuration of the run; reads DATA_DIR, DATASET, NETWORK.IMAGE_SIZE and
            TEST.HEATMAP_LOCATION_FILE.
        directory: the run directory.
        poses_name: the pose file, relative to the run directory.

    Raises:
        InputError: missing, damaged, or made for other images or joints.
    """
    path = directory / poses_name
    frames = load_frames(config)
    poses = load_poses(path, frames.image_ids, frames.joint_set.names)
    return RunPoses(
        path=path,
        directory=directory,
        predictions_path=directory / config.TEST.HEATMAP_LOCATION_FILE,
        frames=frames,
        root=root_index(config.DATASET.ROOTIDX, body_of(frames.joint_set)),
        crop_wh=tuple(config.NETWORK.IMAGE_SIZE),
        data_format=config.DATASET.DATA_FORMAT,
        pose_world=poses["pose_world"],
        gt_world=poses["gt_world"],
        source=poses_source(poses),
        num_views_agree=poses.get("num_views_agree"),
    )


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise InputError(f"--sequence: expected the number of a {name}, received '{text}'")
    return int(text)


def _action_id(text: str, names: Mapping[int, str]) -> int:
    by_name = {name.lower(): action for action, name in names.items()}
    if text.isdecimal():
        return int(text)
    if text.lower() not in by_name:
        raise unknown_name("action", text, names.values(), "--sequence")
    return by_name[text.lower()]
