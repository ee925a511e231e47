from __future__ import annotations

import logging

import pytest
import torch

from lib.core.config_io import load_config
from lib.core.device import autocast_dtype, gpu_indices, select_device
from lib.utils.checks import InputError


@pytest.fixture
def config(tmp_path):
    (tmp_path / "a.yaml").write_text("CUDNN: {BENCHMARK: false, DETERMINISTIC: true}\nGPUS: 2,3")
    return load_config(tmp_path / "a.yaml")


@pytest.fixture
def kept_cudnn_flags():
    flags = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled
    yield
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled = flags


@pytest.mark.usefixtures("kept_cudnn_flags")
def test_without_cuda_the_cpu_is_taken_and_said(config, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO):
        assert select_device(config) == torch.device("cpu")
    (message,) = caplog.messages
    assert "device: cpu" in message
    assert "GPUS 2,3 is ignored" in message
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)


@pytest.mark.usefixtures("kept_cudnn_flags")
def test_with_cuda_the_first_of_gpus_is_taken(config, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"name of {device}")
    with caplog.at_level(logging.INFO):
        assert select_device(config) == torch.device("cuda", 2)
    assert "name of cuda:2" in caplog.messages[0]
    assert "stay idle" in caplog.messages[1]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="GPUS: there is no CUDA device 2, only 0 to 1"):
        select_device(config)


@pytest.mark.parametrize(("text", "indices"), [("0", [0]), ("1,0", [1, 0]), (" 0 , 7 ", [0, 7])])
def test_gpus(text, indices):
    assert gpu_indices(text, 2) == indices


@pytest.mark.parametrize("text", ["", "a", "0,", "-1", "cuda:0"])
def test_gpus_that_are_no_numbers(text):
    with pytest.raises(InputError, match="GPUS: expected device numbers"):
        gpu_indices(text, 2)


@pytest.mark.parametrize(("supported", "expected"), [(True, torch.bfloat16), (False, None)])
def test_bfloat16_where_the_cpu_has_it(tmp_path, monkeypatch, caplog, supported, expected):
    (tmp_path / "a.yaml").write_text("TRAIN: {AMP: bf16}")
    config = load_config(tmp_path / "a.yaml")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    with caplog.at_level(logging.WARNING):
        assert autocast_dtype(config, torch.device("cpu")) is expected
    assert ["float32 is used" in message for message in caplog.messages] == [True] * (not supported)
    assert autocast_dtype(config, torch.device("cuda")) is torch.bfloat16
    config.TRAIN.AMP = "off"
    assert autocast_dtype(config, torch.device("cuda")) is None
