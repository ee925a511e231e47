from __future__ import annotations

import numpy as np
import pytest

from lib.dataset.own_cameras.calibration_file import load_rig
from lib.dataset.own_cameras.dataset_writer import WriteSettings, reduced, write_labels
from lib.utils.errors import InputError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (WriteSettings((0, 10)), "with frames left for training, received 0 10"),
        (WriteSettings((5, 5)), "received 5 5"),
        (WriteSettings((5, 11)), "within the 10 frames"),
        (WriteSettings((5, 10), max_side=31), "--max-side: expected at least 32 px, received 31"),
        (WriteSettings((5, 10), jpeg_quality=0), "--jpeg-quality: expected 1 to 100, received 0"),
    ],
)
def test_check_invalid_settings(settings, message):
    with pytest.raises(InputError, match=message):
        settings.check(10)
    WriteSettings((5, 10), max_side=32, jpeg_quality=1).check(10)


def test_reduced_keeps_smaller_images(toml):
    rig = load_rig(toml)  # 200 x 160 px
    assert reduced(rig, 100).image_wh.tolist() == [[100, 80]] * 2
    assert reduced(rig, 400).image_wh.tolist() == reduced(rig, None).image_wh.tolist() == [[200, 160]] * 2


def test_write_labels_fewer_images_than_labels(toml, tmp_path):
    rig = load_rig(toml)
    images = [[np.zeros((160, 200, 3), np.uint8)] * 2] * 3
    pose, kept = np.zeros((4, 17, 3)), np.ones((4, 2, 17), bool)
    with pytest.raises(InputError, match="expected images of 4 frames, received 3"):
        write_labels(tmp_path / "root", rig, images, pose, kept, WriteSettings((2, 4)))
