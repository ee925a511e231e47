"""Synthetic frames and heatmaps of three simulated detectors, for the accuracy benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lib.dataset.storage.record_writer import person_box
from lib.dataset.synthetic.camera_rig import make_rig
from lib.dataset.synthetic.motion.actions import ACTIONS, perform_action
from lib.dataset.synthetic.motion.motion_builder import MOTION_LENGTH_S
from lib.dataset.synthetic.person import make_subject
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras, project, world_to_camera
from lib.multiviews.pictorial.limb_prior import LimbPrior, make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.utils.joints import H36M_17
from lib.utils.transforms import SCALE_UNIT_PX, image_to_heatmap_affine, transform_points

NUM_VIEWS = 4
IMAGE_PX = 1000
INPUT_PX = 256
HEATMAP_PX = 64
SIGMA_PX = 2.0
TRAINING_SUBJECTS = (1, 5, 6, 7, 8)  # their mean limb lengths are the prior
TEST_SUBJECTS = (9, 11, *range(21, 29))  # the validation subjects and eight others, 0.91 to 1.06 of the mean height

# Detector "mixture". Jitter is per axis, joint and view; wrong peaks are uniformly distributed in the heatmap.
JITTER_PX = 0.5
WRONG_SHARE = 0.08  # of the heatmaps
MISSING_SHARE = 0.04  # of the heatmaps
SWAP_SHARE = 0.12  # of the views
PEAK_RANGE = (0.5, 1.0)  # height of the correct peak
WRONG_FACTOR_RANGE = (1.05, 1.5)  # height of a wrong peak, relative to the correct peak
NOISE = 0.01
SWAPS = (("hip", "kne", "ank"), ("sho", "elb", "wri"))


@dataclass(frozen=True)
class Frames:
    """F frames of V views.

    Attributes:
        pose_world: (F, 17, 3) mm.
        cameras: leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3).
        center: (F, V, 2) crop centers, image px.
        scale: (F, V, 2) crop sizes / 200 px.
        joints_hm: (F, V, 17, 2) heatmap px.
        subject: (F,) subject ids.
    """

    pose_world: np.ndarray
    cameras: Cameras
    image_to_heatmap: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    joints_hm: np.ndarray
    subject: np.ndarray

    def __getitem__(self, index: slice | np.ndarray) -> Frames:
        return Frames(*(value[index] for value in vars(self).values()))

    def __len__(self) -> int:
        return len(self.pose_world)


def make_frames(
    num_frames: int, seed: int, subjects: Sequence[int] = TEST_SUBJECTS, heatmap_px: int = HEATMAP_PX
) -> Frames:
    """Draw frames at random times, sorted by subject as in Human3.6M."""
    rng = np.random.default_rng(seed)
    recordings = [(action, subaction) for action in ACTIONS for subaction in (1, 2)]
    poses, rigs, whose = [], [], []
    for part, subject in zip(np.array_split(np.arange(num_frames), len(subjects)), subjects, strict=True):
        shape = make_subject(subject, seed).shape
        rig = Cameras.from_records(make_rig(subject, NUM_VIEWS, IMAGE_PX, seed))
        for number, frame in enumerate(part.tolist()):
            action, subaction = recordings[number * len(recordings) // len(part)]
            motion = np.random.default_rng([seed, frame])
            time = rng.uniform(0, MOTION_LENGTH_S, 1)
            poses.append(perform_action(action, subaction, shape, motion, time).pose.joints[0])
            rigs.append(rig)
            whose.append(subject)
    pose = np.stack(poses)
    cameras = Cameras(**{name: np.stack([getattr(rig, name) for rig in rigs]) for name in vars(rigs[0])})
    root_cam = world_to_camera(pose[:, None, :1], cameras)[:, :, 0]  # (F, V, 3)
    boxes = np.stack(
        [[person_box(root_cam[f, v][None], cameras[f, v])[0] for v in range(NUM_VIEWS)] for f in range(num_frames)]
    )
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    scale = (boxes[..., 2:] - boxes[..., :2]) / SCALE_UNIT_PX
    matrix = image_to_heatmap_affine(center, scale, (INPUT_PX, INPUT_PX), (heatmap_px, heatmap_px))
    joints_hm = transform_points(project(pose[:, None], cameras)[0], matrix)
    return Frames(pose, cameras, matrix, center, scale, joints_hm, np.array(whose))


def training_prior(settings: PictorialSettings, seed: int) -> LimbPrior:
    """Return the limb prior with the mean limb lengths of the training subjects."""
    lengths = []
    for subject in TRAINING_SUBJECTS:
        act = perform_action(2, 1, make_subject(subject, seed).shape, np.random.default_rng(seed), np.zeros(1))
        lengths.append(H36M_BODY.limb_lengths(act.pose.joints)[0])
    return make_limb_prior(np.mean(lengths, 0), H36M_BODY, settings.first_grid, np.std(lengths, 0), len(lengths))


def gaussians(places_hm: np.ndarray, heatmap_px: int = HEATMAP_PX, sigma_px: float = SIGMA_PX) -> np.ndarray:
    """Draw Gaussians (..., H, W) float32 with peak 1 at subpixel positions (..., 2)."""
    x, y = (
        np.exp(-((np.arange(heatmap_px) - places_hm[..., axis, None]) ** 2) / (2 * sigma_px**2)).astype(np.float32)
        for axis in range(2)
    )
    return y[..., :, None] * x[..., None, :]


def perfect(frames: Frames, rng: np.random.Generator) -> np.ndarray:
    """Draw every joint at its ground truth: (F, V, 17, H, W)."""
    return gaussians(frames.joints_hm)


def jittered(frames: Frames, rng: np.random.Generator) -> np.ndarray:
    """Draw every joint with a Gaussian error of 1 px per axis."""
    return gaussians(frames.joints_hm + rng.normal(0, 1.0, frames.joints_hm.shape))


def with_wrong_peaks(
    frames: Frames,
    rng: np.random.Generator,
    wrong_share: float,
    heatmap_px: int = HEATMAP_PX,
    sigma_px: float = SIGMA_PX,
) -> np.ndarray:
    """Draw jittered joints, some missing, some with a higher wrong peak: (F, V, 17, H, W)."""
    shape = frames.joints_hm.shape[:3]
    height = rng.uniform(*PEAK_RANGE, shape) * (rng.random(shape) >= MISSING_SHARE)
    wrong_height = rng.uniform(*WRONG_FACTOR_RANGE, shape) * height * (rng.random(shape) < wrong_share)
    wrong_place = rng.uniform(0, heatmap_px - 1, frames.joints_hm.shape)
    right_place = frames.joints_hm + rng.normal(0, JITTER_PX, frames.joints_hm.shape)
    maps = gaussians(right_place, heatmap_px, sigma_px) * height[..., None, None].astype(np.float32)
    wrong = gaussians(wrong_place, heatmap_px, sigma_px) * wrong_height[..., None, None].astype(np.float32)
    return np.maximum(maps, wrong, out=maps)


def mixture(frames: Frames, rng: np.random.Generator) -> np.ndarray:
    """Draw heatmaps with jitter, wrong and missing peaks, left/right swaps and noise."""
    maps = with_wrong_peaks(frames, rng, WRONG_SHARE)
    shape = frames.joints_hm.shape
    part = np.where(rng.random(shape[:2]) < SWAP_SHARE, rng.integers(len(SWAPS), size=shape[:2]), -1)  # (F, V)
    for swapped, names in enumerate(SWAPS):
        right = H36M_17.indices([f"r{name}" for name in names])
        left = H36M_17.indices([f"l{name}" for name in names])
        rows = part == swapped
        chosen = maps[rows]
        chosen[:, right + left] = chosen[:, left + right]
        maps[rows] = chosen
    maps += NOISE * rng.random(maps.shape, np.float32)
    return maps


DETECTORS: dict[str, Callable[[Frames, np.random.Generator], np.ndarray]] = {
    "perfect": perfect,
    "jitter 1 px": jittered,
    "mixture": mixture,
}
