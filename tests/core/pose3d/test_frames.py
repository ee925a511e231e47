"""Frames of a data set, and batches of them with predictions."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from cvf_tests.predictions import write_perfect_predictions

from lib.core.build_data import build_dataset
from lib.core.config_io import dataset_root, load_config
from lib.core.pose3d.frames import FrameBatches, has_usable_peaks, load_frames, open_predictions
from lib.utils.errors import InputError
from lib.utils.files.prediction_file import PredictionFile, PredictionWriter


def test_load_frames_equal_annotation(tiny_root, tiny_config, h36m_pickle):
    root = tiny_root()
    records = h36m_pickle(root, "validation")
    frames = load_frames(tiny_config(root))
    record = next(one for one in records if one["image"] == frames.image_ids[2, 3])
    camera = record["camera"]
    world = record["joints_3d_camera"] @ camera["R"] + camera["T"].ravel()
    np.testing.assert_allclose(frames.gt_world[2], world, atol=1e-2)
    np.testing.assert_allclose(frames.center[2, 3], record["center"], atol=1e-3)
    np.testing.assert_allclose(frames.cameras[2].T[3], camera["T"].ravel())
    assert frames.actions[2] == record["action"]
    assert frames.subject[2] == record["subject"]


def test_load_frames_single_images_are_refused(tiny_root, tiny_config):
    with pytest.raises(InputError, match=r"DATASET\.TEST_DATASET: expected groups of calibrated views"):
        load_frames(tiny_config(tiny_root(), "DATASET.TEST_DATASET", "multiview_mpii"))


def test_load_frames_held_out_subjects_in_order_of_data_set(tiny_root, tiny_config):
    keys = ("DATASET.HELD_OUT_SUBJECTS", "[5, 6]", "DATASET.TEST_STEP", "2")
    config = tiny_config(tiny_root(subjects=((1, 5, 6), (9,)), mpii=0), *keys)
    frames = load_frames(config, held_out=True)
    data = build_dataset(config, dataset_root(config), is_train=False, held_out=True)
    images = [data.image_name(int(row)) for item in range(len(data)) for row in data[item]["image_index"]]
    assert frames.image_ids.ravel().tolist() == images
    assert set(frames.subject.tolist()) == {5, 6}
    assert len(frames) == 3


@pytest.fixture
def opened(tiny_root, tiny_config, tmp_path):
    """The frames and open predictions of a run with 5 frames, and the size of the crops."""
    config = tiny_config(tiny_root(frames=5, mpii=0))
    write_perfect_predictions(config, tmp_path / "run")
    frames = load_frames(config)
    with open_predictions(config, tmp_path / "run", frames) as predictions:
        yield frames, predictions, config.NETWORK.IMAGE_SIZE


def test_frame_batches_iterate_repeatedly_in_order(opened):
    frames, predictions, image_wh = opened
    with closing(FrameBatches(frames, predictions, image_wh, 2)) as batches:
        for _ in range(2):
            found = list(batches)
            assert [len(batch) for batch in found] == [2, 2, 1]
            np.testing.assert_array_equal(np.concatenate([batch.gt_world for batch in found]), frames.gt_world)
            heatmaps = np.concatenate([batch.heatmaps for batch in found])
            np.testing.assert_array_equal(heatmaps.reshape(predictions.heatmaps.shape), predictions.heatmaps[:])
            assert str(frames.image_ids[2, 0]) in found[1].name


def test_frame_batches_single_view_peaks(opened, caplog):
    frames, predictions, image_wh = opened
    triangulate = load_config("experiments-local/mixed/resnet50/256_fusion.yaml").TRIANGULATE
    assert not has_usable_peaks(predictions, triangulate)
    heatmaps = predictions.heatmaps[:]
    peaks = np.random.default_rng(0).random((*heatmaps.shape[:2], 3, 3), np.float32)
    path = predictions.path.with_name("fused.h5")
    joints, images = frames.joint_names, frames.image_ids.ravel().tolist()
    size = heatmaps.shape[:-3:-1]
    with PredictionWriter(path, len(images), joints, size, peaks=(3, "log_quadratic")) as writer:
        writer.append(heatmaps, predictions.locations[:], images, peaks)
    with PredictionFile(path) as fused:
        assert has_usable_peaks(fused, triangulate)
        with closing(FrameBatches(frames, fused, image_wh, 2, with_peaks=True)) as batches:
            found = np.concatenate([batch.single_view_peaks for batch in batches])
        np.testing.assert_array_equal(found.reshape(peaks.shape), peaks[:, frames.joint_order])
        assert caplog.messages == []
        triangulate.NUM_PEAKS = 2
        assert not has_usable_peaks(fused, triangulate)
    assert "expected 3 and log_quadratic of the stored single-view peaks, received 2 and log_quadratic" in caplog.text


def test_frame_batches_close_ends_unfinished_iteration(opened):
    frames, predictions, image_wh = opened
    batches = FrameBatches(frames, predictions, image_wh, 1)
    reading = iter(batches)
    next(reading)
    batches.close()
    assert list(reading) == []


def test_frame_batches_are_read_into_given_memory(opened):
    frames, predictions, image_wh = opened
    given = []

    def allocate(shape, dtype):
        given.append(np.empty(shape, dtype))
        return given[-1]

    with closing(FrameBatches(frames, predictions, image_wh, 3, allocate)) as batches:
        for number, batch in enumerate(batches):
            assert np.shares_memory(batch.heatmaps, given[number])
    assert len(given) == 2
