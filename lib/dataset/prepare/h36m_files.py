"""The contents of Human3.6M's archives on disk: where each recording's files are, and the poses in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cdflib
import numpy as np

from lib.dataset.prepare.h36m_metadata import H36MMetadata
from lib.dataset.storage.record_writer import Clip
from lib.utils.errors import InputError

NUM_CAMERAS = 4
NUM_RAW_JOINTS = 32
# The 17 joints of the annotation among the 32 of the files.
KEPT_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 16, 14, 15, 17, 18, 19, 25, 26, 27)
_POSE_VARIABLE = "Pose"

# Below the subject's folder: as the archives unpack, and as tools that fetch them name the folders.
_FOLDERS = {
    "video": ("Videos",),
    "pose": ("MyPoseFeatures/D3_Positions_mono", "Poses_D3_Positions_mono"),
    "points": ("MyPoseFeatures/D2_Positions", "Poses_D2_Positions"),
    "universal": ("MyPoseFeatures/D3_Positions_mono_universal", "Poses_D3_Positions_mono_universal"),
}
_SUFFIXES = {"video": ".mp4"}
_OPTIONAL = ("universal",)

Recording = tuple[int, int, int]  # subject, action, sub-action


@dataclass(frozen=True)
class ClipFiles:
    """The files of one camera's film of a recording.

    Attributes:
        clip: whose they are.
        video: MP4.
        pose: CDF of the joints in the camera frame, mm.
        points: CDF of the joints in the image, px.
        universal: CDF of the joints of the universal skeleton in the camera frame, mm; None where it is absent.
    """

    clip: Clip
    video: Path
    pose: Path
    points: Path
    universal: Path | None


def find_clips(
    raw: Path, metadata: H36MMetadata, recordings: Iterable[Recording]
) -> tuple[dict[Recording, list[ClipFiles]], dict[Recording, list[str]]]:
    """Find the files of recordings.

    Args:
        raw: folder with S1, S5, ...
        metadata: names of the files.
        recordings: which.

    Returns:
        Recording -> the clips of the four cameras, for those that are complete; recording -> the paths that are
        missing, for the others.
    """
    complete, missing = {}, {}
    for recording in recordings:
        if recording not in metadata.base_names:
            missing[recording] = [
                f"metadata.xml names no file of S{recording[0]}, action {recording[1]}, sub-action {recording[2]}"
            ]
            continue
        clips = [_find_clip(raw, metadata, recording, camera_id) for camera_id in range(NUM_CAMERAS)]
        lacking = [path for _, paths in clips for path in paths]
        if lacking:
            missing[recording] = lacking
        else:
            complete[recording] = [files for files, _ in clips]
    return complete, missing


def _find_clip(
    raw: Path, metadata: H36MMetadata, recording: Recording, camera_id: int
) -> tuple[ClipFiles | None, list[str]]:
    """Return the clip's files, and the paths of those that are missing."""

    def name(kind: str) -> str:
        return metadata.file_stem(recording, camera_id) + _SUFFIXES.get(kind, ".cdf")

    found = {}
    for kind, folders in _FOLDERS.items():
        paths = [raw / f"S{recording[0]}" / folder / name(kind) for folder in folders]
        found[kind] = next((path for path in paths if path.is_file()), None)
    lacking = [kind for kind, path in found.items() if path is None and kind not in _OPTIONAL]
    if lacking:
        return None, [str(raw / f"S{recording[0]}" / _FOLDERS[kind][0] / name(kind)) for kind in lacking]
    return ClipFiles(Clip(*recording, camera_id), **found), []


def read_joints(path: Path, num_coordinates: int) -> np.ndarray:
    """Read the joints of a CDF file.

    Args:
        path: the file; its variable `Pose` is (1, frames, 32 * num_coordinates).
        num_coordinates: 3 (mm) or 2 (px).

    Returns:
        (frames, 17, num_coordinates) float64.

    Raises:
        InputError: missing, damaged, of another shape, or with values that are not finite.
    """
    try:
        values = np.asarray(cdflib.CDF(path).varget(_POSE_VARIABLE), np.float64)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # a damaged CDF raises nearly anything
        raise InputError(f"{path}: not a CDF file with '{_POSE_VARIABLE}', or cut off ({error})") from None
    width = NUM_RAW_JOINTS * num_coordinates
    if values.ndim not in (2, 3) or values.shape[-1] != width or values[..., 0].size != values.shape[-2]:
        raise InputError(f"{path}: expected '{_POSE_VARIABLE}' of shape (1, frames, {width}), received {values.shape}")
    joints = values.reshape(-1, NUM_RAW_JOINTS, num_coordinates)[:, KEPT_JOINTS]
    if not np.isfinite(joints).all():
        frame = int(np.argwhere(~np.isfinite(joints))[0, 0])
        raise InputError(f"{path}: frame {frame + 1} has joints that are not finite")
    return joints
