"""What a method of 3D inference gets and gives: a batch of frames, and their poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.multiviews.body import HumanBody, body_of
from lib.multiviews.cameras import Cameras
from lib.multiviews.refinement.refine import FittedFrames
from lib.utils.joints import H36M_17, JointSet


@dataclass(frozen=True)
class FrameBatch:
    """What is known of f frames.

    Attributes:
        image_ids: (f, V) image names.
        heatmaps: (f, V, J, H, W) in the order of the joint set.
        locations: (f, V, J, 3) predicted joints: x, y in image px and the peak value.
        cameras: leading axes (f, V).
        image_to_heatmap: (f, V, 2, 3) image px -> heatmap px.
        center: (f, V, 2) box centres, image px.
        truth_world: (f, J, 3) mm; only for the settings that ask for the ground truth.
        subject: (f,) ids; None = the frames may be of different people.
        joint_set: the J joints.
    """

    image_ids: np.ndarray
    heatmaps: np.ndarray
    locations: np.ndarray
    cameras: Cameras
    image_to_heatmap: np.ndarray
    center: np.ndarray
    truth_world: np.ndarray
    subject: np.ndarray | None = None
    joint_set: JointSet = H36M_17

    @property
    def body(self) -> HumanBody:
        """The tree over the joints."""
        return body_of(self.joint_set)

    def frames(self, rows: np.ndarray) -> FrameBatch:
        """Return some of the frames."""
        return FrameBatch(
            self.image_ids[rows],
            self.heatmaps[rows],
            self.locations[rows],
            self.cameras[rows],
            self.image_to_heatmap[rows],
            self.center[rows],
            self.truth_world[rows],
            None if self.subject is None else self.subject[rows],
            self.joint_set,
        )


@dataclass(frozen=True)
class BatchPoses:
    """Poses of f frames.

    Attributes:
        pose_world: (f, J, 3) mm.
        num_box_roots: frames on no joint of which two views agreed; the box centres stood in for the root.
        filled: (f, J) bool, joints that were not found and stand where the next one on the skeleton does; None = none.
        num_views_agree: (f, J) views whose heatmap is high where the joint projects to; run_method() counts them.
        fitted: what the poses are fitted to once all frames are known, without heatmaps; () = they stay.
    """

    pose_world: np.ndarray
    num_box_roots: int = 0
    filled: np.ndarray | None = None
    num_views_agree: np.ndarray | None = None
    fitted: Sequence[FittedFrames] = ()
