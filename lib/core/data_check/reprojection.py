"""Do the 3D joints, projected with the given cameras, lie on the 2D joints? If not, which convention is another one?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from lib.core.data_check.axes import signed_permutations
from lib.core.data_check.findings import ERROR, Section
from lib.core.data_check.group_sequence import GroupSequence, block_medians, frames_apart, lagged
from lib.core.data_check.hypotheses import best_explanations, block_groups, where_wrong
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project_camera, world_to_camera
from lib.utils.joints import JointSet
from lib.utils.tables import markdown_table

MAX_ERROR_PX = 1.0  # median over the frames of a block, of every joint
SURE_SHARE = 0.2  # an explanation must bring the error below this share of it, or below MAX_ERROR_PX
MAX_EXPLAINED_PX = 3.0  # and below this in any case
EXPLAINED_BLOCKS = 40  # blocks that explanations are tried on
_FAR_PX = 1e6  # stands for points that have no projection
WORLD_FRAME = "the 3D joints (joints_3d_camera) are in the world frame, not in the camera's"
_UNKNOWN = "no known convention explains it: these are not the parameters of this camera"


def joint_errors(pose_cam: np.ndarray, joints_img: np.ndarray, visible: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Return the distances of 2D joints to projected 3D joints.

    Args:
        pose_cam: (..., J, 3) mm.
        joints_img: (..., J, 2) px.
        visible: (..., J) bool.
        cameras: leading axes as the joints'.

    Returns:
        (..., J) px; NaN where a joint is not visible, a large number where it has no projection.
    """
    projected, depth = project_camera(pose_cam, cameras)
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.linalg.norm(projected - joints_img, axis=-1)
    distance = np.where((depth > MIN_DEPTH_MM) & np.isfinite(distance), distance, _FAR_PX)
    return np.where(visible, distance, np.nan)


@dataclass(frozen=True)
class ViewData:
    """One camera's images, ordered by recording and time.

    Attributes:
        pose_cam: (F, J, 3) mm.
        joints_img: (F, J, 2) px.
        visible: (F, J) bool.
        cameras: leading axis F.
        recording: (F,) number of the recording.
        piece: (F,) of GroupSequence.
        image_wh: (width, height) of the images, px, None if none could be read.
    """

    pose_cam: np.ndarray
    joints_img: np.ndarray
    visible: np.ndarray
    cameras: Cameras
    recording: np.ndarray
    piece: np.ndarray
    image_wh: tuple[int, int] | None

    def errors(self) -> np.ndarray:
        """Return the distances of the 2D joints to the projected ones, (F, J) px; NaN where a joint is not visible."""
        return joint_errors(self.pose_cam, self.joints_img, self.visible, self.cameras)

    def worst_joint(self) -> float:
        """Return the largest of the joints' median errors, px."""
        errors = self.errors()
        seen = errors[:, self.visible.any(0)]
        return float(np.nanmedian(seen, axis=0).max()) if seen.size else 0.0

    def frames(self, chosen: np.ndarray) -> ViewData:
        """Return some of the frames."""
        return ViewData(
            self.pose_cam[chosen],
            self.joints_img[chosen],
            self.visible[chosen],
            self.cameras[chosen],
            self.recording[chosen],
            self.piece[chosen],
            self.image_wh,
        )


def check_reprojection(views: GroupSequence, image_wh: list[tuple[int, int] | None]) -> Section:
    """Compare 2D and 3D joints of all groups, per camera.

    Args:
        views: the groups.
        image_wh: per view the size of its images, px.
    """
    section = Section("2D against projected 3D")
    rows = []
    errors = np.concatenate(
        [
            joint_errors(part.pose_cam, part.joints_img, part.visible, part.cameras).astype(np.float32)
            for part in views.chunks()
        ]
    )  # (G, V, J)
    starts = views.block_starts()
    wrong = (block_medians(errors, starts) > MAX_ERROR_PX).any(-1)  # (B, V)
    reasons: dict[str, list[str]] = {}
    for view, camera_id in enumerate(views.camera_ids):
        known = errors[:, view][np.isfinite(errors[:, view])]
        figures = np.percentile(known, [50, 95, 100]).tolist() if len(known) else [None] * 3
        rows.append([f"camera {camera_id}", len(known), *figures])
        if wrong[:, view].any():
            chosen = views.take(block_groups(starts, wrong[:, view], EXPLAINED_BLOCKS))
            data = [_view_data(chosen, other, image_wh[other]) for other in range(views.num_views)]
            reason = explain(data, view, views.camera_ids, views.annotations.joint_set, views.frame_gap)
            where = f"camera {camera_id}{where_wrong(views, starts, wrong[:, view])}"
            reasons.setdefault(reason, []).append(f"{where} ({_distance(data[view].worst_joint())})")
    for reason, cameras in reasons.items():
        section.add(ERROR, f"{', '.join(cameras)}: the projected 3D joints do not lie on the 2D joints; {reason}")
    section.body = markdown_table(["", "joints", "median (px)", "95 % (px)", "max (px)"], rows, 2)
    return section


