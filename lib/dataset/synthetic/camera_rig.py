"""Camera rigs like Human3.6M's, and the ray of every pixel."""

import numpy as np

from lib.dataset.storage.record_writer import camera_record
from lib.multiviews.cameras import Cameras, undistort

RIG_STREAM = 102
_OTHER_RIGS = 10_000  # not a subject number
REFERENCE_SIZE_PX = 1000  # image size of focal length and principal point below
_LENS_GRID_PX = 8.0  # exact rays on this grid, linear interpolation between (error below 0.01 px)


def look_at(position: np.ndarray, target: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """Return the rotation world -> camera (x right, y down, z ahead) from a position to a target; roll in rad."""
    ahead = (target - position) / np.linalg.norm(target - position)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    cos, sin = np.cos(roll), np.sin(roll)
    return np.stack([cos * right + sin * down, -sin * right + cos * down, ahead])


def make_rig(subject: int, num_views: int, image_size: int, seed: int, rig: int = 0) -> list[dict[str, np.ndarray]]:
    """Make the cameras around the room; each subject shifts the rig by centimeters and about one degree.

    Rig 0 has even angles, heights of 1.4 to 1.6 m and distances of 4.8 to 5.4 m. Other rigs have uneven angles, heights
    of 1 to 2.6 m and distances of 4.4 to 5.3 m.

    Args:
        subject: number of the subject.
        num_views: number of cameras V.
        image_size: side of the square image, px.
        seed: seed of the data set.
        rig: number of the rig.

    Returns:
        V camera dictionaries.

    Source: sizes after Human3.6M's calibration.
    """
    common = np.random.default_rng([seed, RIG_STREAM, *([_OTHER_RIGS, rig] if rig else [])])
    own = np.random.default_rng([seed, RIG_STREAM, subject])
    zoom = image_size / REFERENCE_SIZE_PX
    begin = 0.5
    spread = None
    distances = (4800, 5400)
    heights = (1420, 1620)
    if rig:
        begin = common.random()
        spread = 1 / 3
        distances = (4400, 5300)
        heights = (1000, 2600)
    cameras = []
    for view in range(num_views):
        turn = common.normal(0, 0.06) if spread is None else 2 * np.pi / num_views * common.uniform(-spread, spread)
        angle = 2 * np.pi * (view + begin) / num_views + turn
        distance, height = common.uniform(*distances), common.uniform(*heights)
        aim = np.array([*common.normal(0, 60, 2), common.uniform(880, 980)])
        center = np.array([distance * np.cos(angle), distance * np.sin(angle), height])
        focal = zoom * (1145.0 + common.normal(0, 2.0) + common.normal(0, 0.6, 2))
        middle = zoom * np.array([512.0 + common.normal(0, 3), 508.0 + common.normal(0, 5)])
        radial = np.array([-0.20, 0.24, -0.002]) + common.normal(0, [0.008, 0.012, 0.0008])
        tangential = np.array([-0.0010, -0.0012]) + common.normal(0, 0.0005, 2)
        roll = common.normal(0, 0.008)
        center += own.normal(0, 40.0, 3).clip(-90, 90)
        aim += own.normal(0, 40.0, 3).clip(-90, 90)
        rotation = look_at(center, aim, roll + own.normal(0, 0.005))
        cameras.append(camera_record(rotation, center, focal, middle, radial, tangential))
    return cameras


def pixel_rays(camera: Cameras, image_wh: tuple[int, int]) -> np.ndarray:
    """Return the unit ray of every pixel with lens distortion, (3, height, width) float32, camera frame."""
    lines = [np.linspace(0, size - 1, max(2, int(np.ceil(size / _LENS_GRID_PX)) + 1)) for size in image_wh]
    grid = np.stack(np.meshgrid(*lines), -1)  # (rows, columns, 2)
    plane = undistort(grid.reshape(-1, 2), camera).reshape(grid.shape)
    for axis in range(2):
        size, line = image_wh[1 - axis], lines[1 - axis]
        place = np.arange(size) / (line[1] - line[0])
        low = np.minimum(place.astype(int), len(line) - 2)
        mix = (place - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        plane = (1 - mix) * plane.take(low, axis) + mix * plane.take(low + 1, axis)
    x, y = plane[..., 0].astype(np.float32), plane[..., 1].astype(np.float32)
    length = np.sqrt(x * x + y * y + 1)
    return np.stack([x / length, y / length, 1 / length])
