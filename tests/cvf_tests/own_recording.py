"""A small recording of own cameras: videos, calibration and detections of a moving person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from cvf_tests.scenes import make_rig
from cvf_tests.walk import swapped, walking

from lib.core.own_cameras.recording import Recording, associate, load_recording, synchronize
from lib.core.own_cameras.recording_poses import smooth, triangulate
from lib.dataset.own_cameras.calibration_file import Rig
from lib.dataset.own_cameras.detections import Detections
from lib.multiviews.cameras import project
from lib.multiviews.recording.robust_poses import RobustPoses, RobustSettings

SIDE = 200  # px of the videos, and of the rig in scenes.py
FULL = 1000
RATE = 30.0
NAMES = ("front", "left", "back", "right", "door", "window", "desk", "stairs")
SWAPPED = slice(8, 14)  # frames of view 1
WRONG = (5, 2, 3)  # frame, view, joint of a wrong detection

TABLE = """
[{name}]
name = "{name}"
size = [{side}.0, {side}.0]
matrix = [[{fx!r}, 0.0, {cx!r}], [0.0, {fy!r}, {cy!r}], [0.0, 0.0, 1.0]]
distortions = [{k1!r}, {k2!r}, {p1!r}, {p2!r}, {k3!r}]
rotation = {rotation}
translation = {translation}
"""


@dataclass(frozen=True)
class RecordingFiles:
    """Files of a recording, and its gt.

    Attributes:
        videos, cameras, detections: paths, as given to the scripts.
        pose_world: (F, 17, 3) mm.
        rig: the cameras.
    """

    videos: Path
    cameras: Path
    detections: Path
    pose_world: np.ndarray
    rig: Rig

    def flags(self) -> list[str]:
        """Return the flags that name the files."""
        return ["--videos", str(self.videos), "--cameras", str(self.cameras), "--detections", str(self.detections)]


def make_recording(folder: Path, num_views: int = 4, num_frames: int = 20, noise_px: float = 0.2) -> RecordingFiles:
    """Write a recording; one view swaps left and right in some frames, and one detection is wrong."""
    rng = np.random.default_rng(11)
    whole = make_rig(num_views, rng)
    names = NAMES[:num_views]
    rig = Rig(names, whole, np.full((num_views, 2), FULL)).resized(np.full((num_views, 2), SIDE))
    pose = walking(num_frames, rng)
    joints, _ = project(pose[:, None], rig.over_frames(num_frames))
    points = joints + rng.normal(0, noise_px, joints.shape)
    points[SWAPPED, 1] = swapped(points[SWAPPED, 1])
    if WRONG[1] < num_views and WRONG[0] < num_frames:
        points[WRONG] += 25
    points = np.concatenate([points, np.ones((*points.shape[:3], 1))], -1)
    Detections(names, points[:, :, None]).save(folder / "detections.npz")
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    for view, name in enumerate(names):
        _write_video(folder / f"videos/{name}.mp4", joints[:, view])
    tables = "".join(_table(rig, view) for view in range(num_views))
    (folder / "Calib.toml").write_text(tables + "[metadata]\nerror = 0.0\n")
    return RecordingFiles(folder / "videos", folder / "Calib.toml", folder / "detections.npz", pose, rig)


def _table(rig: Rig, view: int) -> str:
    camera = rig.cameras[view]
    translation = -camera.R @ camera.T / 1000
    lens = (camera.k, camera.p, camera.f, camera.c)
    (k1, k2, k3), (p1, p2), (fx, fy), (cx, cy) = (value.tolist() for value in lens)
    rotation = cv2.Rodrigues(camera.R)[0].ravel().tolist()
    return TABLE.format(
        name=rig.names[view],
        side=SIDE,
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        k1=k1,
        k2=k2,
        k3=k3,
        p1=p1,
        p2=p2,
        rotation=rotation,
        translation=translation.tolist(),
    )


def _write_video(path: Path, joints: np.ndarray) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (SIDE, SIDE))
    for points in joints:
        image = np.full((SIDE, SIDE, 3), 90, np.uint8)
        for joint, point in enumerate(points):
            color = cv2.applyColorMap(np.uint8([[joint * 15]]), cv2.COLORMAP_HSV)[0, 0].tolist()
            cv2.circle(image, tuple(np.round(point).astype(int).tolist()), 3, color, -1)
        writer.write(image)
    writer.release()


def load_synchronized(*args: Path | None, correct: bool = False, **kwargs: object) -> Recording:
    """Load a recording, associate the person and synchronize, as the scripts do."""
    return synchronize(associate(load_recording(*args, **kwargs)), correct)


def poses_of(recording: Recording, settings: RobustSettings | None = None) -> RobustPoses:
    """Triangulate and smooth."""
    settings = settings or RobustSettings()
    return smooth(triangulate(recording, settings), recording, settings)
