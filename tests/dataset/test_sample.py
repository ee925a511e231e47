from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from cvf_tests.annotations import load_h36m

from lib.dataset.network_input import crop_cameras
from lib.dataset.sample import ROTATION_PROBABILITY, SampleSettings, load_samples
from lib.models.epipolar_fusion import EpipolarFusion
from lib.multiviews.cameras import project_camera
from lib.utils.errors import InputError
from lib.utils.joints import UNION_20
from lib.utils.transforms import get_affine_transform, to_heatmap, transform_points

SETTINGS = SampleSettings(image_wh=(64, 64), heatmap_wh=(16, 16), sigma=1.0)


def load_sample(annotations, row, settings, rng):
    """Load one image with load_samples(), without the leading axis."""
    crops = np.empty((1, *settings.image_wh[::-1], 3), np.uint8)
    values = load_samples(annotations, np.array([row]), settings, crops, rng)
    return {"crop": crops[0], **{name: value[0] for name, value in values.items()}}


@pytest.fixture
def annotations(tiny_root):
    return load_h36m(tiny_root(frames=1, formats=("jpg", "zip"), mpii=0), "train")


def test_load_samples_crop(annotations):
    sample = load_sample(annotations, 2, SETTINGS, None)
    assert {key: value.shape for key, value in sample.items()} == {
        "crop": (64, 64, 3),
        "joints_crop": (20, 2),
        "joints_img": (20, 2),
        "visible": (20,),
        "occluded": (20,),
        "center": (2,),
        "scale": (2,),
        "person_side": (),
        "head_size": (),
        "image_to_heatmap": (2, 3),
        "camera_R": (3, 3),
        "camera_T": (3,),
        "camera_f": (2,),
        "camera_c": (2,),
        "camera_k": (3,),
        "camera_p": (2,),
    }
    image = cv2.imread(str(annotations.images_dir / annotations.image_name(2)))
    left, top = annotations.center[2] - 60  # a box of 120 px
    matrix = np.array([[64 / 120, 0, -left * 64 / 120], [0, 64 / 120, -top * 64 / 120]])
    np.testing.assert_array_equal(sample["crop"], cv2.warpAffine(image, matrix, (64, 64)))
    visible = sample["visible"]
    np.testing.assert_allclose(
        sample["joints_crop"][visible], (sample["joints_img"][visible] - [left, top]) * 64 / 120, atol=1e-3
    )


def test_load_samples_person_side_of_whole_images_is_2_m_at_the_root(annotations):
    labels = annotations.labels3d
    scale = annotations.scale * 3  # as in a file of whole images
    whole = dataclasses.replace(annotations, scale=scale)
    root = labels.pose_cam[2, annotations.joint_set.index("root")]
    corners = np.stack([root - [1000, 0, 0], root + [1000, 0, 0]])
    left, right = project_camera(corners, labels.cameras[labels.camera_idx[2]])[0]
    found = load_sample(whole, 2, dataclasses.replace(SETTINGS, crop=False), None)["person_side"]
    assert found == pytest.approx(right[0] - left[0], rel=0.02)  # the lens bends the corners
    assert load_sample(whole, 2, SETTINGS, None)["person_side"] == 360


def test_load_samples_head_size(annotations):
    assert np.isnan(load_sample(annotations, 1, SETTINGS, None)["head_size"])
    known = dataclasses.replace(annotations, head_size=np.array([np.nan, 12.5, 3, 4], np.float32))
    sizes = [load_sample(known, row, SETTINGS, None)["head_size"] for row in (0, 1)]
    assert np.isnan(sizes[0])
    assert sizes[1] == 12.5
    assert sizes[0].dtype == sizes[1].dtype == np.float32


def test_load_samples_joints_match_image(annotations):
    sample = load_sample(annotations, 0, SETTINGS, None)
    brightness = sample["crop"].max(-1)
    for joint in np.flatnonzero(sample["visible"]):
        x, y = np.round(sample["joints_crop"][joint]).astype(int)
        assert brightness[y, x] > 100


