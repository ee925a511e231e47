"""Check that all cameras show the same pose in the world, with a diagnosis of the wrong convention, camera or time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lib.core.data_check.findings import ERROR, Section
from lib.core.data_check.group_sequence import GroupSequence, block_medians, frames_apart, lagged
from lib.core.data_check.hypotheses import best_explanations, block_groups, signed_permutations, where_wrong
from lib.core.data_check.reprojection import EXPLAINED_BLOCKS, WORLD_FRAME
from lib.dataset.conventions import MM_PER_UNIT, Conventions
from lib.multiviews.cameras import Cameras, camera_to_world, world_to_camera
from lib.multiviews.keypoints.triangulate import triangulate
from lib.utils.joints import JointSet
from lib.utils.tables import markdown_table

_UNKNOWN = "no known convention explains it: R and T are not the extrinsics of this camera"


@dataclass(frozen=True)
class ConsistencySettings:
    """Limits of the check."""

    max_distance_mm: float = 5.0  # between poses of two views: median over joints, then over a block's frames
    fit_share: float = 0.1  # an explanation must reduce the distance to this share, or to max_distance_mm
    alike_mm: float = 0.1  # explanations that differ by less are equal
    table_groups: int = 2000  # groups that the table is computed on
    rotation_groups: int = 200  # groups whose rotations are checked
    max_patterns: int = 4  # combinations of agreeing cameras that are explained one by one


SETTINGS = ConsistencySettings()


@dataclass(frozen=True)
class WorldData:
    """Poses of all views or one view, ordered by recording and time."""

    pose_cam: np.ndarray  # (G, V, J, 3) or (G, J, 3) mm
    cameras: Cameras  # cameras with the leading axes of the poses
    piece: np.ndarray  # (G,) piece numbers of a GroupSequence
    frame_gap: int  # distance of successive groups, frames
    camera_names: list[str]  # V names
    joint_set: JointSet  # the joints

    @classmethod
    def of(cls, groups: GroupSequence) -> WorldData:
        """Read the poses of groups."""
        joints = groups.annotations.joint_set
        return cls(groups.pose_cam, groups.cameras, groups.piece, groups.frame_gap, groups.camera_names, joints)

    def world(self) -> np.ndarray:
        """Return the poses in the world frame, mm."""
        return camera_to_world(self.pose_cam, self.cameras)


def check_agreement(groups: GroupSequence) -> Section:
    """Compare the poses of the views in the world frame with each other and with the triangulated 2D joints."""
    section = Section("One world for all cameras")
    section.body = _table(groups.spread(SETTINGS.table_groups))
    _check_rotations(section, groups.spread(SETTINGS.rotation_groups))
    distances = np.concatenate([_distances(part.pose_cam, part.cameras) for part in groups.chunks()])
    starts = groups.block_starts()
    medians = block_medians(distances, starts)  # (B, V, V)
    wrong = (medians > SETTINGS.max_distance_mm).any((1, 2))
    if wrong.any():
        # Different cameras may be wrong in different recordings: explain blocks with the same wrong cameras together.
        near = medians[wrong] <= SETTINGS.max_distance_mm
        agreeing = near[np.arange(len(near)), np.argmax(near.sum(-1), axis=-1)]  # (wrong blocks, V)
        patterns, which, counts = np.unique(agreeing, axis=0, return_inverse=True, return_counts=True)
        for pattern in np.argsort(-counts, kind="stable")[: SETTINGS.max_patterns]:
            blocks = np.zeros_like(wrong)
            blocks[np.flatnonzero(wrong)[which.reshape(-1) == pattern]] = True
            data = WorldData.of(groups.take(block_groups(starts, blocks, EXPLAINED_BLOCKS)))
            _explain(section, data, where_wrong(groups, starts, blocks))
        if len(patterns) > SETTINGS.max_patterns:
            more = len(patterns) - SETTINGS.max_patterns
            section.add(ERROR, f"other cameras do not agree in {more} more combinations")
    return section


def _explain(section: Section, data: WorldData, where: str) -> None:
    """Add a finding for all cameras, or one for each camera that does not agree with the others."""
    distance = _median_distance(data)
    good = _agreeing(distance)
    num_views = len(data.camera_names)
    reason = _explain_all(data) if len(good) < max(2, num_views - 1) else ""
    if num_views == 2 and not reason:
        world = data.world()
        either = [
            f"if {name} is: {_explain_one(data, view, world[:, 1 - view])}"
            for view, name in enumerate(data.camera_names)
        ]
        reason = f"two cameras do not show which one is wrong; {'; '.join(either)}"
    elif len(good) < 2 and not reason:
        reason = f"no two agree, and {_UNKNOWN}"
    if reason:
        apart = f"{np.median(distance[~np.eye(num_views, dtype=bool)]):.0f} mm"
        section.add(
            ERROR, f"the poses of the cameras do not meet in the world{where} (they are {apart} apart); {reason}"
        )
        return
    reference = np.median(data.world()[:, good], axis=1)  # (G, J, 3)
    for view in np.setdiff1d(np.arange(num_views), good).tolist():
        section.add(
            ERROR,
            f"{data.camera_names[view]}{where}: its poses lie {np.median(distance[view, good]):.0f} mm from the poses "
            f"of the other cameras; {_explain_one(data, view, reference)}",
        )


def _distances(pose_cam: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Return the median joint distance in the world between views, (G, V, V) mm, of (G, V, J, 3) poses."""
    world = camera_to_world(pose_cam, cameras)
    views = range(world.shape[1])
    apart = [np.median(np.linalg.norm(world - world[:, view, None], axis=-1), axis=-1) for view in views]
    return np.stack(apart, axis=1)


