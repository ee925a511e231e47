"""Do the cameras see one and the same pose in the world? If not, which convention, camera or time is another one?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lib.core.data_check.axes import signed_permutations
from lib.core.data_check.findings import ERROR, Section
from lib.core.data_check.group_sequence import GroupSequence, block_medians, frames_apart, lagged
from lib.core.data_check.hypotheses import best_explanations, block_groups, where_wrong
from lib.core.data_check.reprojection import EXPLAINED_BLOCKS, WORLD_FRAME
from lib.dataset.conventions import MM_PER_UNIT, Conventions
from lib.multiviews.cameras import Cameras, camera_to_world, world_to_camera
from lib.multiviews.keypoints.triangulate import triangulate
from lib.utils.joints import JointSet
from lib.utils.tables import markdown_table

MAX_DISTANCE_MM = 5.0  # between two views' poses in the world: median over the joints, then over a block's frames
FIT_SHARE = 0.1  # an explanation must bring the distance below this share of it, or below MAX_DISTANCE_MM
ALIKE_MM = 0.1
TABLE_GROUPS = 2000  # that the table is of
MAX_PATTERNS = 4  # sets of cameras that agree in some parts and not in others; more are not explained one by one
_UNKNOWN = "no known convention explains it: R and T are not those of this camera"


@dataclass(frozen=True)
class WorldData:
    """All views, ordered by recording and time.

    Attributes:
        pose_cam: (G, V, J, 3) mm.
        cameras: leading axes (G, V).
        piece: (G,) of GroupSequence.
        frame_gap: frames from a group to the next.
        camera_ids: numbers of the cameras.
        joint_set: the joints.
    """

    pose_cam: np.ndarray
    cameras: Cameras
    piece: np.ndarray
    frame_gap: int
    camera_ids: list[int]
    joint_set: JointSet

    @classmethod
    def of(cls, views: GroupSequence) -> WorldData:
        """Take what is needed of some groups."""
        return cls(
            views.pose_cam, views.cameras, views.piece, views.frame_gap, views.camera_ids, views.annotations.joint_set
        )

    def frames(self, chosen: np.ndarray) -> WorldData:
        """Return some of the groups."""
        return replace(self, pose_cam=self.pose_cam[chosen], cameras=self.cameras[chosen], piece=self.piece[chosen])

    def world(self) -> np.ndarray:
        """Return each view's pose in the world frame, (G, V, J, 3) mm."""
        return camera_to_world(self.pose_cam, self.cameras)


def check_agreement(views: GroupSequence) -> Section:
    """Compare the poses of the views in the world frame, and both with what the 2D joints triangulate to."""
    section = Section("One world for all cameras")
    section.body = _table(views.spread(TABLE_GROUPS))
    _check_rotations(section, views)
    distances = np.concatenate([_distances(part.pose_cam, part.cameras) for part in views.chunks()])
    starts = views.block_starts()
    medians = block_medians(distances, starts)  # (B, V, V)
    wrong = (medians > MAX_DISTANCE_MM).any((1, 2))
    if wrong.any():
        # Different cameras may be wrong in different recordings: parts with the same cameras at fault go together.
        near = medians[wrong] <= MAX_DISTANCE_MM
        agreeing = near[np.arange(len(near)), np.argmax(near.sum(-1), axis=-1)]  # (wrong blocks, V)
        patterns, which, counts = np.unique(agreeing, axis=0, return_inverse=True, return_counts=True)
        for pattern in np.argsort(-counts, kind="stable")[:MAX_PATTERNS]:
            own = np.zeros_like(wrong)
            own[np.flatnonzero(wrong)[which.reshape(-1) == pattern]] = True
            data = WorldData.of(views.take(block_groups(starts, own, EXPLAINED_BLOCKS)))
            _explain(section, data, where_wrong(views, starts, own))
        if len(patterns) > MAX_PATTERNS:
            section.add(ERROR, f"other cameras do not agree in {len(patterns) - MAX_PATTERNS} more combinations")
    return section


def _explain(section: Section, data: WorldData, where: str) -> None:
    """Add a finding for all cameras, or one for each that does not agree with the others."""
    distance = _distance(data)
    good = _agreeing(distance)
    num_views = len(data.camera_ids)
    names = data.camera_ids
    reason = _explain_all(data) if len(good) < max(2, num_views - 1) else ""
    apart = f"(they are {np.median(distance[~np.eye(num_views, dtype=bool)]):.0f} mm apart)"
    if num_views == 2 and not reason:
        world = data.world()
        either = [f"if camera {names[view]} is: {_explain_one(data, view, world[:, 1 - view])}" for view in (0, 1)]
        reason = f"which one is wrong cannot be told from two; {'; '.join(either)}"
    elif len(good) < 2 and not reason:
        reason = f"no two agree, and {_UNKNOWN}"
    if reason:
        section.add(ERROR, f"the poses of the cameras do not meet in the world{where} {apart}; {reason}")
        return
    reference = np.median(data.world()[:, good], axis=1)  # (G, J, 3)
    for view in (view for view in range(num_views) if view not in good):
        away = float(np.median(distance[view, good]))
        section.add(
            ERROR,
            f"camera {names[view]}{where}: its poses lie {away:.0f} mm from those of the "
            f"other cameras; {_explain_one(data, view, reference)}",
        )