def _distance(error: float) -> str:
    return "behind the camera or far away" if error >= _FAR_PX else f"{error:.1f} px"


def _view_data(views: GroupSequence, view: int, image_wh: tuple[int, int] | None) -> ViewData:
    return ViewData(
        views.pose_cam[:, view],
        views.joints_img[:, view],
        views.visible[:, view],
        views.cameras[:, view],
        views.recording_number,
        views.piece,
        image_wh,
    )


def explain(data: list[ViewData], view: int, camera_ids: list[int], joint_set: JointSet, frame_gap: int) -> str:
    """Say which convention makes the 2D and 3D joints of a view agree.

    Args:
        data: of all views.
        view: the one that does not agree.
        camera_ids: numbers of the cameras.
        joint_set: the joints.
        frame_gap: frames from a group to the next.
    """
    before = data[view].worst_joint()
    found = [
        (text, changed.worst_joint()) for text, changed in _hypotheses(data, view, camera_ids, joint_set, frame_gap)
    ]
    limit = min(max(MAX_ERROR_PX, SURE_SHARE * before), MAX_EXPLAINED_PX, 0.5 * before)
    return best_explanations(found, limit, 0.02 * MAX_ERROR_PX, "px") or _UNKNOWN


def _hypotheses(
    data: list[ViewData], view: int, camera_ids: list[int], joint_set: JointSet, frame_gap: int
) -> Iterator[tuple[str, ViewData]]:
    """Yield explanations with the data as they would be if each were true, the most common ones first."""
    one = data[view]
    yield from _mirrored_pixels(one)
    yield from _shifted_in_time(one, frame_gap)
    yield "x and y of the 2D joints are exchanged (row, column)", replace(one, joints_img=one.joints_img[..., ::-1])
    mirrored = one.joints_img[:, joint_set.mirrored_order()]
    yield "left and right of the 2D joints are exchanged", replace(one, joints_img=mirrored)
    yield from _other_cameras(data, view, camera_ids)
    for name, matrix in signed_permutations():
        yield f"of the 3D joints in the camera frame, {name}", replace(one, pose_cam=one.pose_cam @ matrix.T)
    yield WORLD_FRAME, replace(one, pose_cam=world_to_camera(one.pose_cam, one.cameras))
    yield from _other_scale(one)
    yield from _other_lens(one)
    yield from _offset(one)
    order = _order(one)
    names = ", ".join(joint_set.names[joint] for joint in np.argsort(order))
    yield f"the 2D joints are in another order ({names})", replace(one, joints_img=one.joints_img[:, order])


def _mirrored_pixels(one: ViewData) -> Iterator[tuple[str, ViewData]]:
    """2D joints, or principal points, counted from the other edge of the image."""
    sizes = one.image_wh or tuple(2 * np.median(one.cameras.c, axis=0))
    for axis, (name, size) in enumerate(zip("xy", sizes, strict=True)):
        joints = one.joints_img.copy()
        centre = one.cameras.c.copy()
        joints[..., axis] = size - 1 - joints[..., axis]
        centre[..., axis] = size - 1 - centre[..., axis]
        yield f"{name} of the 2D joints is mirrored (the image was flipped?)", replace(one, joints_img=joints)
        yield (
            f"the principal point is mirrored in {name} (c{name} counts from the other edge)",
            replace(one, cameras=replace(one.cameras, c=centre)),
        )
        focal = one.cameras.f.copy()
        focal[..., axis] *= -1
        yield f"the sign of f{name} is wrong", replace(one, cameras=replace(one.cameras, f=focal))
        yield (
            f"{name} of the camera is mirrored (f{name} and c{name})",
            replace(one, cameras=replace(one.cameras, f=focal, c=centre)),
        )


