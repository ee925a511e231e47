"""Check of the projected 3D joints against the 2D joints, with a diagnosis of the wrong convention."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from lib.core.data_check.findings import ERROR, Section
from lib.core.data_check.group_sequence import GroupSequence, block_medians, frames_apart, lagged
from lib.core.data_check.hypotheses import best_explanations, block_groups, signed_permutations, where_wrong
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project_camera, world_to_camera
from lib.utils.joints import JointSet
from lib.utils.tables import markdown_table

EXPLAINED_BLOCKS = 40  # blocks that explanations are tried on
WORLD_FRAME = "the 3D joints (joints_3d_camera) are in the world frame, not in the camera's"
_FAR_PX = 1e6  # error of points without projection
_UNKNOWN = "no known convention explains it: these are not the parameters of this camera"


@dataclass(frozen=True)
class ReprojectionSettings:
    """Limits of the check."""

    max_error_px: float = 1.0  # median over the frames of a block, for every joint
    sure_share: float = 0.2  # an explanation must reduce the error to this share, or to max_error_px
    max_explained_px: float = 3.0  # and always below this
    alike_px: float = 0.02  # explanations that differ by less are equal


LIMITS = ReprojectionSettings()


def joint_errors(pose_cam: np.ndarray, joints_img: np.ndarray, visible: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Return the distances between 2D joints and projected 3D joints.

    Args:
        pose_cam: (..., J, 3) mm.
        joints_img: (..., J, 2) px.
        visible: (..., J) bool.
        cameras: cameras with the leading axes of the joints.

    Returns:
        (..., J) px; NaN for invisible joints, a large number for joints without projection.
    """
    projected, depth = project_camera(pose_cam, cameras)
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.linalg.norm(projected - joints_img, axis=-1)
    distance = np.where((depth > MIN_DEPTH_MM) & np.isfinite(distance), distance, _FAR_PX)
    return np.where(visible, distance, np.nan)


@dataclass(frozen=True)
class ViewData:
    """Images of one camera, ordered by recording and time."""

    pose_cam: np.ndarray  # (F, J, 3) mm
    joints_img: np.ndarray  # (F, J, 2) px
    visible: np.ndarray  # (F, J) bool
    cameras: Cameras  # cameras with leading axis F
    piece: np.ndarray  # (F,) piece numbers of a GroupSequence
    image_wh: tuple[int, int] | None  # (width, height) of the images, px; None if unknown

    def worst_joint(self) -> float:
        """Return the largest median error of the joints, px."""
        errors = joint_errors(self.pose_cam, self.joints_img, self.visible, self.cameras)
        seen = errors[:, self.visible.any(0)]
        return float(np.nanmedian(seen, axis=0).max()) if seen.size else 0.0


def check_reprojection(groups: GroupSequence, image_wh: Sequence[tuple[int, int] | None]) -> Section:
    """Compare 2D and 3D joints of all groups, per camera.

    Args:
        groups: the groups.
        image_wh: image size of each view, px; None if unknown.
    """
    section = Section("2D against projected 3D")
    errors = np.concatenate(
        [
            joint_errors(part.pose_cam, part.joints_img, part.visible, part.cameras).astype(np.float32)
            for part in groups.chunks()
        ]
    )  # (G, V, J)
    starts = groups.block_starts()
    wrong = (block_medians(errors, starts) > LIMITS.max_error_px).any(-1)  # (B, V)
    table = []
    reasons: dict[str, list[str]] = {}
    for view, camera in enumerate(groups.camera_names):
        known = errors[:, view][np.isfinite(errors[:, view])]
        figures = np.percentile(known, [50, 95, 100]).tolist() if len(known) else [None] * 3
        table.append([camera, len(known), *figures])
        if wrong[:, view].any():
            chosen = groups.take(block_groups(starts, wrong[:, view], EXPLAINED_BLOCKS))
            data = [_view_data(chosen, other, image_wh[other]) for other in range(groups.num_views)]
            error = data[view].worst_joint()
            reason = _explain(data, view, error, groups)
            distance = "behind the camera or far away" if error >= _FAR_PX else f"{error:.1f} px"
            reasons.setdefault(reason, []).append(f"{camera}{where_wrong(groups, starts, wrong[:, view])} ({distance})")
    for reason, cameras in reasons.items():
        section.add(ERROR, f"{', '.join(cameras)}: the projected 3D joints do not lie on the 2D joints; {reason}")
    section.body = markdown_table(["", "joints", "median (px)", "95 % (px)", "max (px)"], table, 2)
    return section


def _view_data(groups: GroupSequence, view: int, image_wh: tuple[int, int] | None) -> ViewData:
    arrays = (groups.pose_cam, groups.joints_img, groups.visible, groups.cameras)
    return ViewData(*(array[:, view] for array in arrays), groups.piece, image_wh)


def _explain(data: Sequence[ViewData], view: int, error: float, groups: GroupSequence) -> str:
    """Name the convention with which a view with `error` (px, of its worst joint) would agree."""
    limit = min(max(LIMITS.max_error_px, LIMITS.sure_share * error), LIMITS.max_explained_px, 0.5 * error)
    found = [(text, changed.worst_joint()) for text, changed in _hypotheses(data, view, groups)]
    return best_explanations(found, limit, LIMITS.alike_px, "px") or _UNKNOWN


