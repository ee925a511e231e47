"""The 3D poses of a run together with the images they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config_io import dataset_root
from lib.core.pose3d.metrics_3d import joint_errors, mean_error
from lib.dataset.annotations import Annotations
from lib.dataset.data_sets import build_groups, has_views
from lib.dataset.protocol import Parts
from lib.multiviews.cameras import Cameras
from lib.utils.errors import InputError, check_shape, unknown_name
from lib.utils.joints import JointSet


@dataclass(frozen=True)
class RunPoses:
    """F frames of V views with predicted and true poses.

    Attributes:
        directory: the run directory.
        path: the file of the poses.
        annotations: of the test images.
        groups: (F, V) rows of the annotations.
        pose_world: (F, J, 3) mm.
        truth_world: (F, J, 3) mm.
        source: the predictions that the poses are of, None = unknown, as in files of older versions.
    """

    directory: Path
    path: Path
    annotations: Annotations
    groups: np.ndarray
    pose_world: np.ndarray
    truth_world: np.ndarray
    source: dict[str, str] | None = None

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def joint_set(self) -> JointSet:
        """The J joints."""
        return self.annotations.joint_set

    @property
    def actions(self) -> np.ndarray:
        """What per-action tables list the frames under, (F,): ids or names."""
        return self.annotations.labels3d.listed_actions(self.groups[:, 0])

    @property
    def parts(self) -> Parts:
        """The parts that results are given for, which frames they have; may be empty."""
        return self.annotations.labels3d.parts(self.groups[:, 0])

    def cameras(self, frame: int) -> Cameras:
        """Return the cameras of a frame, leading axis V."""
        labels = self.annotations.labels3d
        return labels.cameras[labels.camera_idx[self.groups[frame]]]

    def image_names(self) -> list[str]:
        """Return the names of all images, group by group, view by view."""
        return [self.annotations.image_name(row) for row in self.groups.ravel()]

    def frame_errors(self) -> np.ndarray:
        """Return the mean distance of each frame's joints, (F,) mm; NaN where no joint was found."""
        return np.array([mean_error(errors) for errors in joint_errors(self.pose_world, self.truth_world)])

    def title(self, frame: int) -> str:
        """Name a frame: number, subject, action, frame of the recording, error."""
        labels = self.annotations.labels3d
        row = self.groups[frame, 0]
        error = mean_error(joint_errors(self.pose_world[frame], self.truth_world[frame]))
        recording = labels.protocol.recording_name(labels.action[row], labels.subaction[row])
        return f"frame {frame}: S{labels.subject[row]} {recording}, image {labels.frame[row]}, error {error:.0f} mm"

    def check_frames(self, frames: list[int], flag: str) -> None:
        """Raise an InputError if a frame does not exist.

        Args:
            frames: indices.
            flag: the command line's flag that named them.
        """
        wrong = [frame for frame in frames if not 0 <= frame < len(self)]
        if wrong:
            raise InputError(f"{flag}: {wrong[0]} does not exist; the data set has frames 0 to {len(self) - 1}")

    def spread(self, count: int) -> list[int]:
        """Choose frames evenly over the data set."""
        return sorted({int(frame) for frame in np.linspace(0, len(self) - 1, min(count, len(self)))})

    def typical_and_worst(self) -> list[int]:
        """Return the frame with the median error and the one with the largest; one frame if they are the same."""
        order = np.argsort(self.frame_errors())  # frames without a joint come last: they are the worst
        return list(dict.fromkeys([int(order[(len(order) - 1) // 2]), int(order[-1])]))

    def recording(self, subject: str, action: str, subaction: str | None = None) -> list[int]:
        """Return the frames of a recording in the order of time.

        Args:
            subject: id, "9" or "S9".
            action: name or id, e.g. "Walking" or "14".
            subaction: id; None = all of them, one after the other.

        Raises:
            InputError: there is no such recording.
        """
        labels = self.annotations.labels3d
        rows = self.groups[:, 0]
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
                raise InputError(f"--sequence: no test frame of {name} {wanted}; there are {known}")
            chosen &= values == wanted
        frames = np.flatnonzero(chosen)
        rows = rows[frames]
        return frames[np.lexsort([labels.frame[rows], labels.subaction[rows]])].tolist()


def evaluated_groups(config: Any) -> tuple[Annotations, np.ndarray]:
    """Read the test frames, in the order in which valid.py predicts them.

    Returns:
        The annotations, and (F, V) their rows.

    Raises:
        InputError: the data set has no groups of calibrated views, or its annotation cannot be read.
    """
    name = config.DATASET.TEST_DATASET
    if not has_views(name) or name == "mixed":
        raise InputError(
            f"DATASET.TEST_DATASET: expected groups of calibrated views such as multiview_h36m, received '{name}'"
        )
    return build_groups(config.DATASET, dataset_root(config), is_train=False)


def image_ids_of(annotations: Annotations, groups: np.ndarray) -> np.ndarray:
    """Return the image names (F, V) of groups, rows (F, V) of the annotations."""
    return np.array([[annotations.image_name(row) for row in group] for group in groups])


def load_poses(path: Path) -> dict[str, np.ndarray]:
    """Read a file of 3D results.

    Args:
        path: poses3d.npz.

    Returns:
        Its arrays: pose_world and gt_world (F, J, 3) mm, image_ids (F, V), joint_names, ...

    Raises:
        InputError: missing or damaged, or one of these arrays is missing.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            poses = dict(file)
    except FileNotFoundError:
        there = ", ".join(sorted(found.name for found in path.parent.glob("poses3d*.npz")))
        hint = f"; there are {there}" if there else ""
        raise InputError(f"{path}: no such file; run/pose3d/estimate.py writes it{hint}") from None
    except Exception as error:  # a damaged archive raises nearly anything
        raise InputError(f"{path}: not a file of 3D poses, or cut off ({error})") from None
    lacking = {"pose_world", "gt_world", "image_ids", "joint_names"} - poses.keys()
    if lacking:
        raise InputError(f"{path}: not a file of 3D poses: it has no '{min(lacking)}'")
    return poses


def poses_source(poses: Mapping[str, np.ndarray]) -> dict[str, str] | None:
    """Return what poses of load_poses() are of, as save_poses() noted it; None = they do not say."""
    names = {key: f"predictions_{key}" for key in ("file", "fingerprint")}
    return {key: str(poses[name]) for key, name in names.items()} if poses.keys() >= set(names.values()) else None


def poses_of_frames(path: Path, image_ids: np.ndarray, joint_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read a file of 3D results and check that it is for some frames.

    Args:
        path: poses3d.npz.
        image_ids: (F, V) names of the frames' images.
        joint_names: the J joints.

    Returns:
        As load_poses().

    Raises:
        InputError: missing, damaged, or made for other images or joints.
    """
    poses = load_poses(path)
    if poses["joint_names"].tolist() != list(joint_names):
        raise InputError(f"{path}: joints are {poses['joint_names'].tolist()}, expected {list(joint_names)}")
    if not np.array_equal(poses["image_ids"], image_ids):
        raise InputError(f"{path}: made for other images; run run/pose3d/estimate.py again")
    for name in ("pose_world", "gt_world"):
        check_shape(f"{path}: {name}", poses[name].shape, (len(image_ids), len(joint_names), 3))
        if poses[name].dtype.kind != "f":
            raise InputError(f"{path}: {name}: expected distances in mm, received {poses[name].dtype}")
    return poses


def load_run_poses(config: Any, directory: Path, poses_name: str) -> RunPoses:
    """Read the poses of a run and the annotation of its test images.

    Args:
        config: the configuration of the run.
        directory: the run directory.
        poses_name: file of the poses, in the run directory.

    Raises:
        InputError: missing, damaged, or made for other images or joints.
    """
    path = directory / poses_name
    annotations, groups = evaluated_groups(config)
    poses = poses_of_frames(path, image_ids_of(annotations, groups), annotations.joint_set.names)
    return RunPoses(directory, path, annotations, groups, poses["pose_world"], poses["gt_world"], poses_source(poses))


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
