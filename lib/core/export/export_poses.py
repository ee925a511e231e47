"""Pose files -> files for other programs. Imports no torch."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.export.bvh_file import write_bvh
from lib.core.export.marker_names import BIPED, JOINTS, MARKER_SETS, POSE2SIM, marker_names
from lib.core.export.pose2sim_folder import trc_in_folder, write_pose2sim
from lib.core.export.pose_sequence import UP_AXES, WORLD_UP, PoseSequence, load_sequences
from lib.core.export.text_files import write_pose_csv, write_trc
from lib.dataset.conventions import MM_PER_UNIT
from lib.utils.errors import InputError, unknown_name


@dataclass(frozen=True)
class ExportFormat:
    """Defaults of a format.

    Attributes:
        suffix: end of the file's name.
        unit: unit of length, a key of MM_PER_UNIT.
        up: vertical axis, one of UP_AXES; None = the world frame of the cameras.
        marker_set: name in MARKER_SETS.
        is_fixed: the format allows no other values.
    """

    suffix: str
    unit: str
    up: str | None
    marker_set: str
    is_fixed: bool = False


FORMATS: Mapping[str, ExportFormat] = {
    "trc": ExportFormat(".trc", "m", "y", POSE2SIM),
    "c3d": ExportFormat(".c3d", "mm", "z", POSE2SIM),
    "bvh": ExportFormat(".bvh", "cm", "y", BIPED),
    "csv": ExportFormat("_export.csv", "mm", None, JOINTS),
    "pose2sim": ExportFormat("_pose2sim", "m", "y", POSE2SIM, is_fixed=True),
}


@dataclass(frozen=True)
class ExportSettings:
    """What the exported files hold; None = the default of each format.

    Attributes:
        unit: unit of length, a key of MM_PER_UNIT.
        up: vertical axis, one of UP_AXES.
        marker_set: names of the joints, a name in MARKER_SETS.
        rate: frames per second of the video or images; None = the rate of the recording.
        world_up: vertical axis of the poses, one of WORLD_UP; "auto" = from the person.
    """

    unit: str | None = None
    up: str | None = None
    marker_set: str | None = None
    rate: float | None = None
    world_up: str = "auto"

    def check(self) -> None:
        """Raise an InputError for a value that does not exist."""
        known = {"unit": MM_PER_UNIT, "up": UP_AXES, "marker_set": MARKER_SETS, "world_up": WORLD_UP}
        for name, values in known.items():
            value = getattr(self, name)
            if value is not None and value not in values:
                raise unknown_name(name, value, values)


_DEFAULTS = ExportSettings()


def export_poses(
    poses: str | os.PathLike,
    formats: Sequence[str],
    out: str | os.PathLike | None = None,
    settings: ExportSettings = _DEFAULTS,
) -> dict[Path, str]:
    """Write a pose file in other formats.

    Args:
        poses: poses3d.npz of run/demo/multiview.py, or a pose file of run/pose3d/estimate.py; the latter hold many
            recordings, each of which becomes a file.
        formats: names in FORMATS.
        out: folder for the files; None = the folder of the pose file.
        settings: unit, axes, names and rate.

    Returns:
        The files, each with frames, rate, unit, axes and names in words. They are named as the pose file, for runs with
        the recording.

    Raises:
        InputError: an unknown name, a damaged file, frames without a common rate, or a disk that is full.
    """
    settings.check()
    check_formats(formats)
    path = Path(poses)
    folder = path.parent if out is None else Path(out)
    written = {}
    for sequence in load_sequences(path, settings.rate):
        stem = "_".join(filter(None, (path.stem, sequence.name)))
        written |= export_sequence(sequence, formats, folder / stem, settings)
    return written


def export_sequence(
    sequence: PoseSequence, formats: Sequence[str], stem: Path, settings: ExportSettings = _DEFAULTS
) -> dict[Path, str]:
    """Write the poses of one recording; the files are `stem` with the suffixes of the formats. See export_poses()."""
    settings.check()
    check_formats(formats)
    files = {stem.with_name(stem.name + FORMATS[name].suffix): name for name in formats}
    return {file: _write(file, name, sequence, settings) for file, name in files.items()}


def remove_exports(poses: Path) -> None:
    """Remove the files that export_poses() has written of earlier poses in the folder of a recording's pose file."""
    for one in FORMATS.values():
        path = poses.with_name(poses.stem + one.suffix)
        (path if path.suffix else trc_in_folder(path)).unlink(missing_ok=True)


def _write(path: Path, name: str, sequence: PoseSequence, settings: ExportSettings) -> str:
    """Write one file, and return what it holds in words."""
    chosen = FORMATS[name]
    unit = chosen.unit if chosen.is_fixed else settings.unit or chosen.unit
    up = chosen.up if chosen.is_fixed else settings.up or chosen.up
    marker_set = chosen.marker_set if chosen.is_fixed else settings.marker_set or chosen.marker_set
    names = marker_names(sequence.joint_names, marker_set)
    sequence = sequence.turned(up, settings.world_up).scaled(unit)
    words = [f"{unit}, {'world frame' if up is None else f'{up} up'}", f"names {marker_set}"]
    if name == "csv":
        write_pose_csv(path, sequence, names)
        return ", ".join([_count(sequence), *words])
    sequence = sequence.evenly_spaced()
    words = [f"{_count(sequence)}, {sequence.rate:.6g} per second", *words]
    if name == "trc":
        write_trc(path, sequence, names)
    elif name == "pose2sim":
        write_pose2sim(path, sequence)
    elif name == "c3d":
        from lib.core.export.c3d_file import write_c3d  # ezc3d, which other formats do not need

        write_c3d(path, sequence, names, up)
    else:
        found = write_bvh(path, sequence, marker_set, up)
        words.append(
            "constant limb lengths, which move joints by {median_mm:.1f} mm (median), at most {max_mm:.1f} mm".format(
                **found
            )
        )
    unknown = float(np.isnan(sequence.positions).any(-1).mean())
    if unknown and name in ("bvh", "pose2sim"):
        words.append(f"{100 * unknown:.1f} % of the positions are unknown and interpolated or left out")
    return ", ".join(words)


def _count(sequence: PoseSequence) -> str:
    return f"{len(sequence)} frame{'' if len(sequence) == 1 else 's'}"


def add_export_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ExportSettings, except the rate."""
    add = parser.add_argument
    defaults = {
        word: ", ".join(f"{name} {getattr(one, word) or 'world frame'}" for name, one in FORMATS.items())
        for word in ("unit", "up", "marker_set")
    }
    add("--unit", choices=tuple(MM_PER_UNIT), help=f"unit of length (default: {defaults['unit']})")
    add("--up", choices=UP_AXES, help=f"vertical axis of the files (default: {defaults['up']})")
    add("--names", choices=tuple(MARKER_SETS), help=f"names of the joints (default: {defaults['marker_set']})")
    add(
        "--world-up",
        choices=WORLD_UP,
        default="auto",
        help="vertical axis of the poses' world frame, e.g. --world-up=-y; auto: from the person",
    )


def export_settings(args: Any) -> ExportSettings:
    """Return the settings of the flags."""
    return ExportSettings(args.unit, args.up, args.names, args.rate, args.world_up)


def check_formats(formats: Sequence[str]) -> None:
    """Raise an InputError for a format that does not exist, or whose library is not installed."""
    for name in formats:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    if "c3d" in formats and find_spec("ezc3d") is None:
        raise InputError("format c3d: expected the package ezc3d, found none; run pip install -r requirements.txt")
