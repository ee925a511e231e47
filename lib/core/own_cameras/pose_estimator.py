"""From Python: images of calibrated cameras -> heatmaps, 2D joints and 3D pose, by a trained network.

The network, the crops and the search for the person are those of run/demo/multiview.py, the 3D methods those of
run/pose3d/estimate.py. Documented in docs/python.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config_io import load_config, stored_config
from lib.core.drawing import skeleton_of
from lib.core.own_cameras.network import CropOutput, PoseNetwork, frame_batch
from lib.core.own_cameras.person_search import PersonSearch
from lib.core.pose3d.learned_file import load_learned
from lib.core.pose3d.make_prior import load_prior
from lib.core.pose3d.methods import METHODS, make_context, run_method
from lib.core.run_directory import BEST_NAME, FINAL_NAME, stored_configuration
from lib.dataset.conventions import MM_PER_UNIT
from lib.dataset.own_cameras.calibration_file import Rig, load_rig, rig_from_dicts
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project
from lib.multiviews.geometry.upright import upright
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.utils.drawing.posed_frame import PosedFrame, save_pose_figure
from lib.utils.errors import InputError, check_shape, unknown_name
from lib.utils.files.image_store import read_image
from lib.utils.files.torch_file import load_checkpoint
from lib.utils.joints import H36M_17
from lib.utils.transforms import SCALE_UNIT_PX

Images = Sequence[str | os.PathLike | np.ndarray]


@dataclass(frozen=True)
class EstimatedPose:
    """Pose of one person in V images of one moment. Joints: the 17 of Human3.6M, see `joint_names`.

    Attributes:
        heatmaps: (V, 17, H, W) float32, fused if the network fuses views.
        joints_img: (V, 17, 2) highest peaks, image px.
        confidence: (V, 17) heights of these peaks, about 1 for a joint that is found.
        boxes: (V, 4) crops of the network: x0, y0, x1, y1, image px.
        pose_world: (17, 3) mm, in the world frame of the cameras.
        num_views_agree: (17,) views whose heatmap at the projected joint is at least half its peak.
        method: the 3D method.
        joint_names: names of the joints.
    """

    heatmaps: np.ndarray
    joints_img: np.ndarray
    confidence: np.ndarray
    boxes: np.ndarray
    pose_world: np.ndarray
    num_views_agree: np.ndarray
    method: str
    joint_names: tuple[str, ...] = H36M_17.names

    @property
    def root_world(self) -> np.ndarray:
        """(3,) mm, root of the pose: the rough position of the person in the next frame."""
        return self.pose_world[H36M_17.index("root")]


class PoseEstimator:
    """A trained network on V calibrated cameras."""

    def __init__(
        self,
        run: str | os.PathLike,
        cameras: str | os.PathLike | Rig | Cameras | Sequence[Mapping[str, Any]],
        *,
        unit: str | None = None,
        config: str | os.PathLike | None = None,
        opts: Sequence[str] = (),
    ) -> None:
        """
        Args:
            run: a run directory, whose best weights are used, or a file of weights.
            cameras: a calibration file (see load_rig()), dictionaries (see rig_from_dicts()), a Rig, or Cameras with
                the leading axis V.
            unit: unit of the translations: "m", "cm" or "mm"; by default "m" for files, else "mm".
            config: the experiment (YAML) of the weights; by default the configuration that lies next to the weights,
                or the one in a checkpoint.pth.tar.
            opts: KEY VALUE pairs, e.g. ("NETWORK.FUSION", "epipolar_max").

        Raises:
            InputError: a file is missing or damaged, or the weights are for another network or rig.
        """
        self.rig = _rig(cameras, unit)
        self.weights = _weights(Path(run))
        self.config = _config(self.weights, config, opts)
        self._network = PoseNetwork(self.config, self.weights, self.rig.cameras)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cameras, in the order of the images."""
        return self.rig.names

    def __call__(
        self,
        images: Images,
        *,
        boxes: np.ndarray | None = None,
        root_world: Sequence[float] | np.ndarray | None = None,
        method: str = "rpsm",
    ) -> EstimatedPose:
        """Estimate the pose of one person.

        The crops are the boxes, or are placed with the cameras around the rough position of the root; they then move to
        where the peaks of all views are highest, which takes 20 to 40 runs of the network. Without both, the person is
        searched in the whole room, which takes about 150 runs.

        Args:
            images: one per camera: a path, or (h, w, 3) uint8 in BGR order, as cv2.imread() gives.
            boxes: (V, 4) x0, y0, x1, y1 of squares of 2 m around the person, image px; the longer side counts.
            root_world: (3,) mm, world frame, rough position of the pelvis; up to about 300 mm off.
            method: a name in METHODS; "psm" and those with "rpsm" need the limb prior PICT_STRUCT.PAIRWISE_FILE,
                "rpsm+learned" also the file of run/pose3d/train_refinement.py.

        Raises:
            InputError: an image or an argument does not fit, or the limb prior is missing.
        """
        if method not in METHODS:
            raise unknown_name("method", method, METHODS, "method")
        prior = load_prior(self.config.PICT_STRUCT) if METHODS[method].needs_prior else None
        learned = None
        if METHODS[method].needs_learned:
            learned = load_learned(self.config, self.weights.parent, H36M_17.names)
        arrays = self._read(images)
        output = self._predict(arrays, boxes, root_world)
        frame = output.as_frame(self.config.NETWORK).with_peaks(self.config.TRIANGULATE)
        batch = frame_batch([frame], self.rig.over_frames(1))
        context = make_context(self.config, batch.body, prior, make_cpu_backend(), learned)
        found = run_method(METHODS[method], [batch], context)
        side = output.scale * SCALE_UNIT_PX
        corner = output.center - side / 2
        return EstimatedPose(
            heatmaps=output.heatmaps,
            joints_img=output.locations[..., :2],
            confidence=output.locations[..., 2],
            boxes=np.concatenate([corner, corner + side], -1),
            pose_world=found.pose_world[0],
            num_views_agree=found.num_views_agree[0],
            method=method,
        )

    def save_figure(self, path: str | os.PathLike, images: Images, pose: EstimatedPose) -> None:
        """Write the images with the projected pose, and the 3D pose from the front and from the side.

        Args:
            path: .png or .jpg.
            images: as for the estimate.
            pose: the estimate.
        """
        joints_img, depth = project(pose.pose_world[None], self.rig.cameras)
        joints_img = np.where((depth > MIN_DEPTH_MM)[..., None], joints_img, np.nan)
        turned = pose.pose_world @ upright(pose.pose_world[None]).T
        frame = PosedFrame(f"3D pose, {pose.method}", self._read(images), joints_img, turned, names=self.names)
        save_pose_figure(path, frame, skeleton_of(H36M_17))

    def _read(self, images: Images) -> list[np.ndarray]:
        if len(images) != len(self.rig):
            raise InputError(f"images: expected {len(self.rig)}, one per camera, received {len(images)}")
        arrays = [
            image if isinstance(image, np.ndarray) else read_image(Path(image).parent, Path(image).name)
            for image in images
        ]
        for name, image, expected in zip(self.names, arrays, self.rig.image_wh.tolist(), strict=True):
            check_shape(f"image of camera {name}", image.shape, ("h", "w", 3))
            if expected != [0, 0] and list(image.shape[1::-1]) != expected:
                raise InputError(
                    f"image of camera {name}: expected the size of the calibration, {expected[0]} x {expected[1]} px, "
                    f"received {image.shape[1]} x {image.shape[0]}; calibrate for this size, or use Rig.resized()"
                )
        return arrays

    def _predict(
        self, images: list[np.ndarray], boxes: np.ndarray | None, root_world: Sequence[float] | np.ndarray | None
    ) -> CropOutput:
        if boxes is not None and root_world is not None:
            raise InputError("boxes and root_world: expected one of them, received both")
        search = PersonSearch(self._network, images, self.rig.cameras)
        if boxes is not None:
            boxes = np.asarray(boxes, np.float64)
            check_shape("boxes", boxes.shape, (len(self.rig), 4))
            side = (boxes[:, 2:] - boxes[:, :2]).max(1)
            if not (side > 0).all():
                raise InputError(f"boxes: expected x0 < x1 and y0 < y1, received {boxes.tolist()}")
            scale = np.repeat(side[:, None], 2, 1) / SCALE_UNIT_PX
            return search.predict_crops((boxes[:, :2] + boxes[:, 2:]) / 2, scale)
        if root_world is not None:
            root = np.asarray(root_world, np.float64)
            check_shape("root_world", root.shape, (3,))
            self._check_root(root, images)
            return search.near(root).output
        return search.first(np.array([image.shape[1::-1] for image in images])).output

    def _check_root(self, root_world: np.ndarray, images: list[np.ndarray]) -> None:
        """Refuse a position (3,) that fewer than 2 cameras see, as one in other units is."""
        size = np.array([image.shape[1::-1] for image in images])

        def is_seen(root: np.ndarray) -> bool:
            points, depth = project(root[None], self.rig.cameras)  # (V, 1, 2), (V, 1)
            return (((points[:, 0] >= 0) & (points[:, 0] < size)).all(-1) & (depth[:, 0] > MIN_DEPTH_MM)).sum() >= 2

        if not is_seen(root_world):
            units = [unit for unit, mm in MM_PER_UNIT.items() if unit != "mm" and is_seen(mm * root_world)]
            raise InputError(
                "root_world: expected a position in mm that at least 2 cameras see, received "
                f"{root_world.tolist()}; {f'is it in {units[0]}?' if units else 'check its frame and the cameras'}"
            )


