from __future__ import annotations

import copy
import logging
import platform
import subprocess
import sys
from functools import partialmethod
from pathlib import Path

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
)
from lib.utils.errors import InputError
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

REPOSITORY = Path(__file__).resolve().parents[3]


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
def test_each_process_takes_its_own_of_gpus(config, four_gpus, caplog, rank, index):
    with caplog.at_level(logging.INFO):
        assert select_device(config, Ranks(rank, 2, rank)) == torch.device("cuda", index)
    assert four_gpus == [torch.device("cuda", index)]
    assert f"name of cuda:{index}; 2 processes" in caplog.messages[0]
    assert num_processes(config) == 2


@pytest.mark.usefixtures("kept_cudnn_flags", "four_gpus")
def test_a_gpu_that_does_not_exist(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="GPUS: there is no CUDA device 2, only 0 to 1"):
        select_device(config)


@pytest.mark.usefixtures("kept_cudnn_flags", "four_gpus")
def test_processes_on_the_cpu(config, caplog):
    config.GPUS = "cpu,cpu,cpu"
    with caplog.at_level(logging.INFO):
        assert select_device(config, Ranks(1, 3, 1)) == torch.device("cpu")
    assert "3 processes" in caplog.messages[0]
    assert num_processes(config) == 3


def test_without_cuda_there_is_one_process(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert num_processes(config) == 1


def test_more_processes_than_names_take_the_device_of_their_rank():
    assert [gpu_of_rank(["0"], rank, 4) for rank in range(4)] == [0, 1, 2, 3]
    assert gpu_of_rank(["3", "1"], 1, 4) == 1


@pytest.mark.parametrize(
    ("text", "names"), [("0", ["0"]), ("1,0", ["1", "0"]), (" 0 , 7 ", ["0", "7"]), ("cpu, cpu", ["cpu", "cpu"])]
)
def test_gpus(text, names):
    assert device_names(text) == names


@pytest.mark.parametrize("text", ["", "a", "0,", "-1", "cuda:0", "cpu,0"])
def test_gpus_that_are_no_numbers(text):
    with pytest.raises(InputError, match="GPUS: expected device numbers"):
        device_names(text)


@pytest.mark.parametrize(("mode", "kind"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
@pytest.mark.parametrize("supported", [True, False])
def test_short_numbers_where_the_cpu_has_them(tmp_path, monkeypatch, caplog, mode, kind, supported):
    (tmp_path / "a.yaml").write_text(f"TRAIN: {{AMP: {mode}}}")
    config = load_config(tmp_path / "a.yaml")
    monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{mode}_supported", lambda: supported)
    with caplog.at_level(logging.WARNING):
        assert autocast_dtype(config, torch.device("cpu")) is (kind if supported else None)
    assert ["float32 is used" in message for message in caplog.messages] == [True] * (not supported)
    assert autocast_dtype(config, torch.device("cuda")) is kind
    config.TRAIN.AMP = "off"
    assert autocast_dtype(config, torch.device("cuda")) is None


def outputs_and_gradients(model, images):
    single, fused = model(images)
    (single.square().mean() + fused.square().mean()).backward()
    return single.detach(), fused.detach(), {name: value.grad for name, value in model.named_parameters()}


@pytest.mark.parametrize("compiler", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_network_computes_the_same_under_the_same_names(tiny_root, tiny_config, monkeypatch, compiler):
    """The tracing alone takes 2 s, the compilation of the kernels a minute."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=compiler))
    config = tiny_config(tiny_root(frames=1, mpii=0), "TRAIN.COMPILE", "true", "NETWORK.FUSION_INIT", "published")
    torch.manual_seed(0)
    plain = build_model(config, 4).eval()  # batch statistics of few images enlarge differences of rounding
    compiled = prepare_model(copy.deepcopy(plain), config, torch.device("cpu"), SINGLE_PROCESS)
    images = torch.randn(2, 4, 3, 64, 64)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    found, expected = outputs_and_gradients(compiled, images), outputs_and_gradients(plain, images)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs + 1  # it is compiled, in one piece
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for name, value in expected[2].items():
        torch.testing.assert_close(found[2][name], value, rtol=1e-3, atol=1e-3 * value.abs().max().item(), msg=name)
    for one, other in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * other.abs().max().item())


def test_channels_last_reaches_the_convolutions(tiny_root, tiny_config):
    root = tiny_root(frames=1, mpii=0)
    for value in ("true", "false"):
        config = tiny_config(root, "TRAIN.CHANNELS_LAST", value)
        model = prepare_model(build_model(config, 4), config, torch.device("cpu"), SINGLE_PROCESS)
        weight = model.backbone.conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == (value == "true")


def test_batch_norm_over_processes_needs_gpus(tiny_root, tiny_config):
    config = tiny_config(tiny_root(frames=1, mpii=0), "TRAIN.SYNC_BN", "true")
    model = build_model(config, 4)
    with pytest.raises(InputError, match=r"TRAIN\.SYNC_BN: .*2 processes train on cpu; set it false"):
        prepare_model(model, config, torch.device("cpu"), Ranks(0, 2, 0))
    assert prepare_model(model, config, torch.device("cpu"), SINGLE_PROCESS) is model  # one process has all images


FAULTS = """
import resource, sys, torch
if sys.argv[1] == "keep":
    from lib.core.runtime.device import keep_freed_memory
    keep_freed_memory()
def touch():
    for _ in range(20):
        torch.empty(2**24).fill_(1.0)  # 64 MB
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the switch is glibc's")
def test_freed_memory_is_used_again():
    faults = {
        word: int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, word], cwd=REPOSITORY, check=True, capture_output=True, text=True
            ).stdout
        )
        for word in ("keep", "as it is")
    }
    assert faults["keep"] * 20 < faults["as it is"]
