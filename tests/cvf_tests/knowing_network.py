"""Stand-ins for a trained network, which know the joints in the frame that the images show."""

from __future__ import annotations

import numpy as np
from cvf_tests.scenes import draw_gaussians

from lib.core.evaluation2d.decode import predict_locations
from lib.core.own_cameras.network import CropOutput, PoseNetwork
from lib.dataset.own_cameras.videos import read_frames
from lib.multiviews.cameras import project
from lib.utils.transforms import image_to_heatmap_affine, invert_affine, transform_points


def boxes_of(matrices):
    """Return centers and scales of crops of 256 px."""
    inverse = invert_affine(matrices)
    return transform_points(np.full((len(matrices), 1, 2), 128.0), inverse)[:, 0], np.repeat(
        inverse[:, :1, 0] * 256 / 200, 2, 1
    )


class Knowing(PoseNetwork):
    """Gaussians at the gt joints of the frame that the images show.

    Attributes:
        known: F frames of V images, set by show().
        joints: (F, V, 17, 2) image px.
    """

    def __init__(self, config, checkpoint, cameras):
        self.config = config
        self.calls = 0

    @classmethod
    def show(cls, recording, pose_world):
        """Set what the network knows: the images of a recording, and its poses (F, 17, 3) mm."""
        cls.known = list(read_frames(recording.videos, recording.table))
        cls.joints = project(pose_world[:, None], recording.cameras)[0]

    def __call__(self, images, center, scale):
        heatmaps = self.draw(images, center, scale)
        locations = predict_locations(heatmaps, center, scale, (256, 256), "log_quadratic")
        return CropOutput(heatmaps, locations, center, scale, None)

    def draw(self, images, center, scale):
        self.calls += 1
        frame = next(index for index, shown in enumerate(self.known) if np.array_equal(shown[0], images[0]))
        matrix = image_to_heatmap_affine(center, scale, (256, 256), (64, 64))
        return draw_gaussians(transform_points(self.joints[frame], matrix), (64, 64), 2.0)

    def single_view(self, images, matrices):
        """The heatmaps of crops of one image, drawn with this crop in all views."""
        views = range(len(self.known[0]))
        view = next(v for shown in self.known for v in views if np.array_equal(shown[v], images[0]))
        frame = next(shown for shown in self.known if np.array_equal(shown[view], images[0]))
        center, scale = boxes_of(matrices)
        crops = [(np.repeat(one[None], len(views), 0) for one in crop) for crop in zip(center, scale, strict=True)]
        return np.stack([self.draw(frame, *crop)[view] for crop in crops])


class Centered(Knowing):
    """Like a network trained on centered people: it always shows the person in the center, with a low peak if off."""

    def draw(self, images, center, scale):
        self.calls += 1
        frame = next(index for index, shown in enumerate(self.known) if np.array_equal(shown[0], images[0]))
        joints = self.joints[frame]
        root = self.joints[frame][:, :1]
        matrix = image_to_heatmap_affine(center, scale, (256, 256), (64, 64))
        maps = draw_gaussians(transform_points(joints - root + center[:, None], matrix), (64, 64), 2.0)
        off = np.linalg.norm(root[:, 0] - center, axis=-1) / (200 * scale[:, 0])  # shares of the box
        return maps * (0.3 + 0.6 * np.exp(-((off / 0.15) ** 2) / 2))[:, None, None, None]