def _hypotheses(data: Sequence[ViewData], view: int, groups: GroupSequence) -> Iterator[tuple[str, ViewData]]:
    """Yield hypotheses with the data corrected for them, the most common ones first."""
    one = data[view]
    joint_set: JointSet = groups.annotations.joint_set
    yield from _mirrored_pixels(one)
    yield from _shifted_in_time(one, groups.frame_gap)
    yield "x and y of the 2D joints are swapped (row, column)", replace(one, joints_img=one.joints_img[..., ::-1])
    mirrored = one.joints_img[:, joint_set.mirrored_order()]
    yield "left and right of the 2D joints are swapped", replace(one, joints_img=mirrored)
    for other, camera in enumerate(groups.camera_names):
        if other != view:
            back = replace(data[other], cameras=one.cameras).worst_joint()
            swapped = ": they were swapped" if back < data[other].worst_joint() else ""
            yield f"the parameters given for {camera} fit{swapped}", replace(one, cameras=data[other].cameras)
    for name, matrix in signed_permutations():
        yield f"of the 3D joints in the camera frame, {name}", replace(one, pose_cam=one.pose_cam @ matrix.T)
    yield WORLD_FRAME, replace(one, pose_cam=world_to_camera(one.pose_cam, one.cameras))
    projected, _ = project_camera(one.pose_cam, one.cameras)
    yield from _other_scale(one, projected)
    yield from _other_lens(one)
    yield _offset(one, projected)
    # Which 2D joint is nearest to each projected joint over all frames, each one once.
    distance = np.linalg.norm(projected[:, :, None] - one.joints_img[:, None], axis=-1)  # (F, J, J)
    order = linear_sum_assignment(np.median(np.minimum(distance, _FAR_PX), axis=0))[1]
    names = ", ".join(joint_set.names[joint] for joint in np.argsort(order))
    yield f"the 2D joints are in another order ({names})", replace(one, joints_img=one.joints_img[:, order])


def _mirrored_pixels(one: ViewData) -> Iterator[tuple[str, ViewData]]:
    """Yield 2D joints, or principal points, counted from the other edge of the image."""
    sizes = one.image_wh or tuple(2 * np.median(one.cameras.c, axis=0))
    for axis, (name, size) in enumerate(zip("xy", sizes, strict=True)):
        joints = one.joints_img.copy()
        center = one.cameras.c.copy()
        focal = one.cameras.f.copy()
        joints[..., axis] = size - 1 - joints[..., axis]
        center[..., axis] = size - 1 - center[..., axis]
        focal[..., axis] *= -1
        yield f"{name} of the 2D joints is mirrored (the image was flipped?)", replace(one, joints_img=joints)
        for text, changes in (
            (f"the principal point is mirrored in {name} (c{name} counts from the other edge)", {"c": center}),
            (f"the sign of f{name} is wrong", {"f": focal}),
            (f"{name} of the camera is mirrored (f{name} and c{name})", {"f": focal, "c": center}),
        ):
            yield text, replace(one, cameras=replace(one.cameras, **changes))


def _shifted_in_time(one: ViewData, frame_gap: int) -> Iterator[tuple[str, ViewData]]:
    for lag, early, late in lagged(one.piece):
        shifted = replace(
            one,
            pose_cam=one.pose_cam[late],
            joints_img=one.joints_img[early],
            visible=one.visible[early],
            cameras=one.cameras[late],
            piece=one.piece[early],
        )
        yield f"the 2D joints are from {frames_apart(lag, frame_gap)}", shifted


def _other_scale(one: ViewData, projected: np.ndarray) -> Iterator[tuple[str, ViewData]]:
    """Yield 2D joints, or cameras, in px of an image of another size, and other focal lengths."""
    seen = one.joints_img[one.visible]
    expected = projected[one.visible]
    centered = (seen - np.median(seen, 0), expected - np.median(expected, 0))
    factor = float((centered[0] * centered[1]).sum() / max((centered[1] ** 2).sum(), 1e-9))
    if factor > 0.01:
        cameras = replace(one.cameras, f=one.cameras.f * factor, c=one.cameras.c * factor)
        yield (
            f"the camera's parameters belong to images {1 / factor:.3g} times as large as the 2D joints' (focal "
            "length and principal point must be scaled with the image)",
            replace(one, cameras=cameras),
        )
    center = np.broadcast_to(one.cameras.c[:, None], one.joints_img.shape)[one.visible]
    ratio = np.median((seen - center) * np.sign(expected - center), axis=0)
    ratio = ratio / np.maximum(np.median(np.abs(expected - center), axis=0), 1e-9)
    if (ratio > 0.01).all():
        yield (
            f"the focal lengths are another camera's or wrong: {1 / ratio[0]:.3g} (fx) and {1 / ratio[1]:.3g} (fy) "
            "times what fits",
            replace(one, cameras=replace(one.cameras, f=one.cameras.f * ratio)),
        )


def _other_lens(one: ViewData) -> Iterator[tuple[str, ViewData]]:
    cameras = one.cameras
    yield "fx and fy are swapped", replace(one, cameras=replace(cameras, f=cameras.f[..., ::-1]))
    yield "cx and cy are swapped", replace(one, cameras=replace(cameras, c=cameras.c[..., ::-1]))
    yield "p1 and p2 are swapped", replace(one, cameras=replace(cameras, p=cameras.p[..., ::-1]))
    undistorted = replace(cameras, k=np.zeros_like(cameras.k), p=np.zeros_like(cameras.p))
    yield "the 2D joints are without lens distortion", replace(one, cameras=undistorted)


def _offset(one: ViewData, projected: np.ndarray) -> tuple[str, ViewData]:
    """Return a constant shift in the image, as from coordinates that count from 1 or belong to a crop."""
    shift = np.median((one.joints_img - projected)[one.visible], axis=0)
    x, y = shift.round(1) + 0.0  # no negative zero
    text = (
        f"the 2D joints are shifted by ({x:.1f}, {y:.1f}) px: another origin, a crop of the image, or another "
        "principal point"
    )
    return text, replace(one, joints_img=one.joints_img - shift)
