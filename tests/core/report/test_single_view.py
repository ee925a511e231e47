import numpy as np
import pytest
import torch

from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.report.single_view import load_single_view
from lib.core.run_directory import evaluation_directory, run_directory
from lib.utils.files.prediction_file import PredictionFile
from lib.utils.files.torch_file import save_checkpoint

OPTS = ["NETWORK.FUSION", "epipolar_max"]


@pytest.fixture
def predicted(tiny_root, tiny_yaml, run_script):
    """YAML and run directory of an untrained network with its predictions."""
    cfg = tiny_yaml(tiny_root(mpii=0))
    config = load_config(cfg, OPTS)
    directory = run_directory(config, cfg)
    torch.manual_seed(3)
    save_checkpoint(build_model(config, 4).state_dict(), directory / "model_best.pth.tar")
    done = run_script("pose2d/valid.py", "--cfg", cfg, "--opts", *OPTS)
    assert done.code == 0, done.err
    return cfg, directory


def test_load_single_view_predicts_as_validation_without_fusion(predicted, run_script):
    cfg, directory = predicted
    found = load_single_view(load_config(cfg, OPTS), directory)([0, 2])
    plain = ["NETWORK.FUSION", "none", "TEST.HEATMAP_LOCATION_FILE", "plain.h5"]
    assert run_script("pose2d/valid.py", "--cfg", cfg, "--opts", *plain).code == 0
    elsewhere = evaluation_directory(load_config(cfg, plain), cfg)
    with PredictionFile(elsewhere / "plain.h5") as predictions:
        for row, frame in enumerate((0, 2)):
            expected, _ = predictions.read(4 * frame, 4 * frame + 4)
            np.testing.assert_allclose(found[row], expected, atol=1e-5)
    assert load_single_view(load_config(cfg, plain), elsewhere) is None


def test_load_single_view_other_weights_are_not_used(predicted, caplog):
    cfg, directory = predicted
    config = load_config(cfg, OPTS)
    save_checkpoint(build_model(config, 4).state_dict(), directory / "model_best.pth.tar")
    with caplog.at_level("INFO"):
        assert load_single_view(config, directory) is None
    assert "did not make the predictions" in caplog.text
    assert load_single_view(load_config(cfg, ["NETWORK.FUSION", "epipolar_sum"]), directory) is None
