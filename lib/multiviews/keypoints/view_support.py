"""Number of views whose heatmaps support a joint of a 3D pose (numpy)."""

import numpy as np

from lib.multiviews.cameras import Cameras, project_camera, visible_to, world_to_camera
from lib.multiviews.pictorial.backend_numpy import Backend, interpolate
from lib.multiviews.pictorial.heatmap_sampling import bilinear_taps
from lib.utils.transforms import transform_points

# Half of the peak height is 1.2 standard deviations from the center of a Gaussian: 2.4 px in the original heatmaps.
MIN_PEAK_SHARE = 0.5
MIN_VIEW_SHARE = 0.1  # heatmaps lower than this share of the joint's highest heatmap are noise


def count_supporting_views(
    heatmaps: np.ndarray,
    pose_world: np.ndarray,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    backend: Backend | None = None,
) -> np.ndarray:
    """Count the views that support each joint.

    A view supports a joint if its heatmap, interpolated at the projected joint, reaches half of its maximum. Views that
    cannot see the joint, or whose heatmap is below a tenth of the joint's highest heatmap, do not count.

    Args:
        heatmaps: (F, V, J, H, W).
        pose_world: (F, J, 3) mm; NaN = missing joint, 0 views.
        cameras: cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.
        backend: its kernel is used if it has one; None = numpy.

    Returns:
        (F, J) int64, 0 to V.
    """
    if backend is not None and backend.count_supporting_views is not None:
        return backend.count_supporting_views(heatmaps, pose_world, cameras, image_to_heatmap)
    exists = np.isfinite(pose_world).all(-1)  # (F, J)
    points_cam = world_to_camera(np.where(exists[..., None], pose_world, 0.0)[:, None], cameras)
    points_hm = transform_points(project_camera(points_cam, cameras)[0], image_to_heatmap)  # (F, V, J, 2)
    taps = bilinear_taps(points_hm[..., :1].copy(), points_hm[..., 1:].copy(), heatmaps.shape[-2:], np)
    highest = heatmaps.max((-2, -1))  # (F, V, J)
    seen = (highest > 0) & (highest >= MIN_VIEW_SHARE * highest.max(1, keepdims=True))
    supports = interpolate(heatmaps, taps)[..., 0] >= MIN_PEAK_SHARE * highest
    return (seen & visible_to(points_cam, cameras) & supports).sum(1) * exists