def _median_distance(data: WorldData) -> np.ndarray:
    """Return the median of _distances over all groups, (V, V) mm."""
    return np.median(_distances(data.pose_cam, data.cameras), axis=0)


def _agreeing(distance: np.ndarray) -> list[int]:
    """Return the views that agree with the view that most others agree with."""
    near = distance <= SETTINGS.max_distance_mm
    return np.flatnonzero(near[np.argmax(near.sum(1))]).tolist()


def _table(groups: GroupSequence) -> str:
    """Return the distances of each camera's pose from the median view and from the triangulated 2D joints."""
    cameras = groups.cameras
    world = camera_to_world(groups.pose_cam, cameras)
    away = np.linalg.norm(world - np.median(world, axis=1, keepdims=True), axis=-1)
    triangulated = triangulate(groups.joints_img, cameras, groups.visible.astype(np.float64))  # (G, J, 3)
    missed = np.linalg.norm(world - triangulated[:, None], axis=-1)
    table = []
    for view, name in enumerate(groups.camera_names):
        known = np.isfinite(missed[:, view]).any()
        median = float(np.nanmedian(missed[:, view])) if known else None
        table.append([name, float(np.median(away[:, view])), float(away[:, view].max()), median])
    header = ["", "from the median view, median (mm)", "max (mm)", "from the triangulated 2D joints, median (mm)"]
    return markdown_table(header, table)


def _check_rotations(section: Section, groups: GroupSequence) -> None:
    rotations = groups.cameras.R
    for view, name in enumerate(groups.camera_names):
        rotation = rotations[:, view]
        if np.abs(rotation @ rotation.swapaxes(-1, -2) - np.eye(3)).max() > 1e-3:
            section.add(ERROR, f"{name}: R is not a rotation, its rows are not orthonormal")
        elif (np.linalg.det(rotation) < 0).any():
            section.add(ERROR, f"{name}: R mirrors the world (determinant -1); a row or a column has the wrong sign")


def _limit(before: float) -> float:
    return min(max(SETTINGS.max_distance_mm, SETTINGS.fit_share * before), 0.5 * before)


def _explain_all(data: WorldData) -> str:
    """Find the convention that, applied to all views, makes them agree."""
    before = float(np.median(_median_distance(data)))
    found = []
    for text, changed in _conventions(data):
        distance = _median_distance(changed)
        found.append((text, float(np.median(distance)) if len(_agreeing(distance)) > 1 else np.inf))
    return best_explanations(found, _limit(before), SETTINGS.alike_mm, "mm")


