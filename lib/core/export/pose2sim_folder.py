"""Project folder for the kinematics of Pose2Sim."""

import re
from pathlib import Path

from lib.core.export.marker_names import POSE2SIM, marker_names
from lib.core.export.pose_sequence import PoseSequence
from lib.core.export.text_files import write_trc
from lib.utils.files.atomic import read_text, write_bytes

# The marker set has no spine. Its head is the vertex, which detectors of ears and eyes do not find.
LEFT_OUT = ("belly", "head")
# Body_with_feet is the marker set HALPE_26. Without its feet markers Pose2Sim neither scales nor moves the feet.
_CONFIG = """\
# Written from estimated 3D poses. In this folder: python -c "from Pose2Sim import Pose2Sim; Pose2Sim.kinematics()"
[project]
multi_person = false
participant_height = 'auto'
participant_mass = 70.0  # kg
frame_rate = {rate}
frame_range = 'all'

[pose]
pose_model = 'Body_with_feet'

[kinematics]
use_augmentation = false
use_simple_model = false
right_left_symmetry = true
default_height = 1.7
remove_individual_scaling_setup = true
remove_individual_ik_setup = true
large_hip_knee_angles = 90
trimmed_extrema_percent = 50

[logging]
use_custom_logging = false
"""


def write_pose2sim(path: Path, sequence: PoseSequence) -> None:
    """Write Config.toml and pose-3d/NAME.trc, as Pose2Sim.kinematics() reads them, without the joints LEFT_OUT.

    Pose2Sim cannot scale its model with unknown positions, so gaps are interpolated and joints that are never known are
    left out. Other files in the folder stay, such as results of Pose2Sim. In a Config.toml, which may be edited, only
    the frame rate is set.

    Args:
        path: the folder.
        sequence: evenly spaced poses, y up, in m.

    Raises:
        InputError: no position is known.

    Source: Pose2Sim 0.10, kinematics.py and its demo's Config.toml.
    """
    kept = sequence.without(LEFT_OUT).filled()
    write_trc(trc_in_folder(path), kept, marker_names(kept.joint_names, POSE2SIM))
    config = path / "Config.toml"
    rate = f"{sequence.rate:.9g}"
    text = _CONFIG.format(rate=rate)
    if config.exists():
        text = re.sub(r"(?m)^(\s*frame_rate\s*=[ \t]*)[^\s#]+", rf"\g<1>{rate}", read_text(config))
    write_bytes(config, text.encode())


def trc_in_folder(path: Path) -> Path:
    """Return the TRC file in a folder of write_pose2sim()."""
    return path / "pose-3d" / f"{path.name}.trc"
