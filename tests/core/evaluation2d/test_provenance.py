from __future__ import annotations

import numpy as np
import pytest

from lib.core.config_io import load_config
from lib.core.evaluation2d.provenance import (
    log_provenance,
    prediction_provenance,
    results_provenance,
    warn_of_outdated_results,
    warn_of_replacement,
)
from lib.utils.files.prediction_file import PredictionFile, PredictionWriter


@pytest.fixture
def make_config(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    return lambda *opts: load_config(tmp_path / "a.yaml", opts)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model_best.pth.tar"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def write(tmp_path):
    """write(attributes, value) writes predictions and returns their file."""

    def make(attributes=None, value=0.0):
        path = tmp_path / "predicted_heatmaps.h5"
        with PredictionWriter(path, 1, ["root"], (2, 2), attributes=attributes) as writer:
            writer.append(np.zeros((1, 1, 2, 2)), np.full((1, 1, 3), value), ["a.jpg"])
        return path

    return make


def test_log_provenance_other_settings_warn(make_config, weights, write, caplog):
    caplog.set_level("INFO")
    stored = prediction_provenance(make_config("NETWORK.FUSION", "epipolar_max"), weights)
    path = write(stored)
    with PredictionFile(path) as predictions:
        assert predictions.attributes == stored
        log_provenance(make_config("NETWORK.FUSION", "epipolar_max", "DATASET.TEST_SUBSET", "valid"), predictions)
        assert [record.levelname for record in caplog.records] == ["INFO"]
        assert "dataset multiview_h36m, fusion epipolar_max, subset validation" in caplog.text
        log_provenance(make_config("DATASET.TEST_SUBSET", "train"), predictions)
        (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert warning == (
            f"{path}: predicted with other settings (then -> now): "
            "NETWORK.FUSION epipolar_max -> learned, DATASET.TEST_SUBSET validation -> train"
        )


def test_log_provenance_changed_weights_warn(make_config, weights, write, caplog):
    config = make_config()
    path = write(prediction_provenance(config, weights))
    weights.write_bytes(b"other weights")
    with PredictionFile(path) as predictions:
        log_provenance(config, predictions)
        assert caplog.messages == [f"{path}: {weights} has changed since; run run/pose2d/valid.py to predict again"]
        weights.unlink()  # as on another machine
        log_provenance(config, predictions)
    assert len(caplog.messages) == 1


def test_log_provenance_file_of_the_original_code_is_not_checked(make_config, write, caplog):
    with PredictionFile(write()) as predictions:
        log_provenance(make_config(), predictions)
    assert not caplog.messages


def test_warn_of_replacement_other_settings_warn(tmp_path, make_config, weights, write, caplog):
    config = make_config("NETWORK.FUSION", "none")
    warn_of_replacement(config, tmp_path / "predicted_heatmaps.h5")  # there are none
    path = write(prediction_provenance(config, weights))
    warn_of_replacement(config, path)
    assert not caplog.messages
    warn_of_replacement(make_config("NETWORK.FUSION", "epipolar_max"), path)
    assert caplog.messages == [
        f"{path}: replacing predictions of other settings (then -> now): NETWORK.FUSION none -> epipolar_max"
    ]


def test_warn_of_outdated_results_new_predictions_warn(tmp_path, make_config, write, caplog):
    with PredictionFile(write(value=1.0)) as predictions:
        source = results_provenance("predicted_heatmaps.h5", predictions.fingerprint())
    results = {"rpsm": {"predictions": source}, "psm": {}, "other": {"predictions": {**source, "file": "gone.h5"}}}
    warn_of_outdated_results(tmp_path, results, {"poses3d.npz": source, "mine.npz": None})
    assert not caplog.messages
    write({"fusion": "none"}, value=1.0)  # the same, described
    warn_of_outdated_results(tmp_path, results, {})
    assert not caplog.messages
    write(value=2.0)
    warn_of_outdated_results(tmp_path, results, {"poses3d.npz": source, "mine.npz": None})
    assert caplog.messages == [
        f"{tmp_path}: made from other predictions than the current ones: poses3d.npz; rpsm; run run/pose3d/estimate.py "
        "again"
    ]
