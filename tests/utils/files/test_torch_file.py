from __future__ import annotations

import os
import pickle
import re
import resource
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.utils.errors import InputError
from lib.utils.files.torch_file import first_not_finite, load_checkpoint, save_checkpoint


@pytest.fixture
def full_disk():
    """Limit files to 100 kB, like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def state():
    return OrderedDict(weight=torch.arange(6.0).view(2, 3), count=torch.tensor(3))


def test_load_checkpoint_equals_what_was_saved(tmp_path):
    path = tmp_path / "run" / "checkpoint.pth.tar"
    value = {"epoch": 3, "perf": 0.5, "state_dict": state(), "history": [{"loss": 0.25}], "rng": torch.get_rng_state()}
    save_checkpoint(value, path)
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pth.tar"]
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["weight"], state()["weight"])
    assert torch.equal(loaded["rng"], value["rng"])
    assert (loaded["epoch"], loaded["perf"], loaded["history"]) == (3, 0.5, [{"loss": 0.25}])


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_load_checkpoint_numpy_scalars_are_allowed(tmp_path, kind, zipped):
    torch.save({"perf": kind(3), "state_dict": state()}, tmp_path / "a.pth.tar", _use_new_zipfile_serialization=zipped)
    assert load_checkpoint(tmp_path / "a.pth.tar")["perf"] == 3


def test_load_checkpoint_numpy_1_scalars_are_allowed(tmp_path):
    path = tmp_path / "old.pth.tar"
    torch.save({"perf": np.float64(0.875)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    new = b"cnumpy._core.multiarray\n"
    old = b"cnumpy.core.multiarray\n"
    assert (new in data) != (old in data)
    path.write_bytes(data.replace(new, old) if new in data else data.replace(old, new))
    assert load_checkpoint(path)["perf"] == 0.875


def own_memory_mb():
    """Return the anonymous memory of this process, which excludes mapped files."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system has no /proc")
    return int(re.search(r"RssAnon:\s+(\d+) kB", status.read_text()).group(1)) / 1e3


def test_load_checkpoint_tensors_are_memory_mapped(tmp_path):
    path = tmp_path / "a.pth"
    save_checkpoint({"weight": torch.rand(20_000_000)}, path)  # 80 MB
    before = own_memory_mb()
    weight = load_checkpoint(path)["weight"]
    assert 0.4 < weight.mean().item() < 0.6
    assert own_memory_mb() - before < 20


def test_load_checkpoint_changes_do_not_reach_the_file(tmp_path):
    """Training continues with the loaded tensors while their checkpoint is replaced."""
    path = tmp_path / "a.pth"
    save_checkpoint(state(), path)
    loaded = load_checkpoint(path)
    loaded["weight"] += 1
    assert torch.equal(load_checkpoint(path)["weight"], state()["weight"])
    save_checkpoint(loaded, path)
    assert torch.equal(loaded["weight"], state()["weight"] + 1)
    assert torch.equal(load_checkpoint(path)["weight"], state()["weight"] + 1)
    assert loaded["count"] == 3


class Foreign:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_load_checkpoint_foreign_code_is_not_executed(tmp_path):
    marker = tmp_path / "made_by_pickle"
    torch.save({"state_dict": Foreign(str(marker))}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: .* with foreign types .*mkdir") as caught:
        load_checkpoint(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_load_checkpoint_truncated_file_is_refused(tmp_path, zipped, share):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.zeros(1000)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"a\.pth: not a checkpoint, truncated") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_load_checkpoint_other_content_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth: no such checkpoint"):
        load_checkpoint(tmp_path / "none.pth")
    (tmp_path / "a.pth").write_bytes(pickle.dumps([1, 2], 2))
    with pytest.raises(InputError, match=r"a\.pth: not a checkpoint"):
        load_checkpoint(tmp_path / "a.pth")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.usefixtures("full_disk")
def test_save_checkpoint_full_disk_keeps_the_old_file(tmp_path):
    path = tmp_path / "checkpoint.pth.tar"
    save_checkpoint({"epoch": 1}, path)
    with pytest.raises(InputError, match=r"checkpoint\.pth\.tar: cannot be written") as caught:
        save_checkpoint({"epoch": 2, "w": torch.zeros(100_000)}, path)
    assert "\n" not in str(caught.value)
    assert load_checkpoint(path) == {"epoch": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_first_not_finite_returns_the_name(value):
    spoilt = torch.ones(5, 3)
    spoilt[2, 1] = value
    state = {"good": torch.ones(2), "numbers": [1, "a", None], "more": {"list": [torch.zeros(1), {7: spoilt}]}}
    assert first_not_finite(state) == "more.list.1.7"
    spoilt[2, 1] = 0
    assert first_not_finite(state) is None


def test_first_not_finite_large_values_are_finite():
    large = torch.full((1000,), 3e38)  # their sum is not
    others = [torch.tensor([2**62]), torch.tensor([True]), torch.empty(0)]
    assert first_not_finite([large, large.bfloat16(), *others]) is None
    assert first_not_finite({"a": torch.tensor([1.0, float("nan")], dtype=torch.bfloat16)}) == "a"


def test_save_checkpoint_full_disk_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match="enforce fail"):
        save_checkpoint(state(), tmp_path / "a.pth")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(InputError, match=r"a\.pth: cannot be written \(the disk is full\)"):
        save_checkpoint(state(), tmp_path / "a.pth")
