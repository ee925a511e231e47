"""Single images like MPII's: other cameras, people and places, and cut-off limbs."""

from dataclasses import dataclass

import numpy as np

from lib.dataset.storage.record_writer import camera_record
from lib.dataset.synthetic.camera_rig import look_at, pixel_rays
from lib.dataset.synthetic.motion.actions import ACTIONS, perform_action
from lib.dataset.synthetic.motion.kinematics import Pose
from lib.dataset.synthetic.motion.motion_builder import Act
from lib.dataset.synthetic.person import SyntheticPerson, make_stranger
from lib.dataset.synthetic.rendering.furniture import Furniture, add_chair, add_occluders
from lib.dataset.synthetic.rendering.materials import body_materials
from lib.dataset.synthetic.rendering.render import Lighting, empty_room, furnish, take_image
from lib.dataset.synthetic.rendering.room import Room, make_open_ground, make_room
from lib.dataset.synthetic.rendering.solids import body_solids, join, prop_solids
from lib.dataset.synthetic.scene import joint_thickness
from lib.multiviews.cameras import Cameras, project
from lib.utils.joints import H36M_17, MPII_16

IMAGES_PER_PLACE = 20  # images in one room
_PLACE_STREAM = 107
_IMAGE_STREAM = 108
_SIZES_WH = ((640, 480), (480, 640), (640, 360), (560, 560), (720, 480))
_OPEN_SHARE = 0.4


@dataclass(frozen=True)
class SingleImage:
    """Image with its labels."""

    image: np.ndarray  # (H, W, 3) uint8 BGR
    joints: np.ndarray  # (16, 2) px from (0, 0), in the order of MPII_16, also of hidden joints
    hidden: np.ndarray  # (16,) bool, occluded or outside the image
    head_px: float  # length from upper neck to head top at the mean distance of both, px


def mpii_joints(pose: Pose, frame: int) -> np.ndarray:
    """Return the joints of one frame in the order of MPII_16, (16, 3) world, mm."""
    extra = {"thorax": pose.thorax, "upper neck": pose.upper_neck, "head top": pose.head_top}
    return np.stack([extra[name][frame] if name in extra else pose.joint(name)[frame] for name in MPII_16.names])


def make_place(seed: int, place: int) -> Room:
    """Make a room or open ground; equal numbers give equal places."""
    rng = np.random.default_rng([seed, _PLACE_STREAM, place])
    return make_open_ground(rng) if rng.random() < _OPEN_SHARE else make_room(rng)


def render_single_image(seed: int, index: int, place: Room) -> SingleImage:
    """Render one image; equal numbers and places give equal images."""
    rng = np.random.default_rng([seed, _IMAGE_STREAM, index])
    person = make_stranger(rng)
    action = int(rng.choice(list(ACTIONS)))
    subaction = int(rng.integers(1, 3))
    act = perform_action(action, subaction, person.shape, rng, rng.uniform(0, 60, 1))
    size = _SIZES_WH[rng.integers(len(_SIZES_WH))]
    camera = _aim(rng, act.pose.joints[0], size)
    return _render(rng, camera, size, place, act, person)


def _aim(rng: np.random.Generator, joints: np.ndarray, image_wh: tuple[int, int]) -> Cameras:
    """Aim a camera without distortion at the person, sometimes so close that limbs are cut off."""
    turn = rng.uniform(0, 2 * np.pi)
    distance = rng.uniform(2300, 4800)
    height = rng.uniform(600, 2100)
    middle = 0.5 * (joints.min(0) + joints.max(0))
    center = np.append(middle[:2] + distance * np.array([np.cos(turn), np.sin(turn)]), height)
    cut = rng.random() < 0.25
    fill = rng.uniform(1.15, 1.7) if cut else rng.uniform(0.5, 0.92)  # person's height / image's height
    person_mm = max(np.ptp(joints[:, 2]) + 150.0, 1.2 * np.ptp(joints[:, :2], axis=0).max())
    focal = fill * image_wh[1] * np.linalg.norm(center - middle) / person_mm
    target = middle + (np.array([0, 0, 0.22 * np.ptp(joints[:, 2])]) if cut else rng.normal(0, 90, 3))
    record = camera_record(
        look_at(center, target, rng.normal(0, 0.05)),
        center,
        (focal, focal),
        (image_wh[0] / 2, image_wh[1] / 2),
        np.zeros(3),
        np.zeros(2),
    )
    return Cameras.from_records([record])[0]


def _render(
    rng: np.random.Generator, camera: Cameras, image_wh: tuple[int, int], place: Room, act: Act, person: SyntheticPerson
) -> SingleImage:
    """Compose person, furniture and light, and render the image."""
    lighting = Lighting.random(rng)
    materials = body_materials(person.wardrobe)
    furniture = Furniture()
    if act.seat is not None:
        add_chair(furniture, act.seat, rng)
    ground = act.pose.joints[0, 0, :2]
    add_occluders(furniture, ground, camera.map(lambda array: array[None]), rng, number=0.35, clear_mm=650.0)
    view = furnish(empty_room(place, camera, pixel_rays(camera, image_wh)), furniture, lighting, materials)
    solids = join(body_solids(act.pose, 0, person), prop_solids(act.pose, 0, act.props))
    joints = mpii_joints(act.pose, 0)
    limbs = dict(zip(H36M_17.names, joint_thickness(person.shape.girth), strict=True))
    limbs |= {"thorax": limbs["neck"], "upper neck": limbs["neck"], "head top": limbs["head"]}
    thickness = np.array([limbs[name] for name in MPII_16.names])
    image, hidden = take_image(view, solids, lighting, materials, joints, thickness, rng)
    points, depth = project(joints, camera)
    head = MPII_16.indices(["upper neck", "head top"])
    head_px = float(np.linalg.norm(np.diff(joints[head], axis=0)) * camera.f[0] / depth[head].mean())
    return SingleImage(image, points, hidden, head_px)