def _distances(pose_cam: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Distance of (G, V, J, 3) poses in the world between the views, median over the joints, (G, V, V) mm."""
    world = camera_to_world(pose_cam, cameras)
    return np.stack(
        [
            np.median(np.linalg.norm(world - world[:, view : view + 1], axis=-1), axis=-1)
            for view in range(world.shape[1])
        ],
        axis=1,
    )


def _distance(data: WorldData) -> np.ndarray:
    """The same, median over all groups, (V, V) mm."""
    return np.median(_distances(data.pose_cam, data.cameras), axis=0)


def _agreeing(distance: np.ndarray) -> list[int]:
    """The views that agree with the one that most agree with."""
    near = distance <= MAX_DISTANCE_MM
    return np.flatnonzero(near[np.argmax(near.sum(1))]).tolist()


def _table(views: GroupSequence) -> str:
    """Per camera: distance of its pose to the mean of the views, and of the triangulated 2D joints to its pose."""
    cameras = views.cameras
    world = camera_to_world(views.pose_cam, cameras)
    middle = np.median(world, axis=1, keepdims=True)
    away = np.linalg.norm(world - middle, axis=-1)
    weights = views.visible.astype(np.float64)
    triangulated = triangulate(views.joints_img, cameras, weights)  # (G, J, 3)
    missed = np.linalg.norm(world - triangulated[:, None], axis=-1)
    rows = [
        [
            f"camera {camera_id}",
            float(np.median(away[:, view])),
            float(away[:, view].max()),
            float(np.nanmedian(missed[:, view])) if np.isfinite(missed[:, view]).any() else None,
        ]
        for view, camera_id in enumerate(views.camera_ids)
    ]
    header = ["", "from the middle view, median (mm)", "max (mm)", "from the triangulated 2D joints, median (mm)"]
    return markdown_table(header, rows)


def _check_rotations(section: Section, views: GroupSequence) -> None:
    cameras = views.spread(200).cameras
    for view, camera_id in enumerate(views.camera_ids):
        rotation = cameras.R[:, view]
        if np.abs(rotation @ rotation.swapaxes(-1, -2) - np.eye(3)).max() > 1e-3:
            section.add(ERROR, f"camera {camera_id}: R is no rotation, its rows are not orthonormal")
        elif (np.linalg.det(rotation) < 0).any():
            section.add(
                ERROR, f"camera {camera_id}: R mirrors the world (determinant -1); a row or a column has the wrong sign"
            )


def _limit(before: float) -> float:
    return min(max(MAX_DISTANCE_MM, FIT_SHARE * before), 0.5 * before)


def _explain_all(data: WorldData) -> str:
    """Find the convention that, applied to all views, makes them agree."""
    before = float(np.median(_distance(data)))
    found = []
    for text, changed in _conventions(data):
        distance = _distance(changed)
        found.append((text, float(np.median(distance)) if len(_agreeing(distance)) > 1 else np.inf))
    return best_explanations(found, _limit(before), ALIKE_MM, "mm")


def _conventions(data: WorldData) -> Iterator[tuple[str, WorldData]]:
    """Yield explanations that concern all views; settings that would read the file right are named."""
    for camera_t in ("centre", "translation"):
        for camera_unit in MM_PER_UNIT:
            for pose_unit in MM_PER_UNIT:
                if pose_unit == camera_unit != "mm" or (pose_unit, camera_t) == (camera_unit, "centre"):
                    continue  # the size of the whole world makes no difference here
                conventions = Conventions(pose_unit, camera_unit, camera_t)
                pose, cameras = conventions.convert(data.pose_cam, data.cameras)
                yield _setting_text(conventions), replace(data, pose_cam=pose, cameras=cameras)
    yield WORLD_FRAME, replace(data, pose_cam=world_to_camera(data.pose_cam, data.cameras))
    turned = replace(data.cameras, R=data.cameras.R.swapaxes(-1, -2))
    yield "R is transposed (camera to world)", replace(data, cameras=turned)
    pose, cameras = Conventions(camera_t="translation").convert(data.pose_cam, turned)
    yield "R is transposed and T is the translation", replace(data, pose_cam=pose, cameras=cameras)
    for name, matrix in signed_permutations():
        yield f"of the 3D joints in the camera frame, {name}", replace(data, pose_cam=data.pose_cam @ matrix.T)


def _setting_text(conventions: Conventions) -> str:
    said, settings = [], []
    for what, unit, key in (
        ("3D joints are", conventions.pose_unit, "POSE_UNIT"),
        ("camera T is", conventions.camera_unit, "CAMERA_UNIT"),
    ):
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
    before = _away(one.world(), reference)
    found = [(text, _away(changed.world(), reference)) for text, changed in _view_hypotheses(data, one, view)]
    found += [(text, _away(changed.world(), wanted)) for text, changed, wanted in _shifted_in_time(one, reference)]
    return best_explanations(found, _limit(before), ALIKE_MM, "mm") or _UNKNOWN


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
    yield (
        "left and right of its joints are exchanged",
        replace(one, pose_cam=one.pose_cam[:, data.joint_set.mirrored_order()]),
    )
    yield from _conventions(one)


def _shifted_in_time(one: WorldData, reference: np.ndarray) -> Iterator[tuple[str, WorldData, np.ndarray]]:
    for lag, early, late in lagged(one.piece):
        away = frames_apart(lag, one.frame_gap)
        yield f"it shows the pose of {away}: the view is shifted in time", one.frames(early), reference[late]


def _away(world: np.ndarray, reference: np.ndarray) -> float:
    return float(np.median(np.linalg.norm(world - reference, axis=-1)))
