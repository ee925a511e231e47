"""Multi-view world: a subject in a room with a rig, and recordings of its actions.

Frames are numbered from 1 at FRAME_RATE, as in Human3.6M. A frame depends on the seed, the recording and the frame
number alone, not on the other rendered frames.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.dataset.synthetic.camera_rig import make_rig, pixel_rays
from lib.dataset.synthetic.motion.actions import perform_action
from lib.dataset.synthetic.motion.motion_builder import Act
from lib.dataset.synthetic.person import SyntheticPerson, make_subject
from lib.dataset.synthetic.rendering.furniture import Furniture, add_chair, add_occluders
from lib.dataset.synthetic.rendering.materials import body_materials
from lib.dataset.synthetic.rendering.render import Lighting, View, empty_room, furnish, take_image
from lib.dataset.synthetic.rendering.room import make_room
from lib.dataset.synthetic.rendering.solids import SIDES, Solids, body_solids, join, prop_solids
from lib.multiviews.cameras import Cameras
from lib.utils.joints import H36M_17

FRAME_RATE = 50.0
_ROOM_STREAM = 103
_MOTION_STREAM = 104
_SCENE_STREAM = 105
_SENSOR_STREAM = 106
_CLEAR_MM = 800.0  # free radius around the person
# Largest depth of a joint below the surface of its own limbs, mm: anything closer to the camera hides the joint.
_TRUNK_THICKNESS = {"root": 220, "belly": 180, "neck": 180, "nose": 60, "head": 120}
_LIMB_THICKNESS = {"hip": 215, "kne": 78, "ank": 75, "sho": 90, "elb": 65, "wri": 62}


def joint_thickness(girth: float) -> np.ndarray:
    """Return the largest depth of each joint below the surface of its own limbs, (17,) mm."""
    sides = {side + name: value for name, value in _LIMB_THICKNESS.items() for side in SIDES}
    return girth * np.array([{**_TRUNK_THICKNESS, **sides}[name] for name in H36M_17.names], float)


@dataclass(frozen=True)
class WorldSettings:
    """Settings of a multi-view world."""

    seed: int = 0  # random seed
    num_views: int = 4  # cameras per rig
    image_size: int = 1000  # side of the square images, px
    occluders: float = 0.35  # mean number of pieces of furniture in front of each camera
    rig: int = 0  # 0 is like Human3.6M's; other numbers are rigs with uneven angles, heights and distances


class SubjectWorld:
    """A subject, its rig, and the empty room in each view.

    Attributes:
        camera_records: V camera dictionaries in the format of Human3.6M.
        cameras: the same as `Cameras` with leading axis V.
    """

    def __init__(self, settings: WorldSettings, subject: int) -> None:
        self.settings = settings
        self.subject = subject
        self.person: SyntheticPerson = make_subject(subject, settings.seed)
        self.camera_records = make_rig(subject, settings.num_views, settings.image_size, settings.seed, settings.rig)
        self.cameras = Cameras.from_records(self.camera_records)

    @cached_property
    def views(self) -> list[View]:
        """V empty views; slow to render, so made on first use."""
        room = make_room(np.random.default_rng([self.settings.seed, _ROOM_STREAM, self.subject]))
        size = (self.settings.image_size,) * 2
        cameras = [self.cameras[view] for view in range(self.settings.num_views)]
        return [empty_room(room, camera, pixel_rays(camera, size)) for camera in cameras]


class SyntheticRecording:
    """One action of a subject in all views.

    Args:
        world: subject, rig and room.
        action: id of Human3.6M, 2..16.
        subaction: 1 or 2.
    """

    def __init__(self, world: SubjectWorld, action: int, subaction: int) -> None:
        self.world = world
        self.key = (world.subject, action, subaction)
        self._materials = body_materials(world.person.wardrobe)
        rng = self._rng(_SCENE_STREAM)
        self.lighting = Lighting.random(rng)
        overview = self.act(np.arange(24) * 75 + 1)
        self.furniture = Furniture()
        if overview.seat is not None:
            add_chair(self.furniture, overview.seat, rng)
        ground = overview.pose.joints[:, 0, :2]
        middle = ground.mean(0)
        clear = _CLEAR_MM + np.linalg.norm(ground - middle, axis=1).max()
        add_occluders(self.furniture, middle, world.cameras, rng, world.settings.occluders, clear)

    def _rng(self, stream: int, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.world.settings.seed, stream, *self.key, *key])

    def act(self, image_ids: np.ndarray) -> Act:
        """Return the motion at some frames (numbers from 1)."""
        times = (np.asarray(image_ids) - 1) / FRAME_RATE
        return perform_action(*self.key[1:], self.world.person.shape, self._rng(_MOTION_STREAM), times)

    @cached_property
    def views(self) -> list[View]:
        """V furnished views without the person."""
        return [furnish(view, self.furniture, self.lighting, self._materials) for view in self.world.views]

    def solids(self, act: Act, frame: int) -> Solids:
        """Return body and props of one frame of an act."""
        return join(body_solids(act.pose, frame, self.world.person), prop_solids(act.pose, frame, act.props))

    def render(self, act: Act, frame: int, image_id: int, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an image (H, W, 3) uint8 BGR and hidden joints (17,) of a frame; `image_id` seeds the noise."""
        return take_image(
            self.views[view],
            self.solids(act, frame),
            self.lighting,
            self._materials,
            act.pose.joints[frame],
            joint_thickness(self.world.person.shape.girth),
            self._rng(_SENSOR_STREAM, image_id, view),
        )
