"""Files of Human3.6M's archives: paths of each recording, joints in the CDF files."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cdflib
import numpy as np

from lib.dataset.prepare.h36m_metadata import H36MMetadata, RecordingId
from lib.dataset.storage.record_writer import Clip
from lib.utils.errors import InputError, brief

NUM_CAMERAS = 4
NUM_RAW_JOINTS = 32
# The 17 joints of the annotation among the 32 of the files.
KEPT_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 16, 14, 15, 17, 18, 19, 25, 26, 27)
_POSE_VARIABLE = "Pose"

# Folders below the subject's folder: as the archives unpack, and as download tools name them.
_FOLDERS = {
    "video": ("Videos",),
    "pose": ("MyPoseFeatures/D3_Positions_mono", "Poses_D3_Positions_mono"),
    "points": ("MyPoseFeatures/D2_Positions", "Poses_D2_Positions"),
    "universal": ("MyPoseFeatures/D3_Positions_mono_universal", "Poses_D3_Positions_mono_universal"),
}
_OPTIONAL = ("universal",)


@dataclass(frozen=True)
class ClipFiles:
    """Files of a clip, the video of one camera in a recording.

    Attributes:
        clip: subject, action, sub-action and camera.
        video: MP4.
        pose: CDF with joints in the camera frame, mm.
        points: CDF with joints in the image, px.
        universal: CDF with joints of the universal skeleton in the camera frame, mm; None if absent.
    """

    clip: Clip
    video: Path
    pose: Path
    points: Path
    universal: Path | None


def recording_of(clip: Clip) -> RecordingId:
    """Return (subject, action, sub-action) of a clip."""
    return clip.subject, clip.action, clip.subaction


def find_clips(
    raw: Path, metadata: H36MMetadata, recordings: Iterable[RecordingId]
) -> tuple[dict[RecordingId, list[ClipFiles]], dict[RecordingId, list[str]]]:
    """Find the files of recordings.

    Args:
        raw: folder with S1, S5, ...
        metadata: file names.
        recordings: the recordings to find.

    Returns:
        Complete recording -> clips of the four cameras, and incomplete recording -> missing paths.
    """
    complete, missing = {}, {}
    for recording in recordings:
        if recording not in metadata.base_names:
            subject, action, subaction = recording
            missing[recording] = [f"metadata.xml names no file of S{subject}, action {action}, sub-action {subaction}"]
            continue
        clips = [_find_clip(raw, metadata, Clip(*recording, camera_id)) for camera_id in range(NUM_CAMERAS)]
        lacking = [path for _, paths in clips for path in paths]
        if lacking:
            missing[recording] = lacking
        else:
            complete[recording] = [files for files, _ in clips]
    return complete, missing


def _find_clip(raw: Path, metadata: H36MMetadata, clip: Clip) -> tuple[ClipFiles | None, list[str]]:
    """Return the files of a clip and the missing paths."""
    stem = metadata.file_stem(recording_of(clip), clip.camera_id)
    found, missing = {}, []
    for kind, folders in _FOLDERS.items():
        suffix = ".mp4" if kind == "video" else ".cdf"
        paths = [raw / f"S{clip.subject}" / folder / f"{stem}{suffix}" for folder in folders]
        found[kind] = next((path for path in paths if path.is_file()), None)
        if found[kind] is None and kind not in _OPTIONAL:
            missing.append(str(paths[0]))
    return (None, missing) if missing else (ClipFiles(clip, **found), [])


def read_joints(path: Path, num_coordinates: int) -> np.ndarray:
    """Read the joints of a CDF file.

    Args:
        path: the file. Its variable `Pose` is (1, frames, 32 * num_coordinates).
        num_coordinates: 3 (mm) or 2 (px).

    Returns:
        (frames, 17, num_coordinates) float64.

    Raises:
        InputError: the file is missing, damaged, of another shape or has values that are not finite.
    """
    try:
        values = np.asarray(cdflib.CDF(path).varget(_POSE_VARIABLE), np.float64)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # a damaged CDF raises nearly anything
        raise InputError(f"{path}: not a CDF file with '{_POSE_VARIABLE}', or truncated ({brief(error)})") from None
    width = NUM_RAW_JOINTS * num_coordinates
    if values.ndim not in (2, 3) or values.shape[-1] != width or values[..., 0].size != values.shape[-2]:
        raise InputError(f"{path}: expected '{_POSE_VARIABLE}' of shape (1, frames, {width}), received {values.shape}")
    joints = values.reshape(-1, NUM_RAW_JOINTS, num_coordinates)[:, KEPT_JOINTS]
    if not np.isfinite(joints).all():
        frame = int(np.argwhere(~np.isfinite(joints))[0, 0])
        raise InputError(f"{path}: frame {frame + 1} has joints that are not finite")
    return joints
