"""Do the 3D joints, projected with the given cameras, lie on the 2D joints? If not, which convention is another one?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from lib.core.data_check.axes import signed_permutations
from lib.core.data_check.sample import Views, lagged
from lib.core.data_check.section import ERROR, Section
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project_camera
from lib.utils.joints import JointSet
from lib.utils.tables import markdown_table

MAX_ERROR_PX = 1.0  # median over the frames, of every joint
SURE_SHARE = 0.2  # an explanation must bring the error below this share of it, or below MAX_ERROR_PX
_FAR_PX = 1e6  # stands for points that have no projection
_UNKNOWN = "no known convention explains it: these are not the parameters of this camera"


@dataclass(frozen=True)
class ViewData:
    """One camera's images, ordered by recording and time.

    Attributes:
        pose_cam: (F, J, 3) mm.
        joints_img: (F, J, 2) px.
        visible: (F, J) bool.
        cameras: leading axis F.
        recording: (F,) number of the recording.
        piece: (F,) of Views.
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
        projected, depth = project_camera(self.pose_cam, self.cameras)
        with np.errstate(over="ignore", invalid="ignore"):
            distance = np.linalg.norm(projected - self.joints_img, axis=-1)
        distance = np.where((depth > MIN_DEPTH_MM) & np.isfinite(distance), distance, _FAR_PX)
        return np.where(self.visible, distance, np.nan)

    def worst_joint(self) -> float:
        """Return the largest of the joints' median errors, px."""
        errors = self.errors()
        seen = errors[:, self.visible.any(0)]
        return float(np.nanmedian(seen, axis=0).max()) if seen.size else 0.0

    def frames(self, chosen: np.ndarray) -> ViewData:
        """Return some of the frames."""
        return ViewData(self.pose_cam[chosen], self.joints_img[chosen], self.visible[chosen], self.cameras[chosen],
                        self.recording[chosen], self.piece[chosen], self.image_wh)  # fmt: skip


def check_reprojection(views: Views, image_wh: list[tuple[int, int] | None]) -> Section:
    """Compare 2D and 3D joints per camera and recording.

    Args:
        views: the groups.
        image_wh: per view the size of its images, px.
    """
    section, rows = Section("2D against projected 3D"), []
    data = [_view_data(views, view, image_wh[view]) for view in range(views.num_views)]
    reasons: dict[str, list[str]] = {}
    for view, camera_id in enumerate(views.camera_ids):
        errors = data[view].errors()
        errors = errors[np.isfinite(errors)]
        rows.append([f"camera {camera_id}", len(errors), *np.percentile(errors, [50, 95, 100]).tolist()])
        wrong = wrong_recordings(data[view].recording, data[view].errors(), MAX_ERROR_PX)
        if wrong.any():
            frames = np.isin(data[view].recording, np.flatnonzero(wrong))
            reason = explain([one.frames(frames) for one in data], view, views.camera_ids, views.annotations.joint_set)
            where = f"camera {camera_id}{_where(views, data[view].recording, wrong)}"
            reasons.setdefault(reason, []).append(f"{where} ({_distance(data[view].frames(frames).worst_joint())})")
    for reason, cameras in reasons.items():
        section.add(ERROR, f"{', '.join(cameras)}: the projected 3D joints do not lie on the 2D joints; {reason}")
    section.body = markdown_table(["", "joints", "median (px)", "95 % (px)", "max (px)"], rows, 2)
    return section


def wrong_recordings(recording: np.ndarray, errors: np.ndarray, tolerance: float) -> np.ndarray:
    """Return which recordings have a joint whose median error is above a tolerance.

    Args:
        recording: (F,) numbers from 0.
        errors: (F, J), NaN = not known.
        tolerance: in the unit of the errors.

    Returns:
        (number of recordings,) bool.
    """
    wrong = np.zeros(recording.max() + 1, bool)
    for number in range(len(wrong)):
        own = errors[recording == number]
        own = own[:, np.isfinite(own).any(0)]
        wrong[number] = own.size > 0 and bool((np.nanmedian(own, axis=0) > tolerance).any())
    return wrong


def _where(views: Views, recording: np.ndarray, wrong: np.ndarray) -> str:
    """Name the recordings, unless it is all of them."""
    if wrong.all():
        return ""
    first = views.name(int(np.flatnonzero(wrong[recording])[0]))
    return f" in {np.count_nonzero(wrong)} of {len(wrong)} recordings (the first: {first})"


def _distance(error: float) -> str:
    return "behind the camera or far away" if error >= _FAR_PX else f"{error:.1f} px"


def _view_data(views: Views, view: int, image_wh: tuple[int, int] | None) -> ViewData:
    return ViewData(views.pose_cam[:, view], views.joints_img[:, view], views.visible[:, view], views.cameras[:, view],
                    views.recording_number, views.piece, image_wh)  # fmt: skip