def _conventions(data: WorldData) -> Iterator[tuple[str, WorldData]]:
    """Yield hypotheses about all views; the text names the settings that would read the file correctly."""
    for camera_t in ("center", "translation"):
        for camera_unit in MM_PER_UNIT:
            for pose_unit in MM_PER_UNIT:
                if pose_unit == camera_unit != "mm" or (pose_unit, camera_t) == (camera_unit, "center"):
                    continue  # the scale of the whole world makes no difference here
                conventions = Conventions(pose_unit, camera_unit, camera_t)
                pose, cameras = conventions.convert(data.pose_cam, data.cameras)
                yield _setting_text(conventions), replace(data, pose_cam=pose, cameras=cameras)
    yield WORLD_FRAME, replace(data, pose_cam=world_to_camera(data.pose_cam, data.cameras))
    transposed = replace(data.cameras, R=data.cameras.R.swapaxes(-1, -2))
    yield "R is transposed (camera to world)", replace(data, cameras=transposed)
    pose, cameras = Conventions(camera_t="translation").convert(data.pose_cam, transposed)
    yield "R is transposed and T is the translation", replace(data, pose_cam=pose, cameras=cameras)
    for name, matrix in signed_permutations():
        yield f"of the 3D joints in the camera frame, {name}", replace(data, pose_cam=data.pose_cam @ matrix.T)


def _setting_text(conventions: Conventions) -> str:
    reasons, settings = [], []
    for what, unit, key in (
        ("3D joints are", conventions.pose_unit, "POSE_UNIT"),
        ("camera T is", conventions.camera_unit, "CAMERA_UNIT"),
    ):
        if unit != "mm":
            reasons.append(f"the {what} in {unit}, not in mm")
            settings.append(f"DATASET.{key} {unit}")
    if conventions.camera_t != "center":
        reasons.append("camera T is the translation of x_cam = R x + T, not the camera center")
        settings.append(f"DATASET.CAMERA_T {conventions.camera_t}")
    return f"{' and '.join(reasons)}: set {', '.join(settings)}"


def _explain_one(data: WorldData, view: int, reference: np.ndarray) -> str:
    """Find the hypothesis with which one view agrees with a reference (G, J, 3) in the world, mm."""

    def error(changed: WorldData, expected: np.ndarray = reference) -> float:
        return float(np.median(np.linalg.norm(changed.world() - expected, axis=-1)))

    one = replace(data, pose_cam=data.pose_cam[:, view], cameras=data.cameras[:, view])
    found = [(text, error(changed)) for text, changed in _view_hypotheses(data, one, view)]
    for lag, early, late in lagged(one.piece):
        shifted = replace(one, pose_cam=one.pose_cam[early], cameras=one.cameras[early])
        text = f"it shows the pose of {frames_apart(lag, one.frame_gap)}: the view is shifted in time"
        found.append((text, error(shifted, reference[late])))
    return best_explanations(found, _limit(error(one)), SETTINGS.alike_mm, "mm") or _UNKNOWN


def _view_hypotheses(data: WorldData, one: WorldData, view: int) -> Iterator[tuple[str, WorldData]]:
    cameras = one.cameras
    for other, camera in enumerate(data.camera_names):
        if other != view:
            swapped = replace(cameras, R=data.cameras.R[:, other], T=data.cameras.T[:, other])
            yield f"R and T given for {camera} fit: they were swapped", replace(one, cameras=swapped)
    for name, matrix in signed_permutations():
        yield f"in its camera frame, {name}", replace(one, pose_cam=one.pose_cam @ matrix.T)
        turned = cameras.R @ matrix.T
        moved = cameras.T @ matrix.T
        yield f"in the world frame of its R, {name}", replace(one, cameras=replace(cameras, R=turned))
        yield f"in the world frame of its R and T, {name}", replace(one, cameras=replace(cameras, R=turned, T=moved))
        yield f"of its T, {name}", replace(one, cameras=replace(cameras, T=moved))
    sides = one.pose_cam[:, data.joint_set.mirrored_order()]
    yield "left and right of its joints are swapped", replace(one, pose_cam=sides)
    yield from _conventions(one)
