"""Do the cameras see one and the same pose in the world? If not, which convention, camera or time is another one?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lib.core.data_check.axes import signed_permutations
from lib.core.data_check.sample import Views, lagged
from lib.core.data_check.section import ERROR, Section
from lib.dataset.conventions import MM_PER_UNIT, Conventions
from lib.multiviews.cameras import Cameras, camera_to_world
from lib.multiviews.triangulate import triangulate
from lib.utils.joints import JointSet
from lib.utils.tables import markdown_table

MAX_DISTANCE_MM = 5.0  # median over joints and frames between two views' poses in the world
FIT_SHARE = 0.1  # an explanation must bring the distance below this share of it, or below MAX_DISTANCE_MM
_UNKNOWN = "no known convention explains it: R and T are not those of this camera"


@dataclass(frozen=True)
class WorldData:
    """All views, ordered by recording and time.

    Attributes:
        pose_cam: (G, V, J, 3) mm.
        cameras: leading axes (G, V).
        recording, piece: (G,) of Views.
        camera_ids: numbers of the cameras.
        joint_set: the joints.
    """

    pose_cam: np.ndarray
    cameras: Cameras
    recording: np.ndarray
    piece: np.ndarray
    camera_ids: list[int]
    joint_set: JointSet

    def frames(self, chosen: np.ndarray) -> WorldData:
        """Return some of the groups."""
        return replace(self, pose_cam=self.pose_cam[chosen], cameras=self.cameras[chosen],
                       recording=self.recording[chosen], piece=self.piece[chosen])  # fmt: skip

    def world(self) -> np.ndarray:
        """Return each view's pose in the world frame, (G, V, J, 3) mm."""
        return camera_to_world(self.pose_cam, self.cameras)


def check_agreement(views: Views) -> Section:
    """Compare the poses of the views in the world frame, and both with what the 2D joints triangulate to."""
    section = Section("One world for all cameras")
    data = WorldData(views.pose_cam, views.cameras, views.recording_number, views.piece, views.camera_ids,
                     views.annotations.joint_set)  # fmt: skip
    section.body = _table(views, data)
    _check_rotations(section, views)
    world = data.world()
    wrong = [number for number in range(data.recording.max() + 1)
             if (_distances(world[data.recording == number]) > MAX_DISTANCE_MM).any()]  # fmt: skip
    if wrong:
        chosen = np.isin(data.recording, wrong)
        where = ""
        if not chosen.all():
            where = (f" in {len(wrong)} of {data.recording.max() + 1} recordings (the first: "
                     f"{views.name(int(np.flatnonzero(chosen)[0]))})")  # fmt: skip
        _explain(section, data.frames(chosen), where)
    return section


def _explain(section: Section, data: WorldData, where: str) -> None:
    """Add a finding for all cameras, or one for each that does not agree with the others."""
    distance = _distances(data.world())
    good = _agreeing(distance)
    num_views = len(data.camera_ids)
    reason = _explain_all(data) if len(good) < max(2, num_views - 1) else ""
    if reason:
        section.add(ERROR, f"the poses of the cameras do not meet in the world{where} (they are "
                           f"{np.median(distance):.0f} mm apart); {reason}")  # fmt: skip
        return
    reference = np.median(data.world()[:, good], axis=1)  # (G, J, 3)
    for view in (view for view in range(num_views) if view not in good):
        away = float(np.median(distance[view, good]))
        section.add(ERROR, f"camera {data.camera_ids[view]}{where}: its poses lie {away:.0f} mm from those of the "
                           f"other cameras; {_explain_one(data, view, reference)}")  # fmt: skip


def _distances(world: np.ndarray) -> np.ndarray:
    """Median distance of (G, V, J, 3) poses between the views, (V, V) mm."""
    num_views = world.shape[1]
    result = np.zeros((num_views, num_views))
    for view in range(num_views):
        away = np.linalg.norm(world - world[:, view : view + 1], axis=-1)  # (G, V, J)
        result[view] = np.median(away, axis=(0, 2))
    return result


def _agreeing(distance: np.ndarray) -> list[int]:
    """The views that agree with the one that most agree with."""
    near = distance <= MAX_DISTANCE_MM
    return np.flatnonzero(near[np.argmax(near.sum(1))]).tolist()


def _table(views: Views, data: WorldData) -> str:
    """Per camera: distance of its pose to the mean of the views, and of the triangulated 2D joints to its pose."""
    world = data.world()
    middle = np.median(world, axis=1, keepdims=True)
    away = np.linalg.norm(world - middle, axis=-1)
    weights = views.visible.astype(np.float64)
    triangulated = triangulate(views.joints_img, data.cameras, weights)  # (G, J, 3)
    missed = np.linalg.norm(world - triangulated[:, None], axis=-1)
    rows = [
        [f"camera {camera_id}", float(np.median(away[:, view])), float(away[:, view].max()),
         float(np.nanmedian(missed[:, view])) if np.isfinite(missed[:, view]).any() else None]
        for view, camera_id in enumerate(views.camera_ids)
    ]  # fmt: skip
    header = ["", "from the middle view, median (mm)", "max (mm)", "from the triangulated 2D joints, median (mm)"]
    return markdown_table(header, rows)


