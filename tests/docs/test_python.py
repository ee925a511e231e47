"""The code blocks of docs/python.md run as they stand, in a folder with the files that they name."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from cvf_tests.scripts import REPOSITORY

from lib.core.build_model import build_model
from lib.core.config_io import dump_config, load_config
from lib.core.pose3d.frames import Poses, load_frames
from lib.core.pose3d.make_prior import build_prior
from lib.core.pose3d.results_3d import save_poses
from lib.dataset.camera_rigs import rigs_of, save_rigs
from lib.multiviews.pictorial.limb_prior import save_limb_prior

RUN = Path("output/mixed/multiview_pose_resnet_18/128_fusion")


@pytest.fixture
def folder(tiny_root, tiny_yaml, tmp_path, monkeypatch):
    """A folder with a run whose weights are random, the images of a frame, their calibration, and the data set."""
    cfg = tiny_yaml(tiny_root())
    home = tmp_path / "home"
    (home / RUN).mkdir(parents=True)
    (home / "frames").mkdir()
    monkeypatch.chdir(home)
    values = yaml.safe_load(cfg.read_text())
    Path("data").mkdir()
    Path("data/synthetic").symlink_to(values["DATASET"]["ROOT"])
    Path("experiments-local").symlink_to(REPOSITORY / "experiments-local")
    config = load_config(cfg, ["PICT_STRUCT.PAIRWISE_FILE", "pairwise.pkl"])
    save_limb_prior(build_prior(config)[0], Path("pairwise.pkl"))
    torch.manual_seed(0)
    torch.save(build_model(config, 4).state_dict(), RUN / "model_best.pth.tar")
    dump_config(config, RUN / "config_train.yaml")
    frames = load_frames(config)
    save_rigs(RUN / "training_cameras.json", rigs_of(frames.annotations, frames.groups))
    save_poses(
        RUN / "poses3d.npz", frames, Poses(frames.gt_world, num_views_agree=np.full(frames.gt_world.shape[:2], 4)), {}
    )
    tables = []
    for view, image_id in enumerate(frames.image_ids[0]):
        image = cv2.imread(str(frames.annotations.images_dir / image_id))
        cv2.imwrite(f"frames/cam{view}.jpg", image)
        camera = frames.cameras[0, view]
        lens = [*camera.k[:2], *camera.p, camera.k[2]]
        matrix = [[camera.f[0], 0, camera.c[0]], [0, camera.f[1], camera.c[1]], [0, 0, 1]]
        entries = {
            "size": list(image.shape[1::-1]),
            "matrix": np.array(matrix).tolist(),
            "distortions": np.array(lens).tolist(),
            "rotation": camera.R.tolist(),
            "translation": (-camera.R @ camera.T / 1000).tolist(),
        }
        tables += [f"[cam{view}]", *(f"{key} = {value}" for key, value in entries.items())]
    Path("Calib.toml").write_text("\n".join(tables))
    return config


def _run_blocks() -> list[tuple[dict, str]]:
    """Run each block by itself; return its names and what it prints."""
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/python.md").read_text("utf-8"), flags=re.DOTALL)
    results = []
    for block in blocks:
        names: dict = {}
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(block, names)
        results.append((names, printed.getvalue()))
    return results


def test_blocks_of_the_page_run(folder):
    (estimate, printed), (poses, _), (records, _) = _run_blocks()
    pose = estimate["pose"]
    assert pose.pose_world.shape == (17, 3)
    assert np.isfinite(pose.pose_world).all()
    assert "(4, 17, 16, 16)" in printed
    assert cv2.imread("pose.png") is not None
    frames = records["frames"]
    np.testing.assert_array_equal(poses["poses"]["pose_world"], load_frames(folder).gt_world)
    labels, row = records["annotations"].labels3d, frames.groups[0, 1]
    np.testing.assert_allclose(labels.pose_world([row])[0], frames.gt_world[0], atol=1e-2)
    camera = frames.cameras[0, 1]
    np.testing.assert_allclose(labels.pose_cam[row] @ camera.R + camera.T, frames.gt_world[0], atol=1e-2)


def test_page_estimates_a_pose_in_ten_lines():
    block = re.search(r"```python\n(.*?)```", (REPOSITORY / "docs/python.md").read_text("utf-8"), flags=re.DOTALL)
    assert len(block.group(1).strip().splitlines()) <= 10
