"""Poses of one recording at even steps in time, read from a pose file and turned to another frame and unit."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib.core.pose3d.results_3d import read_poses
from lib.dataset.conventions import MM_PER_UNIT
from lib.multiviews.geometry.upright import turn_up, upright
from lib.utils.errors import InputError, check_shape

logger = logging.getLogger(__name__)

UP_AXES = ("y", "z")
WORLD_UP = ("auto", *(f"{sign}{axis}" for axis in "xyz" for sign in ("", "-")))
_CAMERA = re.compile(r"_ca_\d+$")  # end of the folders of Human3.6M, one per camera
_MAX_FILLED = 2  # rows per pose, up to which missing frames become rows


@dataclass(frozen=True)
class PoseSequence:
    """F poses of one person, and their times.

    Attributes:
        name: name of the recording in a run; "" for the only one of a recording's file.
        joint_names: the J joints.
        positions: (F, J, 3) in `unit`; NaN = unknown.
        frame: (F,) frame numbers in the video, or image numbers.
        time_s: (F,) seconds.
        rate: poses per second; None = the frames are not evenly spaced.
        unit: "mm", "cm" or "m".
    """

    name: str
    joint_names: tuple[str, ...]
    positions: np.ndarray
    frame: np.ndarray
    time_s: np.ndarray
    rate: float | None
    unit: str = "mm"

    def __len__(self) -> int:
        return len(self.frame)

    def turned(self, up: str | None, world_up: str = "auto") -> "PoseSequence":
        """Return the sequence with another axis up.

        y-up positions are (y, z, x) of z-up positions, as in Pose2Sim. The origin stays where it is.

        Args:
            up: "y" or "z"; None = the world frame of the cameras.
            world_up: vertical axis of the world frame, one of WORLD_UP; "auto" = from the person, see upright().
        """
        if up is None:
            return self
        rotation = upright(self.positions, self.joint_names) if world_up == "auto" else turn_up(_axis(world_up))
        positions = self.positions @ rotation.T
        return replace(self, positions=positions[..., [1, 2, 0]] if up == "y" else positions)

    def scaled(self, unit: str) -> "PoseSequence":
        """Return the sequence in another unit of length."""
        factor = MM_PER_UNIT[self.unit] / MM_PER_UNIT[unit]
        return replace(self, positions=self.positions * factor, unit=unit)

    def without(self, joints: Sequence[str]) -> "PoseSequence":
        """Return the sequence without some joints."""
        kept = [index for index, name in enumerate(self.joint_names) if name not in joints]
        names = tuple(self.joint_names[index] for index in kept)
        return replace(self, joint_names=names, positions=self.positions[:, kept])

    def filled(self) -> "PoseSequence":
        """Return the sequence without the joints that are never known; gaps of the others are interpolated over time.

        Raises:
            InputError: no position is known.
        """
        known = np.isfinite(self.positions).all(-1).any(0)
        if not known.any():
            raise InputError("pose_world: expected known positions, found none")
        kept = self.without([name for name, is_known in zip(self.joint_names, known, strict=True) if not is_known])
        positions = [interpolated(kept.positions[:, joint]) for joint in range(len(kept.joint_names))]
        return replace(kept, positions=np.stack(positions, 1))

    def evenly_spaced(self) -> "PoseSequence":
        """Return the sequence, whose missing frames became rows of NaN.

        Raises:
            InputError: most frames are missing, or there is no even step.
        """
        if self.rate is not None:
            return self
        steps = np.diff(self.frame)
        step = int(steps.min())
        count = int(self.frame[-1] - self.frame[0]) // step + 1
        if (steps % step).any() or count > _MAX_FILLED * len(self):
            raise InputError(
                f"frames {self.frame[0]} to {self.frame[-1]}{self.name and f' of {self.name}'}: expected even steps in "
                f"time, received {len(self)} frames in steps of {step} to {steps.max()}; export --to csv"
            )
        frame = self.frame[0] + step * np.arange(count)
        rows = (self.frame - self.frame[0]) // step
        positions = np.full((count, *self.positions.shape[1:]), np.nan)
        positions[rows] = self.positions
        time_s = np.interp(frame, self.frame, self.time_s)
        return replace(self, positions=positions, frame=frame, time_s=time_s, rate=_rate(time_s))


def load_sequences(path: str | os.PathLike, rate: float | None = None) -> list[PoseSequence]:
    """Read a pose file of run/demo/multiview.py or of run/pose3d/estimate.py.

    Args:
        path: the file.
        rate: frames per second of the video or of the images; None = the rate of the recording. Files of estimate.py
            hold no times, so they need it.

    Returns:
        One sequence per recording: one of a file of multiview.py. Image numbers of a run count from its names.

    Raises:
        InputError: the file is missing or damaged, or a rate is missing or not positive.
    """
    poses = read_poses(path)
    joint_names = tuple(poses["joint_names"].tolist())
    sizes = check_shape(f"{path}: pose_world", poses["pose_world"].shape, ("F", len(joint_names), 3))
    if not sizes["F"]:
        raise InputError(f"{path}: pose_world: expected at least one frame, received none")
    if rate is not None and not 0 < rate < np.inf:
        raise InputError(f"--rate: expected a positive number of frames per second, received {rate:g}")
    if "frame" in poses:
        frame, name = poses["frame"], np.full(sizes["F"], "")
        time_s = frame / rate if rate else poses["time_s"]
        if len(frame) == 1 and rate is None:
            raise InputError(f"{path}: one frame has no rate; give the frames per second with --rate")
    elif "image_ids" in poses:
        if rate is None:
            raise InputError(f"{path}: no times in a file of a run; give the images' rate, e.g. --rate 50 of Human3.6M")
        name, frame = _names_and_numbers(path, poses["image_ids"][:, 0].tolist())
        time_s = frame / rate
    else:
        raise InputError(f"{path}: expected frame or image_ids in a pose file, found neither; estimate the poses again")
    sequences = []
    for one in dict.fromkeys(name.tolist()):
        rows = np.flatnonzero(name == one)
        rows = rows[np.argsort(frame[rows], kind="stable")]
        steps = np.diff(frame[rows])
        if (steps < 1).any():
            raise InputError(f"{path}: frame {frame[rows][int((steps < 1).argmax())]} of '{one}' occurs twice")
        sequences.append(make_sequence(one, joint_names, poses["pose_world"][rows], frame[rows], time_s[rows], rate))
    return sequences


def make_sequence(
    name: str,
    joint_names: Sequence[str],
    pose_world: np.ndarray,
    frame: np.ndarray,
    time_s: np.ndarray,
    rate: float | None = None,
) -> PoseSequence:
    """Return the sequence of poses (F, J, 3), mm, at ascending frame numbers and times (F,).

    `rate` is used for one frame only; otherwise it follows from the times.
    """
    is_even = len(np.unique(np.diff(frame))) < 2
    found = _rate(time_s) if len(frame) > 1 else rate
    return PoseSequence(
        name, tuple(joint_names), pose_world.astype(np.float64), frame, time_s, found if is_even else None
    )


def interpolated(vectors: np.ndarray) -> np.ndarray:
    """Fill unknown rows of (F, 3) linearly, and with the nearest known row at both ends; some row must be known."""
    known = np.flatnonzero(np.isfinite(vectors).all(1))
    rows = np.arange(len(vectors))
    return np.stack([np.interp(rows, known, column) for column in vectors[known].T], 1)


def _rate(time_s: np.ndarray) -> float:
    """Return the rows per second, rounded to what float times carry."""
    return float(f"{(len(time_s) - 1) / (time_s[-1] - time_s[0]):.9g}")


def _names_and_numbers(path: str | os.PathLike, image_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the recording and the number (F,) of each image: its folder without the camera, and its last digits."""
    names, numbers = [], []
    for image in map(Path, image_ids):
        digits = re.search(r"(\d+)$", image.stem)
        if not digits:
            raise InputError(f"{path}: image {image}: expected a number at the end of the name, received none")
        names.append(_CAMERA.sub("", image.parent.name or image.stem[: digits.start()].rstrip("_-")))
        numbers.append(int(digits[1]))
    return np.array(names), np.array(numbers)


def _axis(name: str) -> np.ndarray:
    return np.eye(3)["xyz".index(name[-1])] * (-1 if name.startswith("-") else 1)