def test_load_samples_zip_equals_folder(annotations):
    zipped = SampleSettings((64, 64), (16, 16), 1.0, data_format="zip")
    folder, archive = load_sample(annotations, 1, SETTINGS, None), load_sample(annotations, 1, zipped, None)
    for key in folder:
        np.testing.assert_array_equal(folder[key], archive[key])


def test_load_samples_augmented_joints_match_image(annotations):
    settings = SampleSettings((64, 64), (16, 16), 1.0, scale_factor=0.25, rot_factor=30)
    for seed in range(5):
        sample = load_sample(annotations, 0, settings, np.random.default_rng(seed))
        brightness = sample["crop"].max(-1)
        inside = ((sample["joints_crop"] >= 0) & (sample["joints_crop"] < 63)).all(1) & sample["visible"]
        for joint in np.flatnonzero(inside):
            x, y = sample["joints_crop"][joint].astype(int)
            assert brightness[y : y + 2, x : x + 2].max() > 100


def test_load_samples_augmentation_distribution(annotations):
    settings = SampleSettings((64, 64), (16, 16), 1.0, scale_factor=0.25, rot_factor=30)
    rng = np.random.default_rng(0)
    scales, angles = [], []
    for _ in range(500):
        sample = load_sample(annotations, 0, settings, rng)
        scales.append(sample["scale"][0] / annotations.scale[0, 0])
        arm = sample["joints_crop"][6] - sample["joints_crop"][12]  # head -> ankle
        true = annotations.joints_img[0, 6] - annotations.joints_img[0, 12]
        angles.append(np.rad2deg(np.arctan2(*arm[::-1]) - np.arctan2(*true[::-1])))
    scales = np.array(scales)
    angles = (np.array(angles) + 180) % 360 - 180
    assert scales.min() == pytest.approx(0.75)
    assert scales.max() == pytest.approx(1.25)
    assert np.mean(np.abs(scales - 1) > 0.2499) == pytest.approx(0.317, abs=0.07)  # clipped at one sigma
    assert np.mean(np.abs(angles) > 1e-3) == pytest.approx(ROTATION_PROBABILITY, abs=0.08)
    assert np.abs(angles).max() == pytest.approx(60, abs=0.01)  # clipped at two
    assert angles[np.abs(angles) > 1e-3].std() == pytest.approx(29, abs=4)
    assert abs(angles.mean()) < 4


def test_load_samples_shift(annotations):
    settings = SampleSettings((64, 64), (16, 16), 1.0, shift_factor=0.1)
    rng = np.random.default_rng(0)
    shifts = []
    for _ in range(300):
        sample = load_sample(annotations, 0, settings, rng)
        matrix = get_affine_transform(sample["center"], sample["scale"], 0.0, (64, 64))
        np.testing.assert_allclose(sample["joints_crop"], transform_points(sample["joints_img"], matrix), atol=1e-2)
        np.testing.assert_allclose(sample["image_to_heatmap"], to_heatmap(matrix, (64, 64), (16, 16)), atol=1e-4)
        shifts.append((sample["center"] - annotations.center[0]) / (200 * annotations.scale[0]))
    shifts = np.array(shifts)
    assert np.abs(shifts).max() == pytest.approx(0.2, abs=1e-4)  # clipped at two
    assert shifts.std(0) == pytest.approx([0.09, 0.09], abs=0.012)
    assert np.abs(shifts.mean(0)).max() < 0.02


def test_load_samples_zero_factors(annotations):
    plain = load_sample(annotations, 0, SETTINGS, None)
    sample = load_sample(annotations, 0, SETTINGS, np.random.default_rng(0))
    for key in plain:
        np.testing.assert_array_equal(plain[key], sample[key])