def _rig(cameras: Any, unit: str | None) -> Rig:
    rig = _rig_of(cameras, unit)
    rig.check_unit("unit=")
    return rig


def _rig_of(cameras: Any, unit: str | None) -> Rig:
    if isinstance(cameras, (str, os.PathLike)):
        return load_rig(cameras, unit or "m")
    if isinstance(cameras, Rig):
        return cameras
    if isinstance(cameras, Cameras):
        names = tuple(str(number) for number in range(1, len(cameras) + 1))
        unit = unit or "mm"
        if unit not in MM_PER_UNIT:
            raise unknown_name("unit of length", unit, MM_PER_UNIT)
        in_mm = replace(cameras, T=cameras.T * MM_PER_UNIT[unit])
        return Rig(names, in_mm, np.zeros((len(cameras), 2), int), unit)
    return rig_from_dicts(cameras, unit or "mm")


def _weights(run: Path) -> Path:
    """Return the file of weights: `run` itself, or the best or last weights of a run directory."""
    if not run.is_dir():
        return run
    found = [run / name for name in (BEST_NAME, FINAL_NAME) if (run / name).is_file()]
    if not found:
        raise InputError(f"{run}: expected a run directory with {BEST_NAME} or {FINAL_NAME}; run/pose2d/train.py")
    return found[0]


def _config(weights: Path, path: str | os.PathLike | None, opts: Sequence[str]) -> Any:
    """Load the named experiment, the configuration next to the weights, or the one in the checkpoint."""
    if path is not None:
        return load_config(path, opts)
    values = stored_configuration(weights.parent)
    if values is None:
        content = load_checkpoint(weights)
        values = content.get("config") if isinstance(content, dict) else None
    if not values:
        raise InputError(f"{weights}: no configuration in or next to the file; give the experiment: config=YAML")
    return stored_config(values, opts)
