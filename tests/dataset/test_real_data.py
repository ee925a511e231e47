"""Real images with pseudo ground truth, if they exist next to the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cvf_tests.annotations import load_h36m

from lib.core.build_data import build_dataset, build_loader
from lib.dataset.groups import group_views
from lib.multiviews.cameras import project
from lib.utils.joints import H36M_17, to_union

REAL = Path(__file__).resolve().parents[3] / "shared/real4view"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")


@pytest.mark.parametrize(("subset", "groups"), [("train", 45), ("validation", 15)])
def test_real_annotations_consistent(subset, groups):
    annotations = load_h36m(REAL, subset)
    assert group_views(annotations).shape == (groups, 4)
    labels = annotations.labels3d
    pixels, depth = project(labels.pose_world(np.arange(len(annotations))), labels.cameras[labels.camera_idx])
    error = np.linalg.norm(to_union(pixels, H36M_17) - annotations.joints_img, axis=-1)[annotations.visible]
    assert error.max() < 0.1
    assert depth.min() > 500


def test_real_images_load(tiny_config):
    config = tiny_config(REAL, "TEST.BATCH_SIZE", "3", "DATASET.TEST_STEP", "5")
    (batch,) = build_loader(config, build_dataset(config, REAL, False), False)
    assert batch["crops"].shape == (3, 4, 64, 64, 3)
    inside = ((batch["joints_crop"] >= 0) & (batch["joints_crop"] < 64)).all(-1) & batch["visible"]
    assert inside.sum() >= 0.95 * 3 * 4 * 17