def explain(data: list[ViewData], view: int, camera_ids: list[int], joint_set: JointSet) -> str:
    """Say which convention makes the 2D and 3D joints of a view agree.

    Args:
        data: of all views.
        view: the one that does not agree.
        camera_ids: numbers of the cameras.
        joint_set: the joints.
    """
    before = data[view].worst_joint()
    best_error, best_text = np.inf, ""
    for text, changed in _hypotheses(data, view, camera_ids, joint_set):
        error = changed.worst_joint()
        if error < 0.5 * best_error:  # a later, less simple one must be clearly better
            best_error, best_text = error, text
        if best_error < 0.1 * MAX_ERROR_PX:
            break
    if best_error < max(MAX_ERROR_PX, SURE_SHARE * before):
        return f"{best_text} (with that: {best_error:.2f} px)"
    return _offset(data[view]) or _UNKNOWN


def _hypotheses(
    data: list[ViewData], view: int, camera_ids: list[int], joint_set: JointSet
) -> Iterator[tuple[str, ViewData]]:
    """Yield explanations with the data as they would be if each were true, the most common ones first."""
    one = data[view]
    yield from _mirrored_pixels(one)
    yield from _shifted_in_time(one)
    yield "x and y of the 2D joints are exchanged (row, column)", replace(one, joints_img=one.joints_img[..., ::-1])
    mirrored = one.joints_img[:, joint_set.mirrored_order()]
    yield "left and right of the 2D joints are exchanged", replace(one, joints_img=mirrored)
    yield from _other_cameras(data, view, camera_ids)
    for name, matrix in signed_permutations():
        yield f"of the 3D joints in the camera frame, {name}", replace(one, pose_cam=one.pose_cam @ matrix.T)
    yield from _other_scale(one)
    yield from _other_lens(one)
    order = _order(one)
    names = ", ".join(joint_set.names[joint] for joint in np.argsort(order))
    yield f"the 2D joints are in another order ({names})", replace(one, joints_img=one.joints_img[:, order])


def _mirrored_pixels(one: ViewData) -> Iterator[tuple[str, ViewData]]:
    """2D joints, or principal points, counted from the other edge of the image."""
    sizes = one.image_wh or tuple(2 * np.median(one.cameras.c, axis=0))
    for axis, (name, size) in enumerate(zip("xy", sizes, strict=True)):
        joints, centre = one.joints_img.copy(), one.cameras.c.copy()
        joints[..., axis] = size - 1 - joints[..., axis]
        centre[..., axis] = size - 1 - centre[..., axis]
        yield f"{name} of the 2D joints is mirrored (the image was flipped?)", replace(one, joints_img=joints)
        yield (f"the principal point is mirrored in {name} (c{name} counts from the other edge)",
               replace(one, cameras=replace(one.cameras, c=centre)))  # fmt: skip
        focal = one.cameras.f.copy()
        focal[..., axis] *= -1
        yield f"the sign of f{name} is wrong", replace(one, cameras=replace(one.cameras, f=focal))
        yield (f"{name} of the camera is mirrored (f{name} and c{name})",
               replace(one, cameras=replace(one.cameras, f=focal, c=centre)))  # fmt: skip


def _other_cameras(data: list[ViewData], view: int, camera_ids: list[int]) -> Iterator[tuple[str, ViewData]]:
    for other, camera_id in enumerate(camera_ids):
        if other != view:
            back = replace(data[other], cameras=data[view].cameras).worst_joint()
            exchanged = back < data[other].worst_joint()
            yield (f"the parameters given for camera {camera_id} fit{': they were exchanged' if exchanged else ''}",
                   replace(data[view], cameras=data[other].cameras))  # fmt: skip


def _shifted_in_time(one: ViewData) -> Iterator[tuple[str, ViewData]]:
    for lag, early, late in lagged(one.piece):
        side = "later" if lag > 0 else "earlier"
        earlier = one.frames(early)
        yield (f"the 2D joints are those of {abs(lag)} frames {side}",
               replace(earlier, pose_cam=one.pose_cam[late], cameras=one.cameras[late]))  # fmt: skip


def _other_scale(one: ViewData) -> Iterator[tuple[str, ViewData]]:
    """2D joints, or the camera, in px of an image of another size."""
    projected, _ = project_camera(one.pose_cam, one.cameras)
    seen, expected = one.joints_img[one.visible], projected[one.visible]
    centred = (seen - np.median(seen, 0), expected - np.median(expected, 0))
    factor = float((centred[0] * centred[1]).sum() / max((centred[1] ** 2).sum(), 1e-9))
    if factor > 0.01:
        cameras = replace(one.cameras, f=one.cameras.f * factor, c=one.cameras.c * factor)
        yield (f"the camera's parameters belong to images {1 / factor:.3g} times as large as the 2D joints' (focal "
               "length and centre must be scaled with the image)", replace(one, cameras=cameras))  # fmt: skip


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


def _offset(one: ViewData) -> str:
    """A constant shift in the image, as from coordinates that count from 1 or belong to a crop."""
    projected, _ = project_camera(one.pose_cam, one.cameras)
    shift = np.median((one.joints_img - projected)[one.visible], axis=0)
    error = replace(one, joints_img=one.joints_img - shift).worst_joint()
    if error > MAX_ERROR_PX:
        return ""
    x, y = shift.round(1) + 0.0  # no negative zero
    return (f"the 2D joints are shifted by ({x:.1f}, {y:.1f}) px: another origin, or a crop of the image (without "
            f"the shift: {error:.2f} px)")  # fmt: skip