def _other_cameras(data: list[ViewData], view: int, camera_ids: list[int]) -> Iterator[tuple[str, ViewData]]:
    for other, camera_id in enumerate(camera_ids):
        if other != view:
            back = replace(data[other], cameras=data[view].cameras).worst_joint()
            exchanged = back < data[other].worst_joint()
            yield (
                f"the parameters given for camera {camera_id} fit{': they were exchanged' if exchanged else ''}",
                replace(data[view], cameras=data[other].cameras),
            )


def _shifted_in_time(one: ViewData, frame_gap: int) -> Iterator[tuple[str, ViewData]]:
    for lag, early, late in lagged(one.piece):
        earlier = one.frames(early)
        yield (
            f"the 2D joints are those of {frames_apart(lag, frame_gap)}",
            replace(earlier, pose_cam=one.pose_cam[late], cameras=one.cameras[late]),
        )


def _other_scale(one: ViewData) -> Iterator[tuple[str, ViewData]]:
    """2D joints, or the camera, in px of an image of another size; a focal length of another size."""
    projected, _ = project_camera(one.pose_cam, one.cameras)
    seen = one.joints_img[one.visible]
    expected = projected[one.visible]
    centred = (seen - np.median(seen, 0), expected - np.median(expected, 0))
    factor = float((centred[0] * centred[1]).sum() / max((centred[1] ** 2).sum(), 1e-9))
    if factor > 0.01:
        cameras = replace(one.cameras, f=one.cameras.f * factor, c=one.cameras.c * factor)
        yield (
            f"the camera's parameters belong to images {1 / factor:.3g} times as large as the 2D joints' (focal "
            "length and centre must be scaled with the image)",
            replace(one, cameras=cameras),
        )
    centre = np.broadcast_to(one.cameras.c[:, None], one.joints_img.shape)[one.visible]
    ratio = np.median((seen - centre) * np.sign(expected - centre), axis=0)
    ratio = ratio / np.maximum(np.median(np.abs(expected - centre), axis=0), 1e-9)
    if (ratio > 0.01).all():
        cameras = replace(one.cameras, f=one.cameras.f * ratio)
        yield (
            f"the focal lengths are another camera's or wrong: {1 / ratio[0]:.3g} (fx) and {1 / ratio[1]:.3g} (fy) "
            "times what fits",
            replace(one, cameras=cameras),
        )


def _other_lens(one: ViewData) -> Iterator[tuple[str, ViewData]]:
    cameras = one.cameras
    yield "fx and fy are exchanged", replace(one, cameras=replace(cameras, f=cameras.f[..., ::-1]))
    yield "cx and cy are exchanged", replace(one, cameras=replace(cameras, c=cameras.c[..., ::-1]))
    yield "p1 and p2 are exchanged", replace(one, cameras=replace(cameras, p=cameras.p[..., ::-1]))
    without = replace(cameras, k=np.zeros_like(cameras.k), p=np.zeros_like(cameras.p))
    yield "the 2D joints are without lens distortion", replace(one, cameras=without)


def _order(one: ViewData) -> np.ndarray:
    """Which 2D joint lies nearest to each projected joint over all frames, each one once: (J,)."""
    projected, _ = project_camera(one.pose_cam, one.cameras)
    distance = np.linalg.norm(projected[:, :, None] - one.joints_img[:, None], axis=-1)  # (F, J, J)
    return linear_sum_assignment(np.median(np.minimum(distance, _FAR_PX), axis=0))[1]


def _offset(one: ViewData) -> Iterator[tuple[str, ViewData]]:
    """A constant shift in the image, as from coordinates that count from 1 or belong to a crop."""
    projected, _ = project_camera(one.pose_cam, one.cameras)
    shift = np.median((one.joints_img - projected)[one.visible], axis=0)
    x, y = shift.round(1) + 0.0  # no negative zero
    yield (
        f"the 2D joints are shifted by ({x:.1f}, {y:.1f}) px: another origin, a crop of the image, or another "
        "principal point",
        replace(one, joints_img=one.joints_img - shift),
    )