def _check_rotations(section: Section, views: Views) -> None:
    cameras = views.spread(200).cameras
    for view, camera_id in enumerate(views.camera_ids):
        rotation = cameras.R[:, view]
        if np.abs(rotation @ rotation.swapaxes(-1, -2) - np.eye(3)).max() > 1e-3:
            section.add(ERROR, f"camera {camera_id}: R is no rotation, its rows are not orthonormal")
        elif (np.linalg.det(rotation) < 0).any():
            section.add(ERROR, f"camera {camera_id}: R mirrors the world (determinant -1); a row or a column has the "
                               "wrong sign")  # fmt: skip


def _explain_all(data: WorldData) -> str:
    """Find the convention that, applied to all views, makes them agree."""
    before = float(np.median(_distances(data.world())))
    for text, changed in _conventions(data):
        distance = _distances(changed.world())
        if np.median(distance) <= max(MAX_DISTANCE_MM, FIT_SHARE * before) and len(_agreeing(distance)) > 1:
            return f"{text} (with that: {np.median(distance):.1f} mm)"
    return ""


def _conventions(data: WorldData) -> Iterator[tuple[str, WorldData]]:
    """Yield explanations that concern all views; settings that would read the file right are named."""
    for camera_t in ("centre", "translation"):
        for camera_unit in MM_PER_UNIT:
            for pose_unit in MM_PER_UNIT:
                conventions = Conventions(pose_unit, camera_unit, camera_t)
                if conventions == Conventions():
                    continue
                pose, cameras = conventions.convert(data.pose_cam, data.cameras)
                yield _setting_text(conventions), replace(data, pose_cam=pose, cameras=cameras)
    turned = replace(data.cameras, R=data.cameras.R.swapaxes(-1, -2))
    yield "R is transposed (camera to world)", replace(data, cameras=turned)
    pose, cameras = Conventions(camera_t="translation").convert(data.pose_cam, turned)
    yield "R is transposed and T is the translation", replace(data, pose_cam=pose, cameras=cameras)
    for name, matrix in signed_permutations():
        yield f"of the 3D joints in the camera frame, {name}", replace(data, pose_cam=data.pose_cam @ matrix.T)


def _setting_text(conventions: Conventions) -> str:
    said, settings = [], []
    for what, unit, key in (("3D joints are", conventions.pose_unit, "POSE_UNIT"),
                            ("camera T is", conventions.camera_unit, "CAMERA_UNIT")):  # fmt: skip
        if unit != "mm":
            said.append(f"the {what} in {unit}, not in mm")
            settings.append(f"DATASET.{key} {unit}")
    if conventions.camera_t != "centre":
        said.append("camera T is the translation of x_cam = R x + T, not the centre")
        settings.append(f"DATASET.CAMERA_T {conventions.camera_t}")
    return f"{' and '.join(said)}: set {', '.join(settings)}"


def _explain_one(data: WorldData, view: int, reference: np.ndarray) -> str:
    """Find what makes one view agree with a reference (G, J, 3) in the world, mm."""
    one = replace(data, pose_cam=data.pose_cam[:, view], cameras=data.cameras[:, view])
    before, best, best_text = _away(one.world(), reference), np.inf, ""
    hypotheses = ((text, changed, reference) for text, changed in _view_hypotheses(data, one, view))
    for text, changed, wanted in itertools.chain(hypotheses, _shifted_in_time(one, reference)):
        error = _away(changed.world(), wanted)
        if error < 0.5 * best:  # a later, less simple one must be clearly better
            best, best_text = error, text
    if best < max(MAX_DISTANCE_MM, FIT_SHARE * before):
        return f"{best_text} (with that: {best:.1f} mm)"
    return _UNKNOWN


def _view_hypotheses(data: WorldData, one: WorldData, view: int) -> Iterator[tuple[str, WorldData]]:
    cameras = one.cameras
    for other, camera_id in enumerate(data.camera_ids):
        if other != view:
            swapped = replace(cameras, R=data.cameras.R[:, other], T=data.cameras.T[:, other])
            yield f"R and T given for camera {camera_id} fit: they were exchanged", replace(one, cameras=swapped)
    for name, matrix in signed_permutations():
        yield f"in its camera frame, {name}", replace(one, pose_cam=one.pose_cam @ matrix.T)
        turned, moved = cameras.R @ matrix.T, cameras.T @ matrix.T
        yield f"in the world frame of its R, {name}", replace(one, cameras=replace(cameras, R=turned))
        yield f"in the world frame of its R and T, {name}", replace(one, cameras=replace(cameras, R=turned, T=moved))
        yield f"of its T, {name}", replace(one, cameras=replace(cameras, T=moved))
    yield "left and right of its joints are exchanged", replace(
        one, pose_cam=one.pose_cam[:, data.joint_set.mirrored_order()])  # fmt: skip
    yield from _conventions(one)


def _shifted_in_time(one: WorldData, reference: np.ndarray) -> Iterator[tuple[str, WorldData, np.ndarray]]:
    for lag, early, late in lagged(one.piece):
        side = "later" if lag > 0 else "earlier"
        yield (f"it shows the pose of {abs(lag)} frames {side}: the view is shifted in time", one.frames(early),
               reference[late])  # fmt: skip


def _away(world: np.ndarray, reference: np.ndarray) -> float:
    return float(np.median(np.linalg.norm(world - reference, axis=-1)))
