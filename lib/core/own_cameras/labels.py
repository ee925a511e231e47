"""An own recording -> labels without annotation: a data set that training, validation and the 3D scripts read."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from lib.core.own_cameras.fit_tables import (
    capture_tables,
    pose_statistics,
    pose_tables,
    require_poses,
    rig_tables,
    warn,
)
from lib.core.own_cameras.person_prior import person_prior
from lib.core.own_cameras.recording import Capture
from lib.core.own_cameras.recording_figures import save_label_sheet
from lib.dataset.own_cameras.dataset_writer import MARKER, OwnLabels, WriteSettings, describe_cameras, write_labels
from lib.dataset.own_cameras.videos import read_instants
from lib.dataset.storage.new_dataset_folder import check_root, new_root
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.limb_prior import save_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.multiviews.recording.robust_poses import RobustPoses, RobustSettings
from lib.utils.errors import InputError
from lib.utils.files.atomic import write_bytes
from lib.utils.files.json_file import write_json

logger = logging.getLogger(__name__)

PRIOR = "pict/pairwise.pkl"
REPORT = "labels.md"
SHEET = "labels.jpg"


@dataclass(frozen=True)
class LabelSettings:
    """How labels are made and written.

    Attributes:
        write: images and split.
        robust: what counts as agreement.
    """

    write: WriteSettings
    robust: RobustSettings = field(default_factory=RobustSettings)


def make_labels(capture: Capture, root: Path, settings: LabelSettings, force: bool = False) -> str:
    """Write a data set ROOT of a recording.

    Args:
        capture: with videos and detections.
        root: the new folder: h36m/, pict/pairwise.pkl, and the report labels.md with labels.jpg.
        settings: how.
        force: replace a data set that was made here before.

    Returns:
        The report.

    Raises:
        InputError: no videos, a joint or a limb that is never known, settings out of range, or `root` may not be
            replaced.

    Source: paper sections 3.2 and 7.5, training on labels that the views agree on.
    """
    if capture.videos is None:
        raise InputError("labels need the videos: --videos")
    check_root(root, force, MARKER)
    settings.write.check(len(capture))
    poses = capture.poses(settings.robust)
    check = capture.check()
    require_poses(poses, check, capture.rig)
    _check_complete(poses)
    prior = person_prior(poses, PictorialSettings().first_grid)
    statistics = pose_statistics(poses, capture)
    warnings = warn(statistics, check, capture.rig.names)
    with new_root(root, force, MARKER) as folder:
        labels = OwnLabels(poses.pose_world, poses.agrees)
        pictures = read_instants(capture.videos, capture.table)
        counts = write_labels(folder, capture.rig, pictures, labels, settings.write)
        save_limb_prior(prior, folder / PRIOR)
        save_label_sheet(folder / SHEET, capture, poses)
        text = (
            "\n\n".join(
                [
                    "# Labels without annotation",
                    f"{counts['train']} instants for training, {counts['validation']} for "
                    f"validation. Tolerance {100 * settings.robust.tolerance:g} % of the person's size; "
                    f"{_smoothing(settings)}",
                    *warnings,
                    capture_tables(capture),
                    "## Cameras\n\n" + rig_tables(check, capture.rig.names),
                    pose_tables(statistics),
                    f"## Pictures\n\nFilled: kept; crosses: detections that were rejected.\n\n![labels]({SHEET})",
                ]
            )
            + "\n"
        )
        write_bytes(folder / REPORT, text.encode())
        write_json(
            folder / MARKER,
            {
                "settings": asdict(settings),
                "counts": counts,
                "statistics": statistics,
                "cameras": describe_cameras(capture.rig.cameras),
            },
        )
    return text


def _smoothing(settings: LabelSettings) -> str:
    cutoff = settings.robust.cutoff
    return "not smoothed." if cutoff is None else f"smoothed with a cutoff of {cutoff:g} cycles per frame."


def _check_complete(poses: RobustPoses) -> None:
    missing = ~np.isfinite(poses.pose_world).all((0, 2))
    if missing.any():
        name = H36M_BODY.joint_names[int(missing.argmax())]
        raise InputError(f"the views hardly ever agree on the {name}; check the cameras, or allow a larger --tolerance")
