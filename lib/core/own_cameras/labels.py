"""Labels without annotation: a recording as a data set for training, validation and the 3D scripts."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from lib.core.own_cameras.recording import Recording
from lib.core.own_cameras.recording_figures import save_label_sheet
from lib.core.own_cameras.recording_poses import check_cameras, person_prior, smooth, triangulate
from lib.core.own_cameras.recording_tables import pose_statistics, report_parts
from lib.core.rig_refinement.rig_hint import hint_parts, rig_hint
from lib.dataset.own_cameras.dataset_writer import MARKER, WriteSettings, write_labels
from lib.dataset.own_cameras.videos import read_frames
from lib.dataset.storage.new_dataset_folder import check_dataset_folder, new_dataset_folder
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.limb_prior import save_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.multiviews.recording.robust_poses import RobustSettings
from lib.utils.errors import InputError
from lib.utils.files.atomic import write_bytes
from lib.utils.files.json_file import write_json

PRIOR = "pict/pairwise.pkl"
REPORT = "labels.md"
SHEET = "labels.jpg"


def make_labels(
    recording: Recording, root: Path, write: WriteSettings, robust: RobustSettings, force: bool = False
) -> str:
    """Write a data set ROOT of a recording.

    Args:
        recording: synchronized recording with videos and detections.
        root: new folder: h36m/, pict/pairwise.pkl, and the report labels.md with labels.jpg.
        write: split and images.
        robust: consensus between views, and smoothing.
        force: replace a data set that was written here before.

    Returns:
        The report as Markdown.

    Raises:
        InputError: no videos, a joint or a limb that is never known, invalid settings, or `root` may not be replaced.

    Source: paper sections 3.2 and 7.5, training on labels that the views agree on.
    """
    if recording.videos is None:
        raise InputError("labels need the videos: --videos")
    check_dataset_folder(root, force, MARKER)
    write.check(len(recording))
    poses = smooth(triangulate(recording, robust), recording, robust)
    left_out = len(recording) - int(poses.agrees.any((1, 2)).sum())
    missing = ~np.isfinite(poses.pose_world).all(2).any(0)
    if missing.any():
        name = H36M_BODY.joint_names[int(missing.argmax())]
        raise InputError(f"the views never agree on the {name}; check the cameras, or allow a larger --tolerance")
    prior = person_prior(poses, PictorialSettings().first_grid)
    statistics = pose_statistics(poses, recording)
    report = [*hint_parts(rig_hint(recording, poses)), *report_parts(recording, statistics, check_cameras(recording))]
    with new_dataset_folder(root, force, MARKER) as folder:
        images = read_frames(recording.videos, recording.table)
        counts = write_labels(folder, recording.rig, images, poses.pose_world, poses.agrees, write)
        save_limb_prior(prior, folder / PRIOR)
        save_label_sheet(folder / SHEET, recording, poses)
        parts = [
            "# Labels without annotation",
            f"{counts['train']} frames for training, {counts['validation']} for validation. "
            + (f"{left_out} frames are left out: the views agree on no joint. " if left_out else "")
            + robust.describe(),
            *report,
            f"## Images\n\nDots: kept; crosses: rejected detections.\n\n![labels]({SHEET})",
        ]
        text = "\n\n".join(parts) + "\n"
        write_bytes(folder / REPORT, text.encode())
        settings = {"write": asdict(write), "robust": asdict(robust)}
        write_json(folder / MARKER, {"settings": settings, "counts": counts, "statistics": statistics})
    return text
