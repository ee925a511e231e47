"""The synthetic world in the form of Human3.6M's archives: metadata.xml, CDF files, videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from cdflib.cdfwrite import CDF as CdfWriter

from lib.dataset.synthetic.scene import SubjectWorld, SyntheticRecording, WorldSettings
from lib.multiviews.cameras import project, world_to_camera

SERIALS = ("54138969", "55011271", "58860488", "60457274")
KEPT = [0, 1, 2, 3, 6, 7, 8, 12, 16, 14, 15, 17, 18, 19, 25, 26, 27]  # the 17 joints among the 32
BARS = 8  # bits of the frame number in the top rows of an image
BAR_ROWS = 16
SIDE = 160

Key = tuple[int, int, int]  # subject, action, sub-action


def base_name(action: int, subaction: int) -> str:
    """Return a file name like the real ones, with a space and depending on the sub-action."""
    return f"Action{action}" + (f" {subaction - 1}" if subaction > 1 else "")


@dataclass
class RawWorld:
    """Content of a folder of raw files.

    Attributes:
        folder: the raw folder.
        joints_world: recording -> (F, 17, 3) mm.
        worlds: subject -> synthetic world.
        images: (recording, camera) -> frames of the video.
    """

    folder: Path
    joints_world: dict[Key, np.ndarray] = field(default_factory=dict)
    worlds: dict[int, SubjectWorld] = field(default_factory=dict)
    images: dict[tuple[Key, int], list[np.ndarray]] = field(default_factory=dict)

    def path(self, kind: str, recording: Key, camera: int) -> Path:
        """Return the path of a file; `kind` is Videos or a folder below MyPoseFeatures."""
        parent = self.folder / f"S{recording[0]}" / ("Videos" if kind == "Videos" else f"MyPoseFeatures/{kind}")
        suffix = ".mp4" if kind == "Videos" else ".cdf"
        return parent / f"{base_name(*recording[1:])}.{SERIALS[camera]}{suffix}"


def write_cdf(path: Path, joints: np.ndarray) -> None:
    """Write (F, 17, C) joints as variable Pose (1, F, 32 C); the unused joints are far away."""
    num_frames, _, size = joints.shape
    all_joints = np.full((num_frames, 32, size), -9999.0)
    all_joints[:, KEPT] = joints
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    spec = {
        "Variable": "Pose",
        "Data_Type": 45,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": [num_frames, 32 * size],
        "Compress": 6,
    }
    file = CdfWriter(path)
    file.write_var(spec, var_data=all_joints.reshape(1, num_frames, -1))
    file.close()


def mark(image: np.ndarray, number: int) -> np.ndarray:
    """Draw a number as black and white bars into the top rows."""
    bits = np.repeat([255 * ((number >> bit) & 1) for bit in range(BARS)], image.shape[1] // BARS)
    image = image.copy()
    image[:BAR_ROWS, : len(bits)] = bits[:, None]
    return image


def marked_number(image: np.ndarray) -> int:
    """Read the number that mark() drew."""
    width = image.shape[1] // BARS
    bits = image[BAR_ROWS // 2, width // 2 : BARS * width : width].mean(-1) > 127
    return int(sum(int(bit) << place for place, bit in enumerate(bits)))


def write_video(path: Path, images: list[np.ndarray]) -> None:
    """Write an MP4 at 50 frames per second with OpenCV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 50, (width, height))
    for image in images:
        writer.write(image)
    writer.release()


def euler_xyz(rotation: np.ndarray) -> tuple[float, float, float]:
    """Return the angles a, b, g of rotation = Rx(a) Ry(b) Rz(g)."""
    return (
        float(np.arctan2(-rotation[1, 2], rotation[2, 2])),
        float(np.arcsin(rotation[0, 2])),
        float(np.arctan2(-rotation[0, 1], rotation[0, 0])),
    )


def write_metadata(path: Path, worlds: dict[int, SubjectWorld]) -> None:
    """Write metadata.xml with all file names and the calibration of the worlds' cameras."""
    w0 = np.zeros(300)
    for subject, world in worlds.items():
        for camera, record in enumerate(world.camera_records):
            start = 6 * (camera * 11 + subject - 1)
            w0[start : start + 6] = [*euler_xyz(record["R"]), *record["T"].ravel()]
            start = 264 + 9 * camera
            w0[start : start + 9] = np.concatenate([record[key].ravel() for key in ("fx", "fy", "cx", "cy", "k", "p")])
    rows = ["<tr><td>action</td><td>subaction</td>" + "".join(f"<td>S{s}</td>" for s in range(1, 12)) + "</tr>"]
    for action in range(1, 17):
        for subaction in (1, 2):
            names = "".join(f"<td>{base_name(action, subaction)}</td>" for _ in range(11))
            rows.append(f"<tr><td>{action}</td><td>{subaction}</td>{names}</tr>")
    rows.append("<tr><td></td><td></td>" + "<td>Calibration</td>" * 11 + "</tr>")
    cameras = "".join(f"<td>{serial}</td>" for serial in SERIALS)
    numbers = " ".join(repr(float(value)) for value in w0)
    path.write_text(
        f"<document><mapping>{''.join(rows)}</mapping><dbcameras><index2id>{cameras}</index2id></dbcameras>"
        f"<w0>[{numbers}]</w0></document>"
    )


def write_raw(
    folder: Path,
    recordings: list[Key],
    num_frames: int = 6,
    video_lengths: Callable[[Key, int], int] | None = None,
    render: bool = True,
    universal: bool = True,
) -> RawWorld:
    """Write the files of recordings.

    Args:
        folder: receives metadata.xml and S1, ...
        recordings: (subject, action, sub-action).
        num_frames: number of poses of each.
        video_lengths: (recording, camera) -> number of video frames; None = number of poses.
        render: render the world; otherwise the images are gray. Both have the frame number.
        universal: also write D3_Positions_mono_universal, with poses 10 % larger.
    """
    raw = RawWorld(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for recording in recordings:
        subject = recording[0]
        world = raw.worlds.setdefault(subject, SubjectWorld(WorldSettings(image_size=SIDE), subject))
        film = SyntheticRecording(world, *recording[1:])
        longest = max([num_frames, *(video_lengths(recording, camera) for camera in range(4) if video_lengths)])
        image_ids = np.arange(1, longest + 1)
        act = film.act(image_ids)
        joints = raw.joints_world[recording] = act.pose.joints[:num_frames]
        for camera in range(4):
            in_camera = world_to_camera(joints, world.cameras[camera])
            write_cdf(raw.path("D3_Positions_mono", recording, camera), in_camera)
            write_cdf(raw.path("D2_Positions", recording, camera), project(joints, world.cameras[camera])[0])
            if universal:
                write_cdf(raw.path("D3_Positions_mono_universal", recording, camera), 1.1 * in_camera)
            length = num_frames if video_lengths is None else video_lengths(recording, camera)
            gray = np.full((SIDE, SIDE, 3), 120, np.uint8)
            images = [film.render(act, frame, frame + 1, camera)[0] if render else gray for frame in range(length)]
            raw.images[recording, camera] = [mark(image, frame + 1) for frame, image in enumerate(images)]
            write_video(raw.path("Videos", recording, camera), raw.images[recording, camera])
    write_metadata(folder / "metadata.xml", raw.worlds)
    return raw
