from __future__ import annotations

import pytest

from lib.utils.errors import InputError
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks, ranks_from_environment


@pytest.fixture(autouse=True)
def without_torchrun(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")


def test_ranks_from_environment_reads_torchrun(monkeypatch):
    assert ranks_from_environment() is None
    assert SINGLE_PROCESS.is_main
    for name, value in (("RANK", "9"), ("WORLD_SIZE", "16"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert ranks_from_environment() == Ranks(9, 16, 1)
    assert not ranks_from_environment().is_main


def test_ranks_from_environment_single_process_of_torchrun(monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    assert ranks_from_environment() == SINGLE_PROCESS


@pytest.mark.parametrize("values", [{"RANK": "1"}, {"RANK": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}])
def test_ranks_from_environment_incomplete_is_refused(monkeypatch, values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="expected numbers in RANK, WORLD_SIZE, LOCAL_RANK"):
        ranks_from_environment()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MASTER_ADDR", "", "expected MASTER_ADDR and MASTER_PORT .* start with torchrun, or unset RANK"),
        ("MASTER_PORT", "", "expected MASTER_ADDR and MASTER_PORT"),
        ("MASTER_PORT", "70000", "expected MASTER_ADDR and MASTER_PORT"),
        ("RANK", "2", "RANK: expected less than WORLD_SIZE 2, received 2"),
    ],
)
def test_ranks_from_environment_without_rendezvous_is_refused(monkeypatch, name, value, message):
    for variable in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert ranks_from_environment() == Ranks(1, 2, 1)
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        ranks_from_environment()


def test_ranks_from_environment_local_world_size(monkeypatch):
    for name, value in (("RANK", "9"), ("WORLD_SIZE", "16"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    assert ranks_from_environment() == Ranks(9, 16, 1, 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "0")
    with pytest.raises(InputError, match="LOCAL_WORLD_SIZE: expected a positive number, received 0"):
        ranks_from_environment()
