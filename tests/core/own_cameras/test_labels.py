from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.annotations import load_h36m
from cvf_tests.own_recording import SIDE, WRONG, load_synchronized

from lib.core.own_cameras.labels import make_labels
from lib.dataset.groups import group_views
from lib.dataset.own_cameras.dataset_writer import WriteSettings
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import project
from lib.multiviews.pictorial.limb_prior import load_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.multiviews.recording.robust_poses import RobustSettings
from lib.utils.errors import InputError
from lib.utils.files.image_store import read_image
from lib.utils.joints import H36M_17, UNION_20


def label(files, root, **settings):
    recording = load_synchronized(files.cameras, files.videos, files.detections)
    write = WriteSettings(validation=(14, 20), **settings)
    return make_labels(recording, root, write, RobustSettings(cutoff=0.2))


def test_make_labels_data_set_is_readable(files, tmp_path):
    text = label(files, tmp_path / "root")
    assert "14 frames for training, 6 for validation" in text
    assert "hip, kne, ank |     6 |   8-13" in text
    train, validation = (load_h36m(tmp_path / "root", subset) for subset in ("train", "validation"))
    assert group_views(train).shape == (14, 4)
    assert group_views(validation).shape == (6, 4)
    rows = group_views(train)
    gt = files.pose_world[:14]
    assert np.median(np.linalg.norm(train.labels3d.pose_world(rows[:, 0]) - gt, axis=-1)) < 12
    # 2D labels are projections of the 3D labels; rejected joints are not visible
    labels = train.labels3d
    pixels, _ = project(labels.pose_world(np.arange(len(train))), labels.cameras[labels.camera_idx])
    joints = UNION_20.indices(H36M_17.names)
    np.testing.assert_allclose(train.joints_img[:, joints], pixels, atol=0.01)
    visible = train.visible[rows][..., joints]
    assert not visible[WRONG]
    assert visible.mean() > 0.95
    prior = load_limb_prior(tmp_path / "root/pict/pairwise.pkl", H36M_BODY, PictorialSettings().first_grid)
    lengths = H36M_BODY.limb_lengths(files.pose_world).mean(0)
    assert np.median(np.abs(prior.mean_lengths - lengths)) < 15


def test_make_labels_reduced_images_in_a_zip(files, tmp_path):
    label(files, tmp_path / "root", max_side=SIDE // 2, as_zip=True)
    cropped, whole = (load_h36m(tmp_path / "root", "train", crop) for crop in (True, False))
    image = read_image(whole.images_dir, whole.image_name(0), "zip")
    assert image.shape == (SIDE // 2, SIDE // 2, 3)
    labels = cropped.labels3d
    pixels, _ = project(labels.pose_world(np.array([0])), labels.cameras[labels.camera_idx[:1]])
    np.testing.assert_allclose(cropped.joints_img[0, UNION_20.indices(H36M_17.names)], pixels[0], atol=0.01)
    np.testing.assert_allclose(whole.center[0], SIDE / 4)
    np.testing.assert_allclose(whole.scale[0] * 200, SIDE / 2, rtol=1e-6)
    # the colored blob of the knee is at its label
    x, y = np.round(pixels[0, H36M_17.index("lkne")]).astype(int)
    assert np.ptp(image[y, x].astype(int)) > 60


def test_make_labels_invalid_input_is_refused(files, tmp_path):
    recording = load_synchronized(files.cameras, files.videos, files.detections)
    with pytest.raises(InputError, match="validation: expected"):
        make_labels(recording, tmp_path / "a", WriteSettings((0, 20)), RobustSettings())
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/precious").write_text("")
    with pytest.raises(InputError, match="was not made by this script"):
        make_labels(recording, tmp_path / "b", WriteSettings((14, 20)), RobustSettings(), force=True)
    without = load_synchronized(files.cameras, None, files.detections)
    with pytest.raises(InputError, match="need the videos"):
        make_labels(without, tmp_path / "c", WriteSettings((14, 20)), RobustSettings())