def test_load_samples_missing_image(annotations):
    name = annotations.image_name(3)
    (annotations.images_dir / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: no such image"):
        load_sample(annotations, 3, SETTINGS, None)


@pytest.mark.parametrize("seed", [None, 4])
def test_load_samples_equals_images_one_by_one(annotations, seed):
    settings = SampleSettings((64, 48), (16, 12), 1.0, scale_factor=0.25, rot_factor=30, shift_factor=0.1)
    rows = np.array([2, 0, 3, 2])
    together, alone = (None if seed is None else np.random.default_rng(seed) for _ in range(2))
    crops = np.empty((4, 48, 64, 3), np.uint8)
    values = load_samples(annotations, rows, settings, crops, together)
    for place, row in enumerate(rows):
        sample = load_sample(annotations, row, settings, alone)
        np.testing.assert_array_equal(crops[place], sample.pop("crop"))
        for name, value in sample.items():
            np.testing.assert_array_equal(values[name][place], value)


def test_load_samples_reads_ready_crops(annotations):
    class Ready:
        def read(self, rows, out):
            for row, crop in zip(rows, out, strict=True):
                crop[...] = row

    crops = np.empty((2, 64, 64, 3), np.uint8)
    values = load_samples(annotations, np.array([3, 1]), SETTINGS, crops, cache=Ready())
    assert (crops[0] == 3).all()
    assert (crops[1] == 1).all()
    np.testing.assert_array_equal(values["joints_img"], annotations.joints_img[[3, 1]])


def load_group(annotations, settings):
    """Load the first group of 4 views with seed 0."""
    crops = np.empty((4, *settings.image_wh[::-1], 3), np.uint8)
    return {"crops": crops} | load_samples(annotations, np.arange(4), settings, crops, np.random.default_rng(0))


@pytest.fixture
def plain_and_flipped(annotations, monkeypatch):
    """A group of 4 views without and with flip; crops and heatmaps of 32 px."""
    monkeypatch.setattr("lib.dataset.sample.FLIP_PROBABILITY", 1.0)
    settings = SampleSettings((32, 32), (32, 32), 1.0)
    return [load_group(annotations, dataclasses.replace(settings, flip=flip)) for flip in (False, True)]


def test_load_samples_flip_mirrors_crops_and_swaps_sides(plain_and_flipped):
    plain, flipped = plain_and_flipped
    order = UNION_20.mirrored_order()
    np.testing.assert_array_equal(flipped["crops"], plain["crops"][:, :, ::-1])
    expected = plain["joints_crop"][:, order] * [-1, 1] + [31, 0]
    np.testing.assert_allclose(flipped["joints_crop"], expected, atol=1e-4)
    for key in ("visible", "occluded"):
        np.testing.assert_array_equal(flipped[key], plain[key][:, order])
    by_affine = transform_points(flipped["joints_img"], flipped["image_to_heatmap"])
    np.testing.assert_allclose(by_affine, flipped["joints_crop"], atol=1e-3)  # one heatmap px per crop px


def test_load_samples_flip_keeps_the_epipolar_geometry(plain_and_flipped):
    """Fusing the heatmaps of the mirrored crops gives the mirrored fused heatmaps."""
    maps = torch.rand(1, 4, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    fusion = EpipolarFusion("max")
    views = [
        crop_cameras({key: torch.as_tensor(value)[None] for key, value in one.items()}, torch.device("cpu"))
        for one in plain_and_flipped
    ]
    torch.testing.assert_close(fusion(maps.flip(-1), views[1]), fusion(maps, views[0]).flip(-1), atol=2e-3, rtol=0)
    assert (fusion(maps.flip(-1), views[0]) - fusion(maps, views[0]).flip(-1)).abs().max() > 0.1


def test_load_samples_flips_half_of_the_groups(annotations):
    settings = dataclasses.replace(SETTINGS, flip=True)
    plain = load_sample(annotations, 0, SETTINGS, None)["crop"]
    crops = [load_sample(annotations, 0, settings, np.random.default_rng(seed))["crop"] for seed in range(100)]
    share = np.mean([np.array_equal(crop, plain) for crop in crops])
    assert 0.35 < share < 0.65
