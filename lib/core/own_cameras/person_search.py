"""Search for the person with a trained network: the crops move to where the views agree and the peaks are high."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

import numpy as np
from tqdm import tqdm

from lib.core.own_cameras.network import CropOutput, FramePrediction, PoseNetwork
from lib.dataset.own_cameras.calibration_file import Rig
from lib.dataset.storage.record_writer import BOX_MM, person_box
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project, world_to_camera
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.multiviews.keypoints.view_consensus import consistent_points
from lib.utils.joints import H36M_17
from lib.utils.transforms import SCALE_UNIT_PX, get_affine_transform

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchSettings:
    """Search for the person in the first frame, and tracking in the next ones.

    Attributes:
        grid_mm: spacing of the first crops and positions, around the center of the views. A network trained on centered
            people shows a low peak 400 mm off the center.
        grid_reach: crops and positions to either side of the center.
        num_evaluated: best first positions at which the network sees all views.
        num_refined: best of these that are refined.
        near_steps_mm: spacings of the crops, from coarse to fine, if the position is roughly known.
        track_steps_mm: the same if the position in the previous frame is known.
        max_rounds: largest number of scans with a spacing.
        max_jump_mm: distance up to which the triangulated root is tried as the position, after the scans.
        center_penalty: loss of score if the root is max_jump_mm or more off the center of the crops.
        tolerance: reprojection error of agreeing views, share of the crop side length.
        batch_crops: crops that the network sees together in a scan.
    """

    grid_mm: float = 400.0
    grid_reach: int = 4
    num_evaluated: int = 16
    num_refined: int = 2
    near_steps_mm: tuple[float, ...] = (200.0, 80.0)
    track_steps_mm: tuple[float, ...] = (80.0,)
    max_rounds: int = 3
    max_jump_mm: float = 400.0
    center_penalty: float = 0.2
    tolerance: float = 0.06
    batch_crops: int = 16


SEARCH = SearchSettings()
_NO_PEAK = 0.01  # lower peaks are equal
_TIE = 1e-3  # heights closer than this are equal: the crop nearer to the last position counts
_FAR = 1.5  # spacings; after a longer move, the crops did not surround the person
_BOX_SIDE_MM = float(np.ptp(BOX_MM[:, 0]))


@dataclass(frozen=True)
class _Candidate:
    """A position of the person with the output of the network.

    Attributes:
        root: (3,) mm, the position around which the crops are placed.
        triangulated_root: (3,) mm; NaN if no two views agree.
        score: share of agreeing joints times peak height, reduced if the root is off the center.
        output: output of the network.
    """

    root: np.ndarray
    triangulated_root: np.ndarray
    score: float
    output: CropOutput


class PersonSearch:
    """Search for the person in the images of one frame."""

    def __init__(self, network: PoseNetwork, images: Sequence[np.ndarray], cameras: Cameras) -> None:
        self._network = network
        self._images = images
        self._cameras = cameras

    def predict(self, root: np.ndarray) -> CropOutput:
        """Return the output for the V views around a root (3,) mm."""
        return self.predict_crops(*_crops(root, self._cameras))

    def predict_crops(self, center: np.ndarray, scale: np.ndarray) -> CropOutput:
        """Return the output for crops with centers (V, 2), px, and scales (V, 2)."""
        return self._network(self._images, center, scale)

    def evaluate(self, root: np.ndarray) -> _Candidate:
        """Run the network around a root (3,) mm, and score it."""
        output = self.predict(root)
        found = _triangulated_root(output.locations, self._cameras, output.scale)
        distance = np.nan_to_num(np.linalg.norm(found - root), nan=np.inf)
        centered = 1 - SEARCH.center_penalty * min(1.0, distance / SEARCH.max_jump_mm)
        height = float(output.heatmaps.max((-2, -1)).mean())
        score = _agreement(output.locations, self._cameras, output.scale) * height * centered
        return _Candidate(root, found, score, output)

    def scan(self, root: np.ndarray, spacing_mm: float, reach: int) -> np.ndarray:
        """Return the mean peak heights (V, N) of crops of each view around a root (3,) mm, without fusion.

        The crops of a view are offset by _offsets(reach) * spacing_mm parallel to its image, at the depth of the root.
        """
        center, scale = _crops(root, self._cameras)
        centers = center[:, None] + spacing_mm * _offsets(reach) * _px_per_mm(scale)[:, None, None]
        scales = np.broadcast_to(scale[:, None], centers.shape)
        matrices = get_affine_transform(centers, scales, 0.0, self._network.config.NETWORK.IMAGE_SIZE)
        heights = []
        for image, of_view in zip(self._images, matrices, strict=True):
            parts = np.array_split(of_view, -(-len(of_view) // SEARCH.batch_crops))
            maps = np.concatenate([self._network.single_view([image] * len(part), part) for part in parts])
            heights.append(maps.max((-2, -1)).mean(1))
        return np.stack(heights)

    def approach(self, root: np.ndarray, steps_mm: Sequence[float]) -> _Candidate:
        """Move from a root (3,) mm to where all views have the highest peaks, and run the network there.

        A network trained on centered people may show them in the center of every crop, so its peaks' heights tell more
        about the position than their places.
        """
        for step in steps_mm:
            for _ in range(SEARCH.max_rounds):
                moves = np.stack([_maximum(heights) for heights in self.scan(root, step, 1)])  # (V, 2) spacings
                points, _ = project(root[None], self._cameras)  # (V, 1, 2)
                _, scale = _crops(root, self._cameras)
                points[:, 0] += step * moves * _px_per_mm(scale)[:, None]
                root = triangulate(points[None], self._cameras.map(lambda array: array[None]))[0, 0]
                if np.abs(moves).max() < _FAR:
                    break
        found = self.evaluate(root)
        if np.linalg.norm(found.triangulated_root - root) < SEARCH.max_jump_mm:  # false for NaN
            found = max(found, self.evaluate(found.triangulated_root), key=lambda candidate: candidate.score)
        return found

    def near(self, root: np.ndarray) -> _Candidate:
        """Find the person near a roughly known root (3,) mm."""
        return self.approach(root, SEARCH.near_steps_mm)

    def track(self, root: np.ndarray) -> _Candidate:
        """Follow the person from the root of the previous frame."""
        return self.approach(root, SEARCH.track_steps_mm)

    def first(self, image_wh: np.ndarray) -> _Candidate:
        """Search on a grid around the center of the views, whose images have (V, 2) px.

        Each view is scanned once. A position counts by the sum over the views of the peaks in the crops next to it.
        """
        center = _center_of_views(self._cameras)
        reach = SEARCH.grid_reach
        steps = range(-reach, reach + 1)
        grid = center + SEARCH.grid_mm * np.array(list(itertools.product(steps, repeat=3)))
        points, depth = project(grid[None], self._cameras)  # (V, N, 2), (V, N)
        visible = ((points >= 0) & (points < image_wh[:, None])).all(-1) & (depth > MIN_DEPTH_MM)
        roots = grid[visible.sum(0) >= 2]
        if not len(roots):
            roots = center[None]
        heights = self.scan(center, SEARCH.grid_mm, reach)
        _, scale = _crops(center, self._cameras)
        spacing_px = SEARCH.grid_mm * _px_per_mm(scale)[:, None, None]
        offsets = (project(roots[None], self._cameras)[0] - project(center[None], self._cameras)[0]) / spacing_px
        nearest = np.clip(np.rint(offsets), -reach, reach).astype(int) + reach  # (V, N, 2)
        votes = np.take_along_axis(heights, nearest @ [2 * reach + 1, 1], 1).sum(0)
        chosen = roots[np.argsort(-votes)[: SEARCH.num_evaluated]]
        bar = tqdm(chosen, desc="search", unit="position", disable=None, leave=False)
        best = nlargest(SEARCH.num_refined, map(self.evaluate, bar), key=lambda candidate: candidate.score)
        found = max((self.near(candidate.root) for candidate in best), key=lambda candidate: candidate.score)
        logger.info("person found at %s mm, score %.2f", found.root.round().tolist(), found.score)
        return found


class SearchTracker:
    """Finds one person with a trained network and follows the person through consecutive frames.

    As in training, the crops cover 2 m around the root. Without roots the person is searched in the first frame and
    then tracked: the crops move to where most views agree with the highest peaks. A lost person is not searched again.
    """

    def __init__(self, network: PoseNetwork, rig: Rig, roots_world: np.ndarray | None = None) -> None:
        """
        Args:
            network: makes the heatmaps.
            rig: cameras of the images.
            roots_world: (F, 3) mm, of all frames, from detections; None = search.
        """
        self._network = network
        self._rig = rig
        self._roots = None if roots_world is None else iter(roots_world)
        self._root: np.ndarray | None = None  # (3,) mm, of the last frame

    def __call__(self, images: Sequence[np.ndarray]) -> FramePrediction:
        """Predict the next frame from V images (h, w, 3) BGR."""
        search = PersonSearch(self._network, images, self._rig.cameras)
        if self._roots is not None:
            output = search.predict(next(self._roots))
        else:
            found = search.first(self._rig.image_wh) if self._root is None else search.track(self._root)
            self._root = found.root
            output = found.output
        return output.as_frame(self._network.config.NETWORK)


def _offsets(reach: int) -> np.ndarray:
    """Return the offsets (N, 2) of a square of crops, in spacings."""
    steps = range(-reach, reach + 1)
    return np.array(list(itertools.product(steps, repeat=2)), np.float64)


def _maximum(heights: np.ndarray) -> np.ndarray:
    """Return where the peaks are highest: (2,) offset in spacings.

    The heights fall with the distance from the person nearly as a Gaussian, so their logarithm is a paraboloid.

    Args:
        heights: (9,) at _offsets(1).
    """
    offsets = _offsets(1)
    terms = np.column_stack([np.ones(len(offsets)), offsets, -(offsets**2).sum(1) / 2])
    _, x, y, bend = np.linalg.lstsq(terms, np.log(np.maximum(heights, _NO_PEAK)), rcond=None)[0]
    best = offsets[(heights - _TIE * (offsets**2).sum(1)).argmax()]
    return np.clip(np.array([x, y]) / bend, *best + np.array([[-0.75], [0.75]])) if bend > 0 else best


def _px_per_mm(scale: np.ndarray) -> np.ndarray:
    """Return image px per mm at the person, (V,), for crops of 2 m with scales (V, 2)."""
    return scale[:, 0] * SCALE_UNIT_PX / _BOX_SIDE_MM


def _crops(root: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Return centers (V, 2) px and scales (V, 2) of the crops around a root (3,) mm."""
    root_cam = world_to_camera(root[None], cameras)  # (V, 1, 3)
    boxes = np.stack([person_box(root_cam[view], cameras[view])[0] for view in range(len(cameras))])
    return (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / SCALE_UNIT_PX


def _triangulated_root(locations: np.ndarray, cameras: Cameras, scale: np.ndarray) -> np.ndarray:
    """Triangulate the root from its peaks: (3,) mm, NaN if no two views agree."""
    peaks = locations[None, :, H36M_17.index("root"), None, None].astype(np.float64)
    frame = cameras.map(lambda array: array[None])
    tolerance_px = SEARCH.tolerance * scale[None, :, 0] * SCALE_UNIT_PX
    return triangulate_robust(peaks[..., :2], peaks[..., 2], frame, tolerance_px)[0, 0]


def _agreement(locations: np.ndarray, cameras: Cameras, scale: np.ndarray) -> float:
    """Return the share of the joints (V, 17, 3) on which the views agree."""
    frame = cameras.map(lambda array: array[None])
    side_px = scale[None, :, 0] * SCALE_UNIT_PX
    points_img = locations[None, ..., :2].astype(np.float64)
    found = consistent_points(points_img, frame, side_px, SEARCH.tolerance, min(3, len(cameras)))
    return float(found.agrees.mean())


def _center_of_views(cameras: Cameras) -> np.ndarray:
    """Return the point nearest to the optical axes of all cameras, (3,) mm."""
    axis = cameras.R[:, 2]  # (V, 3)
    across = np.eye(3) - axis[:, :, None] * axis[:, None]
    right = (across @ cameras.T[..., None])[..., 0].sum(0)
    return np.linalg.lstsq(across.sum(0), right, rcond=None)[0]
