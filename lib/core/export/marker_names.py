"""Names of the joints in exported files."""

from collections.abc import Mapping, Sequence

from lib.utils.errors import InputError
from lib.utils.joints import H36M_17

JOINTS = "joints"
POSE2SIM = "pose2sim"
BIPED = "biped"

# project, Pose2Sim and OpenSim, characters in animation programs
_ROWS = (
    ("root", "Hip", "Hips"),
    ("rhip", "RHip", "RightUpLeg"),
    ("rkne", "RKnee", "RightLeg"),
    ("rank", "RAnkle", "RightFoot"),
    ("lhip", "LHip", "LeftUpLeg"),
    ("lkne", "LKnee", "LeftLeg"),
    ("lank", "LAnkle", "LeftFoot"),
    ("belly", "Spine", "Spine"),
    ("neck", "Neck", "Neck"),
    ("nose", "Nose", "Head"),
    ("head", "Head", "HeadTop"),
    ("lsho", "LShoulder", "LeftArm"),
    ("lelb", "LElbow", "LeftForeArm"),
    ("lwri", "LWrist", "LeftHand"),
    ("rsho", "RShoulder", "RightArm"),
    ("relb", "RElbow", "RightForeArm"),
    ("rwri", "RWrist", "RightHand"),
)
MARKER_SETS: Mapping[str, Mapping[str, str]] = {
    name: {row[0]: row[column] for row in _ROWS} for column, name in enumerate((JOINTS, POSE2SIM, BIPED))
}


def marker_names(joint_names: Sequence[str], marker_set: str) -> list[str]:
    """Return the names of joints in a marker set.

    Raises:
        InputError: a joint is not one of the 17 of Human3.6M.
    """
    names = MARKER_SETS[marker_set]
    unknown = [joint for joint in joint_names if joint not in names]
    if unknown:
        raise InputError(
            f"joint_names: expected joints of {', '.join(H36M_17.names)}, received {', '.join(unknown)}; these poses "
            "cannot be exported"
        )
    return [names[joint] for joint in joint_names]
