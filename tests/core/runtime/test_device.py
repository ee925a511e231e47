from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.runtime.device import (
    autocast_dtype,
    device_names,
    gpu_of_rank,
    num_processes,
    prepare_model,
    select_device,
    uses_channels_last,
)
from lib.models.multiview_pose import MultiViewPose
from lib.utils.errors import InputError
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

# before any test runs: a test may call prepare_model(), which sets them
TORCHS_FLAGS = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)


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
def test_select_device_without_cuda_is_the_cpu(config, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO):
        assert select_device(config.GPUS, config.CUDNN) == torch.device("cpu")
    (message,) = caplog.messages
    assert "device: cpu" in message
    assert "GPUS 2,3 is ignored" in message
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)


@pytest.fixture
def four_gpus(monkeypatch):
    """CUDA with four devices, of which none is touched; the device that was chosen is in the list."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"name of {device}")
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.usefixtures("kept_cudnn_flags")
@pytest.mark.parametrize(("rank", "index"), [(0, 2), (1, 3)])
def test_select_device_each_rank_has_its_gpu(config, four_gpus, caplog, rank, index):
    with caplog.at_level(logging.INFO):
        assert select_device(config.GPUS, config.CUDNN, Ranks(rank, 2, rank)) == torch.device("cuda", index)
    assert four_gpus == [torch.device("cuda", index)]
    assert f"name of cuda:{index}; 2 processes" in caplog.messages[0]
    assert num_processes(config.GPUS) == 2


@pytest.mark.usefixtures("kept_cudnn_flags", "four_gpus")
def test_select_device_missing_gpu_is_refused(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="GPUS: expected CUDA devices from 0 to 1, received 2"):
        select_device(config.GPUS, config.CUDNN)


@pytest.mark.usefixtures("kept_cudnn_flags", "four_gpus")
def test_select_device_cpu_list_runs_processes_on_the_cpu(config, caplog):
    config.GPUS = "cpu,cpu,cpu"
    with caplog.at_level(logging.INFO):
        assert select_device(config.GPUS, config.CUDNN, Ranks(1, 3, 1)) == torch.device("cpu")
    assert "3 processes" in caplog.messages[0]
    assert num_processes(config.GPUS) == 3


def test_num_processes_without_cuda_is_one(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert num_processes(config.GPUS) == 1


def test_gpu_of_rank_more_ranks_than_names_is_the_rank():
    assert [gpu_of_rank(["0"], rank, 4) for rank in range(4)] == [0, 1, 2, 3]
    assert gpu_of_rank(["3", "1"], 1, 4) == 1


@pytest.mark.parametrize(
    ("text", "names"), [("0", ["0"]), ("1,0", ["1", "0"]), (" 0 , 7 ", ["0", "7"]), ("cpu, cpu", ["cpu", "cpu"])]
)
def test_device_names_splits_the_list(text, names):
    assert device_names(text) == names


@pytest.mark.parametrize("text", ["", "a", "0,", "-1", "cuda:0", "cpu,0"])
def test_device_names_not_numbers_is_refused(text):
    with pytest.raises(InputError, match="GPUS: expected device numbers"):
        device_names(text)


@pytest.mark.parametrize(("mode", "kind"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
@pytest.mark.parametrize("supported", [True, False])
def test_autocast_dtype_unsupported_by_the_cpu_is_float32(monkeypatch, caplog, mode, kind, supported):
    monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{mode}_supported", lambda: supported)
    with caplog.at_level(logging.WARNING):
        assert autocast_dtype(mode, torch.device("cpu")) is (kind if supported else None)
    assert ["float32 is used" in message for message in caplog.messages] == [True] * (not supported)
    assert autocast_dtype(mode, torch.device("cuda")) is kind
    assert autocast_dtype("off", torch.device("cuda")) is None


@pytest.fixture
def kept_tf32_flags():
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags


@pytest.mark.usefixtures("kept_tf32_flags")
@pytest.mark.parametrize(
    ("value", "flags"),
    [("off", (False, False)), ("false", (False, False)), ("conv", (True, False)), ("all", (True, True))],
)
def test_prepare_model_tf32_sets_torchs_flags(tmp_path, tiny_config, value, flags):
    path = tmp_path / "tf32.yaml"
    path.write_text(f"TRAIN: {{TF32: {value}}}")  # YAML reads off as false
    prepare_model(MultiViewPose(nn.Conv2d(3, 2, 1)), load_config(path).TRAIN, torch.device("cpu"), SINGLE_PROCESS)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == flags


def test_tf32_default_is_torchs_default():
    assert TORCHS_FLAGS == (True, False)  # conv


CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("opts", "device", "expected"),
    [
        ((), CUDA, (4, True)),
        ((), CPU, None),
        (("TRAIN.COMPILE", "false"), CUDA, None),
        (("TRAIN.COMPILE", "true"), CPU, (4, False)),
        (("TRAIN.ACCUMULATE", "3"), CUDA, (2, False)),  # parts of 2, 1 and 1 groups
        (("TRAIN.CHECKPOINT_ACTIVATIONS", "true"), CUDA, None),
        (("TRAIN.FREEZE_BACKBONE", "true"), CUDA, None),
        (("TRAIN.SYNC_BN", "true"), CUDA, (4, True)),  # one process
    ],
)
def test_prepare_model_compiles_full_batches_on_a_gpu(tmp_path, tiny_config, monkeypatch, opts, device, expected):
    monkeypatch.setattr(nn.Module, "to", lambda self, *_, **__: self)
    config = tiny_config(tmp_path, "TRAIN.BATCH_SIZE", "4", *opts)
    model = prepare_model(MultiViewPose(nn.Conv2d(3, 2, 1)), config.TRAIN, device, SINGLE_PROCESS)
    found = None if model.compiled is None else (model.compiled.num_groups, model.compiled.uses_graphs)
    assert found == expected


def test_prepare_model_compile_without_effect_warns(tmp_path, tiny_config, caplog):
    config = tiny_config(tmp_path, "TRAIN.COMPILE", "true", "TRAIN.CHECKPOINT_ACTIVATIONS", "true")
    assert prepare_model(MultiViewPose(nn.Conv2d(3, 2, 1)), config.TRAIN, CPU, SINGLE_PROCESS).compiled is None
    assert ["TRAIN.COMPILE true: no effect with" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize(
    ("channels_last", "amp", "device", "expected"),
    [
        ("auto", "bf16", CUDA, True),
        ("auto", "off", CUDA, False),
        ("auto", "bf16", CPU, False),
        ("true", "off", CPU, True),
        ("false", "bf16", CUDA, False),
    ],
)
def test_uses_channels_last_auto_is_amp_on_a_gpu(tmp_path, tiny_config, channels_last, amp, device, expected):
    config = tiny_config(tmp_path, "TRAIN.CHANNELS_LAST", channels_last, "TRAIN.AMP", amp)
    assert uses_channels_last(config.TRAIN, device) == expected


def test_prepare_model_channels_last_reaches_the_convolutions(tiny_root, tiny_config):
    root = tiny_root(frames=1, mpii=0)
    for value in ("true", "false"):
        config = tiny_config(root, "TRAIN.CHANNELS_LAST", value, resnet=True)
        weight = prepare_model(
            build_model(config, 4), config.TRAIN, torch.device("cpu"), SINGLE_PROCESS
        ).backbone.conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == (value == "true")


def test_prepare_model_sync_bn_on_the_cpu_is_refused(tiny_root, tiny_config):
    config = tiny_config(tiny_root(frames=1, mpii=0), "TRAIN.SYNC_BN", "true")
    model = build_model(config, 4)
    with pytest.raises(
        InputError, match=r"TRAIN\.SYNC_BN true: expected GPUs, received 2 processes on cpu; set it false"
    ):
        prepare_model(model, config.TRAIN, torch.device("cpu"), Ranks(0, 2, 0))
    assert (
        prepare_model(model, config.TRAIN, torch.device("cpu"), SINGLE_PROCESS) is model
    )  # one process has all images
