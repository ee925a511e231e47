from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.own_recording import load_synchronized
from cvf_tests.scenes import draw_gaussians

from lib.core.config_io import load_config
from lib.core.own_cameras import network
from lib.core.own_cameras.labels import make_labels
from lib.core.own_cameras.network import CropOutput, frame_batch
from lib.dataset.camera_rigs import save_rigs
from lib.dataset.own_cameras.dataset_writer import WriteSettings
from lib.multiviews.recording.robust_poses import RobustSettings
from lib.utils.errors import InputError

CFG = "experiments-local/own/resnet18/96_fusion.yaml"


def test_frame_batch_of_fused_output_has_single_view_peaks(files):
    config = load_config(CFG, ["NETWORK.IMAGE_SIZE", "256", "NETWORK.HEATMAP_SIZE", "64", "TRIANGULATE.NUM_PEAKS", "2"])
    joints_hm = np.random.default_rng(0).uniform(10, 50, (4, 17, 2))
    single_view = draw_gaussians(joints_hm, (64, 64), 2.0)
    places = (np.zeros((4, 17, 3)), np.full((4, 2), 100.0), np.ones((4, 2)))
    output = CropOutput(np.zeros_like(single_view), *places, single_view).as_frame(config.NETWORK)
    np.testing.assert_allclose(output.image_to_heatmap[0] @ [100, 100, 1], [32, 32])
    frame = output.with_peaks(config.TRIANGULATE)
    assert frame.single_view is None
    batch = frame_batch([frame, frame], files.rig.over_frames(2))
    assert batch.single_view_peaks.shape == (2, 4, 17, 2, 3)
    np.testing.assert_allclose(batch.single_view_peaks[1, ..., 0, :2], joints_hm, atol=1e-3)
    assert batch.heatmaps.max() == 0
    plain = CropOutput(single_view, *places, None).as_frame(config.NETWORK).with_peaks(config.TRIANGULATE)
    assert frame_batch([plain], files.rig.over_frames(1)).single_view_peaks is None


@pytest.mark.parametrize("source", ["file", "training data", "nothing"])
def test_check_rig_learned_fusion_needs_the_cameras_of_the_training(files, tmp_path, source, caplog):
    config = load_config(CFG, ["DATASET.ROOT", str(tmp_path / "root")])
    weights, cameras = tmp_path / "run/none.pth", files.rig.cameras
    weights.parent.mkdir()
    if source == "file":
        save_rigs(weights.with_name("training_cameras.json"), [cameras[[3, 2, 1, 0]], cameras])
    elif source == "training data":  # of smaller images, so with other intrinsics
        recording = load_synchronized(files.cameras, files.videos, files.detections)
        make_labels(recording, tmp_path / "root", WriteSettings((14, 20), max_side=100), RobustSettings())
    network.check_rig(config, weights, cameras)
    warnings = [message for message in caplog.messages if "NETWORK.FUSION learned" in message]
    if source == "nothing":
        assert "assuming that these cameras are the same, in this order" in warnings[0]
        return
    assert warnings == []
    for other in (cameras[[1, 0, 2, 3]], cameras[:3]):
        with pytest.raises(
            InputError, match=r"NETWORK\.FUSION learned: expected the 4 cameras .* --opts NETWORK\.FUSION"
        ):
            network.check_rig(config, weights, other)
    config.NETWORK.FUSION = "none"
    network.check_rig(config, weights, cameras[:3])
