"""Labels of an own recording -> a data set in the layout of Human3.6M."""

from __future__ import annotations

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
from lib.utils.files.json_file import read_json
from lib.utils.files.portable_pickle import write_pickle

MARKER = "own.json"  # says that a folder was made here, and how
SUBJECT = 1
ACTION = 1
SUBACTION = 1
_SAME_PLACE = 1e-3  # mm of the centres, and of the entries of rotations
MIN_SIDE_PX = 32  # smaller images show nobody


@dataclass(frozen=True)
class OwnLabels:
    """What is known of the person in F instants.

    Attributes:
        pose_world: (F, 17, 3) mm.
        kept: (F, V, 17) bool, joints that are trained on and evaluated.
    """

    pose_world: np.ndarray
    kept: np.ndarray


@dataclass(frozen=True)
class WriteSettings:
    """How a data set is written.

    Attributes:
        validation: (start, stop) of the instants for validation; the others are for training.
        max_side: longer side of the images, px; larger ones are made smaller. None = as they are.
        jpeg_quality: 1 to 100.
        as_zip: one images.zip (stored) instead of folders.
    """

    validation: tuple[int, int]
    max_side: int | None = None
    jpeg_quality: int = 95
    as_zip: bool = False

    def check(self, num_frames: int) -> None:
        """Raise an InputError for a split or a setting that cannot be, before anything is decoded."""
        start, stop = self.validation
        if not (0 <= start < stop <= num_frames and (start > 0 or stop < num_frames)):
            raise InputError(
                f"validation: expected START and STOP within the {num_frames} instants, and some of them "
                f"left for training; received {start} {stop}"
            )
        if self.max_side is not None and self.max_side < MIN_SIDE_PX:
            raise InputError(f"--max-side: expected at least {MIN_SIDE_PX} px, received {self.max_side}")
        if not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"--jpeg-quality: expected 1 to 100, received {self.jpeg_quality}")


def describe_cameras(cameras: Cameras) -> dict[str, Any]:
    """Return what the data set's note of itself says of its V cameras, for made_with()."""
    return {"R": cameras.R, "T": cameras.T}


def made_with(root: Path, cameras: Cameras) -> bool:
    """Return whether `root` is a data set made here with V cameras that stand and look as these, in this order."""
    if not (root / MARKER).is_file():
        return False
    noted = read_json(root / MARKER).get("cameras", {})
    places = [(np.array(noted.get(key, ())), value) for key, value in describe_cameras(cameras).items()]
    return all(one.shape == other.shape and np.allclose(one, other, rtol=0, atol=_SAME_PLACE) for one, other in places)


def smaller(rig: Rig, max_side: int | None) -> Rig:
    """Return the rig for images whose longer side is at most `max_side` px."""
    factor = 1.0 if max_side is None else np.minimum(1.0, max_side / rig.image_wh.max(1, keepdims=True))
    return rig.resized(np.maximum(1, np.round(rig.image_wh * factor)).astype(int))


def write_labels(
    folder: Path, rig: Rig, pictures: Iterable[list[np.ndarray]], labels: OwnLabels, settings: WriteSettings
) -> dict[str, int]:
    """Write images and annotations.

    Joints that are not kept get `joints_vis` 0; their places are still those of the pose. Lengths and camera centres
    are in mm. The `_uncrop` files have a square around the whole image as box.

    Args:
        folder: the new ROOT.
        rig: for the pictures as they come.
        pictures: V (h, w, 3) uint8 BGR pictures of each instant.
        labels: of the F instants.
        settings: how.

    Returns:
        Subset -> number of instants.

    Raises:
        InputError: a split that leaves a subset empty, settings out of range, fewer pictures than labels, or the disk
            refuses.
    """
    num_frames = len(labels.pose_world)
    settings.check(num_frames)
    validation = np.zeros(num_frames, bool)
    validation[slice(*settings.validation)] = True
    small = smaller(rig, settings.max_side)
    records = _records(small, labels)
    quality = [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
    home = folder / "h36m"
    with open_images(home, settings.as_zip) as images:
        frame = -1
        for frame, views in enumerate(tqdm(pictures, total=num_frames, desc="images", disable=None, leave=False)):
            for view, picture in enumerate(views):
                wanted = tuple(small.image_wh[view].tolist())
                if picture.shape[1::-1] != wanted:
                    picture = cv2.resize(picture, wanted, interpolation=cv2.INTER_AREA)
                images.add(records[view][frame]["image"], cv2.imencode(".jpg", picture, quality)[1].tobytes())
        if frame + 1 != num_frames:
            raise InputError(f"{folder}: pictures of {frame + 1} instants for labels of {num_frames}")
    for subset, chosen in (("train", ~validation), ("validation", validation)):
        rows = np.flatnonzero(chosen)
        cropped = [view[row] for row in rows for view in records]
        whole = [
            with_box(view[row], _square(small.image_wh[number])) for row in rows for number, view in enumerate(records)
        ]
        write_pickle(home / "annot" / f"h36m_{subset}.pkl", cropped)
        write_pickle(home / "annot" / f"h36m_{subset}_uncrop.pkl", whole)
    return {"train": int((~validation).sum()), "validation": int(validation.sum())}


def _records(rig: Rig, labels: OwnLabels) -> list[list[dict[str, Any]]]:
    """Return the records of each view, instant by instant."""
    records = []
    for view in range(len(rig)):
        camera = rig.cameras[view]
        joints_img, depth = project(labels.pose_world, camera)
        kept = labels.kept[:, view] & (depth >= MIN_DEPTH_MM)
        visible = np.repeat(kept[..., None].astype(float), 3, -1)
        record = camera_record(camera.R, camera.T, camera.f, camera.c, camera.k, camera.p)
        image_ids = np.arange(1, len(joints_img) + 1)
        clip = Clip(SUBJECT, ACTION, SUBACTION, view)
        records.append(
            clip_records(
                clip,
                view,
                record,
                image_ids,
                joints_img,
                world_to_camera(labels.pose_world, camera),
                {"joints_vis": visible},
            )
        )
    return records


def _square(image_wh: np.ndarray) -> np.ndarray:
    """Return the box x0, y0, x1, y1 of a square around a whole image, with its middle."""
    side = image_wh.max()
    return np.concatenate([(image_wh - side) / 2, (image_wh + side) / 2])
