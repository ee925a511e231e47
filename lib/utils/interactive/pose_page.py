"""Interactive HTML page of 3D poses, one file that needs no network.

The page is assets/page.html with the style, the scripts and the data as JSON in their places. three.js draws the 3D
scene: its bundle has 0.6 MB, plotly's with 3D 1.8 MB. assets/three_bundle.js says how the bundle is made.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.utils.drawing.orbit_camera import front_azimuth
from lib.utils.drawing.vis import SIDE_COLORS, Skeleton
from lib.utils.errors import check_shape
from lib.utils.files.atomic import write_bytes

MAX_FRAMES = 3000  # frames of the time line; longer recordings are sampled evenly
MAX_PICTURED = 120  # frames with pictures, before the limit of the file
MAX_BYTES = 15_000_000
_RESERVED_BYTES = 1000  # commas between pictures, and the note on them
_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("base.js", "scene.js", "views.js", "heatmaps.js", "timeline.js", "tables.js", "page.js")
_JPEG_QUALITY = 75
_HEATMAP_QUALITY = 90
_TILE_COLUMNS = 5  # heatmaps of the joints in one image
_SCENE_TURN_DEG = 35.0  # first view: from the front, turned by this angle
_EXTENT_PERCENTILES = (1, 99)  # of the joints; single outliers do not shrink the scene


@dataclass(frozen=True)
class PageCamera:
    """A camera of the scene.

    Attributes:
        name: name of the view.
        R: (3, 3) rotation world -> camera.
        T: (3,) camera center, world mm, z up.
        f: (2,) focal lengths, px.
        c: (2,) principal point, px.
        image_wh: (width, height) of the image, px.
    """

    name: str
    R: np.ndarray
    T: np.ndarray
    f: np.ndarray
    c: np.ndarray
    image_wh: Sequence[float]


def page_rig(names: Sequence[str], cameras: Any, image_wh: np.ndarray) -> list[PageCamera]:
    """Return V cameras of the scene.

    Args:
        names: V names of views.
        cameras: Cameras (lib/multiviews/cameras.py) with leading axis V, in a world with z up.
        image_wh: (V, 2) sizes of the images, px.
    """
    columns = (names, cameras.R, cameras.T, cameras.f, cameras.c, image_wh)
    return [PageCamera(*values) for values in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Measure:
    """A number per frame, which colors the time line and has a column in the tables.

    Attributes:
        name: name, e.g. "error".
        unit: unit, e.g. "mm".
        values: (F,); NaN = unknown.
        good: value at the good end of the color scale.
        bad: value at the bad end; it may be below `good`.
        note: what the number is.
        joint_values: (F, J) the number of each joint; None = there is none.
    """

    name: str
    unit: str
    values: np.ndarray
    good: float
    bad: float
    note: str
    joint_values: np.ndarray | None = None

    def worst(self) -> int:
        """Return the frame with the worst known value."""
        badness = (self.values - self.good) * (1 if self.bad >= self.good else -1)
        return int(np.argmax(np.where(np.isfinite(badness), badness, -np.inf)))

    def of_frames(self, frames: Sequence[int]) -> Measure:
        """Return the measure of some frames."""
        joint_values = None if self.joint_values is None else self.joint_values[frames]
        return replace(self, values=self.values[frames], joint_values=joint_values)


@dataclass(frozen=True)
class FramePictures:
    """The V views of a frame.

    Attributes:
        frame: index of the frame.
        images: V arrays (h, w, 3) uint8 BGR of the page's picture_wh; None = joints on an empty ground.
        joints: (V, J, 2) projected pose, px of the pictures; NaN = unknown.
        notes: V short texts.
        gt_joints: (V, J, 2) projected ground truth; None = unknown.
        detections: (V, J, 2) detected joints; None = there are none.
        kept: (V, J) bool, detections that agree with the pose.
        heatmaps: name of a kind, e.g. "fused" -> (V, J, H, W).
        heatmap_to_picture: (V, 2, 3) heatmap px -> picture px; None = no heatmaps.
    """

    frame: int
    images: Sequence[np.ndarray] | None
    joints: np.ndarray
    notes: Sequence[str]
    gt_joints: np.ndarray | None = None
    detections: np.ndarray | None = None
    kept: np.ndarray | None = None
    heatmaps: Mapping[str, np.ndarray] = field(default_factory=dict)
    heatmap_to_picture: np.ndarray | None = None


@dataclass(frozen=True)
class PosePage:
    """Content of a page with F frames, except its pictures.

    Attributes:
        title: heading.
        facts: short texts below the heading.
        skeleton: skeleton of the J joints.
        pose_world: (F, J, 3) mm, z up; NaN = unknown.
        gt_world: (F, J, 3) mm; None = unknown.
        labels: F names of frames.
        rigs: sets of V cameras.
        rig: (F,) index into `rigs`.
        measures: the first one colors the time line at the start.
        report: Markdown; its tables and texts follow below the scene.
        picture_wh: V (width, height) of the pictures, px.
        rate: frames per second; None = the frames are no recording.
    """

    title: str
    facts: Sequence[str]
    skeleton: Skeleton
    pose_world: np.ndarray
    gt_world: np.ndarray | None
    labels: Sequence[str]
    rigs: Sequence[Sequence[PageCamera]]
    rig: np.ndarray
    measures: Sequence[Measure]
    report: str
    picture_wh: Sequence[tuple[int, int]]
    rate: float | None = None

    def __post_init__(self) -> None:
        sizes = check_shape("pose_world", self.pose_world.shape, ("F", len(self.skeleton.names), 3))
        if self.gt_world is not None:
            check_shape("gt_world", self.gt_world.shape, self.pose_world.shape)
        check_shape("labels", (len(self.labels),), (sizes["F"],))
        check_shape("rig", np.shape(self.rig), (sizes["F"],))
        for measure in self.measures:
            check_shape(measure.name, measure.values.shape, (sizes["F"],))


def spread(num_frames: int, count: int, always: Iterable[int] = ()) -> list[int]:
    """Return about `count` evenly spaced frames of `num_frames`, and the frames `always`, ascending."""
    even = np.linspace(0, num_frames - 1, min(count, num_frames)).round().astype(int).tolist()
    return sorted({*even, *map(int, always)})


def write_pose_page(
    path: str | os.PathLike, page: PosePage, pictures: Iterable[FramePictures], always: Iterable[int] = ()
) -> int:
    """Write the page atomically. While it would exceed MAX_BYTES, every second frame loses its pictures.

    Args:
        path: the HTML file.
        page: the content.
        pictures: pictures of some frames, ascending.
        always: frames whose pictures are removed last.

    Returns:
        Number of frames with pictures.

    Raises:
        InputError: the disk is full.
    """
    data = _page_data(page)
    encoded: dict[int, str] = {}
    kinds: list[str] = []
    has_images = False
    for one in pictures:
        has_images = one.images is not None
        encoded[one.frame] = _json(_encoded(one))
        if len(one.heatmaps) > len(kinds):  # some frames may have fewer kinds
            kinds = list(one.heatmaps)
            data["heatmaps"] = _heatmap_layout(one.heatmaps)
    left = MAX_BYTES - _RESERVED_BYTES - len(_fill(page.title, _json(data), ()))
    encoded = _thinned(encoded, set(map(int, always)), left)
    data["pictures_note"] = _pictures_note(page, encoded, has_images)
    write_bytes(path, _fill(page.title, _json(data), encoded.values()))
    return len(encoded)


def _page_data(page: PosePage) -> dict[str, Any]:
    """Return the data that the scripts read, without pictures; mm and px as integers."""
    low, high = _extent(page.pose_world)
    floor = np.nanmin(page.pose_world[..., 2]) if np.isfinite(page.pose_world).any() else 0.0
    shown = np.flatnonzero(np.isfinite(page.pose_world).all((1, 2)))
    azimuth = front_azimuth(page.pose_world[shown[0]], page.skeleton) + _SCENE_TURN_DEG if len(shown) else 0.0
    return {
        "title": page.title,
        "facts": list(page.facts),
        "skeleton": {"names": page.skeleton.names, "edges": page.skeleton.edges, "sides": page.skeleton.sides},
        "colors": {side: "#{:02x}{:02x}{:02x}".format(*color[::-1]) for side, color in SIDE_COLORS.items()},
        "poses": _points(page.pose_world),
        "gt": None if page.gt_world is None else _points(page.gt_world),
        "labels": list(page.labels),
        "rigs": [[_camera(camera) for camera in rig] for rig in page.rigs],
        "rig": np.asarray(page.rig).tolist(),
        "rate": page.rate,
        "measures": [
            {
                "name": one.name,
                "unit": one.unit,
                "note": one.note,
                "good": float(one.good),
                "bad": float(one.bad),
                "values": _numbers(one.values),
                "joint_values": None if one.joint_values is None else _numbers(one.joint_values),
            }
            for one in page.measures
        ],
        "low": low.tolist(),
        "high": high.tolist(),
        "floor": float(floor),
        "azimuth": float(np.deg2rad(azimuth)),
        "report": page.report,
        "heatmaps": None,
        "picture_sizes": [[int(side) for side in size] for size in page.picture_wh],
    }


def _extent(pose_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = pose_world[np.isfinite(pose_world).all(-1)]
    if not len(known):
        return np.full(3, -1000.0), np.full(3, 1000.0)
    low, high = np.percentile(known, _EXTENT_PERCENTILES, axis=0)
    return low, high


def _camera(camera: PageCamera) -> dict[str, Any]:
    arrays = {"R": camera.R.round(6), "T": camera.T.round(1), "f": camera.f.round(2), "c": camera.c.round(2)}
    return {"name": camera.name, "size": [float(side) for side in camera.image_wh]} | {
        name: array.tolist() for name, array in arrays.items()
    }


def _points(points: np.ndarray, digits: int = 0) -> list[Any]:
    """Return points (..., P, D) as nested lists of rounded coordinates; a point that is not finite is None."""
    finite = np.isfinite(points).all(-1)
    rounded = np.where(finite[..., None], points, 0).round(digits)
    nested = (rounded.astype(int) if digits == 0 else rounded).tolist()
    for *outer, point in np.argwhere(~finite).tolist():
        reduce(getitem, outer, nested)[point] = None
    return nested


def _numbers(values: np.ndarray) -> list[Any]:
    """Return numbers (...) as nested lists, rounded; a number that is not finite is None."""
    rounded = np.asarray(values, float).round(2)
    return np.where(np.isfinite(rounded), rounded, None).tolist()


def _encoded(pictures: FramePictures) -> dict[str, Any]:
    views = []
    points = {"joints": pictures.joints, "gt": pictures.gt_joints, "detections": pictures.detections}
    points = {name: _points(values, 1) for name, values in points.items() if values is not None}
    for view, note in enumerate(pictures.notes):
        entry = {
            "image": None if pictures.images is None else _jpeg(pictures.images[view], _JPEG_QUALITY),
            "note": note,
            **{name: values[view] for name, values in points.items()},
        }
        if pictures.detections is not None:
            entry["kept"] = pictures.kept[view].astype(int).tolist()
        if pictures.heatmaps:
            entry["heatmaps"] = {name: _heatmap_tiles(maps[view]) for name, maps in pictures.heatmaps.items()}
            entry["heatmap_to_picture"] = _canvas_transform(pictures.heatmap_to_picture[view])
        views.append(entry)
    return {"frame": pictures.frame, "views": views}


def _jpeg(image: np.ndarray, quality: int) -> str:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _heatmap_tiles(heatmaps: np.ndarray) -> str:
    """Return heatmaps (J, H, W) as one gray image with _TILE_COLUMNS columns; 1 and more is white."""
    num_joints, height, width = heatmaps.shape
    rows = -(-num_joints // _TILE_COLUMNS)
    tiles = np.zeros((rows * _TILE_COLUMNS, height, width), np.uint8)
    tiles[:num_joints] = (255 * np.nan_to_num(heatmaps.astype(np.float32)).clip(0, 1)).round()
    image = tiles.reshape(rows, _TILE_COLUMNS, height, width).swapaxes(1, 2)
    return _jpeg(image.reshape(rows * height, _TILE_COLUMNS * width), _HEATMAP_QUALITY)


def _heatmap_layout(heatmaps: Mapping[str, np.ndarray]) -> dict[str, Any]:
    height, width = next(iter(heatmaps.values())).shape[-2:]
    return {"kinds": list(heatmaps), "tile": [width, height], "columns": _TILE_COLUMNS}


def _canvas_transform(matrix: np.ndarray) -> list[float]:
    """Convert an affine matrix (2, 3) between pixel centers to a canvas, where pixel 0 is from 0 to 1."""
    shift = matrix[:, 2] + 0.5 - matrix[:, :2].sum(1) / 2
    return [round(float(value), 4) for value in (*matrix[:, 0], *matrix[:, 1], *shift)]


def _thinned(encoded: dict[int, str], always: set[int], limit: int) -> dict[int, str]:
    """Remove every second frame until the texts fit into `limit` bytes; `always` goes last."""
    while encoded and sum(map(len, encoded.values())) > limit:
        kept = {
            frame: text for number, (frame, text) in enumerate(encoded.items()) if number % 2 == 0 or frame in always
        }
        if len(kept) == len(encoded):
            kept = {} if len(kept) == 1 else kept
            always = set()
        encoded = kept
    return encoded


def _pictures_note(page: PosePage, encoded: Mapping[int, str], has_images: bool) -> str:
    counted = f"{len(encoded)} of {len(page.labels)} frames"
    if not has_images:
        return f"Without images: joints of {counted}."
    sizes = ", ".join(dict.fromkeys(f"{width} x {height}" for width, height in page.picture_wh))
    megabytes = sum(map(len, encoded.values())) / 1e6
    return f"Pictures of {counted}, {sizes} px, {megabytes:.1f} MB (limit of the file: {MAX_BYTES / 1e6:.0f} MB)."


def _json(value: Any) -> str:
    """Format as JSON that may stand in a script element: without "<", so that no text ends the element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c")


def _fill(title: str, data: str, pictures: Iterable[str]) -> bytes:
    """Fill in page.html; what is filled in is not searched for further places."""
    parts = {
        "title": html.escape(title),
        "css": _read("page.css"),
        "three": _read("three.min.js"),
        "script": "\n".join(map(_read, _SCRIPTS)),
        "data": f'{data[:-1]},"pictures":[{",".join(pictures)}]}}',
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _read("page.html")).encode()


def _read(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
