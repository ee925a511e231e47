"""Write the labels of a recording as a data set in the layout of Human3.6M."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.dataset.own_cameras.calibration_file import Rig
from lib.dataset.storage.record_writer import Clip, camera_record, clip_records, with_box
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project, world_to_camera
from lib.utils.errors import InputError
from lib.utils.files.image_store import open_images
from lib.utils.files.portable_pickle import write_pickle

MARKER = "own.json"  # marks a folder as made here; holds settings
SUBJECT = 1
ACTION = 1
SUBACTION = 1
MIN_SIDE_PX = 32


@dataclass(frozen=True)
class WriteSettings:
    """Split and images of a data set.

    Attributes:
        validation: (start, stop) of the validation frames; the others are for training.
        max_side: longest side of the images, px; larger images are reduced. None = no limit.
        jpeg_quality: 1 to 100.
        as_zip: write one images.zip (stored) instead of folders.
    """

    validation: tuple[int, int]
    max_side: int | None = None
    jpeg_quality: int = 95
    as_zip: bool = False

    def check(self, num_frames: int) -> None:
        """Raise an InputError for invalid settings, before any video is decoded."""
        start, stop = self.validation
        if not (0 <= start < stop <= num_frames and (start > 0 or stop < num_frames)):
            raise InputError(
                f"validation: expected START and STOP within the {num_frames} frames, with frames left for training, "
                f"received {start} {stop}"
            )
        if self.max_side is not None and self.max_side < MIN_SIDE_PX:
            raise InputError(f"--max-side: expected at least {MIN_SIDE_PX} px, received {self.max_side}")
        if not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"--jpeg-quality: expected 1 to 100, received {self.jpeg_quality}")


def reduced(rig: Rig, max_side: int | None) -> Rig:
    """Return the rig for images reduced to a longest side of `max_side` px."""
    factor = 1.0 if max_side is None else np.minimum(1.0, max_side / rig.image_wh.max(1, keepdims=True))
    return rig.resized(np.maximum(1, np.round(rig.image_wh * factor)).astype(int))


def write_labels(
    folder: Path,
    rig: Rig,
    images: Iterable[list[np.ndarray]],
    pose_world: np.ndarray,
    kept: np.ndarray,
    settings: WriteSettings,
) -> dict[str, int]:
    """Write images and annotations.

    Joints that are not kept have `joints_vis` 0 and the position of the pose or, without a position, the median of the
    other joints. Frames without a kept joint are left out. Lengths and camera centers are in mm.
    The box of the `_uncrop` files is a square around the whole image.

    Args:
        folder: the new ROOT.
        rig: cameras of the images.
        images: per frame V (h, w, 3) uint8 BGR images.
        pose_world: (F, 17, 3) mm; NaN = unknown.
        kept: (F, V, 17) bool, joints used for training and evaluation.
        settings: split and images.

    Returns:
        Subset -> number of frames.

    Raises:
        InputError: invalid settings, a subset without a kept joint, fewer images than labels, or the disk is full.
    """
    num_frames = len(pose_world)
    settings.check(num_frames)
    validation = np.zeros(num_frames, bool)
    validation[slice(*settings.validation)] = True
    written = kept.any((1, 2))
    for subset, chosen in (("training", ~validation), ("validation", validation)):
        if not (chosen & written).any():
            raise InputError(
                f"--validation: expected {subset} frames that show the person, received {chosen.sum()} frames in which "
                "the views agree on no joint; choose other frames"
            )
    center = np.full((num_frames, 1, 3), np.nan)
    center[written, 0] = np.nanmedian(pose_world[written], 1)
    pose_world = np.where(np.isfinite(pose_world), pose_world, center)
    small = reduced(rig, settings.max_side)
    records = [_records(small.cameras[view], view, pose_world, kept[:, view]) for view in range(len(small))]
    quality = [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
    home = folder / "h36m"
    with open_images(home, settings.as_zip) as store:
        frame = -1
        for frame, views in enumerate(tqdm(images, total=num_frames, desc="images", disable=None, leave=False)):
            for view, image in enumerate(views if written[frame] else ()):
                wanted = tuple(small.image_wh[view].tolist())
                if image.shape[1::-1] != wanted:
                    image = cv2.resize(image, wanted, interpolation=cv2.INTER_AREA)
                store.add(records[view][frame]["image"], cv2.imencode(".jpg", image, quality)[1].tobytes())
        if frame + 1 != num_frames:
            raise InputError(f"{folder}: expected images of {num_frames} frames, received {frame + 1}")
    for subset, chosen in (("train", ~validation), ("validation", validation)):
        rows = np.flatnonzero(chosen & written)
        cropped = [view[row] for row in rows for view in records]
        whole = [
            with_box(view[row], _square(small.image_wh[number])) for row in rows for number, view in enumerate(records)
        ]
        write_pickle(home / "annot" / f"h36m_{subset}.pkl", cropped)
        write_pickle(home / "annot" / f"h36m_{subset}_uncrop.pkl", whole)
    return {"train": int((~validation & written).sum()), "validation": int((validation & written).sum())}


def _records(camera: Cameras, view: int, pose_world: np.ndarray, kept: np.ndarray) -> list[dict[str, Any]]:
    """Return the annotation records of one view, frame by frame."""
    joints_img, depth = project(pose_world, camera)
    visible = np.repeat((kept & (depth >= MIN_DEPTH_MM))[..., None].astype(float), 3, -1)
    return clip_records(
        Clip(SUBJECT, ACTION, SUBACTION, view),
        view,
        camera_record(camera.R, camera.T, camera.f, camera.c, camera.k, camera.p),
        np.arange(1, len(joints_img) + 1),
        joints_img,
        world_to_camera(pose_world, camera),
        {"joints_vis": visible},
    )


def _square(image_wh: np.ndarray) -> np.ndarray:
    """Return the box x0, y0, x1, y1 of a centered square around a whole image."""
    side = image_wh.max()
    return np.concatenate([(image_wh - side) / 2, (image_wh + side) / 2])
