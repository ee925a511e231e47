from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from lib.core import memory
from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.training.memory_estimate import GIB, GRADIENTS, STATE, WEIGHTS, memory_table, num_views, training_account
from lib.core.training.optimizer import build_optimizer

TOLERANCE = 0.02  # of the sum: the ledger does not see what an operation allocates inside itself


@pytest.fixture
def config(tiny_config, tmp_path):
    """config("KEY", "VALUE", ...) -> a tiny experiment: 4 views, 24 px maps, 12 fusion matrices of 576 x 576."""
    sizes = ("NETWORK.IMAGE_SIZE", "96", "NETWORK.HEATMAP_SIZE", "24")
    return lambda *opts: tiny_config(tmp_path, *sizes, *opts)


def allocated_bytes(run) -> int:
    """Most bytes that torch's allocator gave out at a time while something ran."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = largest = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        now += event.nbytes()
        largest = max(largest, now)
    return largest


LEAN = ("TRAIN.FUSION_STATE", "bfloat16")
RECOMPUTED = ("TRAIN.CHECKPOINT_ACTIVATIONS", "true")


IN_PARTS = ("TRAIN.BATCH_SIZE", "4", "TRAIN.ACCUMULATE", "2")


@pytest.mark.parametrize(
    "opts",
    [
        pytest.param((*LEAN, *RECOMPUTED), id="lean and recomputed"),
        pytest.param((), id="as it is", marks=pytest.mark.slow),
        pytest.param(IN_PARTS, id="in parts", marks=pytest.mark.slow),
    ],
)
def test_the_account_is_what_the_allocator_gives_out(config, opts):
    torch.set_num_threads(1)
    settings = config(*opts)
    computed = sum(training_account(settings).values())
    measured = allocated_bytes(lambda: training_account(settings, fake=False))
    print(f"computed {computed / 2**20:.1f} MiB, measured {measured / 2**20:.1f} MiB")
    assert computed == pytest.approx(measured, rel=TOLERANCE)


def test_the_parts(config):
    settings = config()
    matrices = 12 * 576 * 576 * 4
    weights = sum(value.nbytes for value in build_model(settings, 4).state_dict().values())
    plain = training_account(settings)
    lean = training_account(config(*LEAN))
    assert plain[WEIGHTS] == lean[WEIGHTS] == weights
    assert plain[GRADIENTS] >= matrices
    num_parameters = sum(parameter.numel() for parameter in build_model(settings, 4).parameters())
    assert plain[STATE] == pytest.approx(2 * 4 * num_parameters, rel=1e-4)  # and a counter per parameter
    assert plain[STATE] - lean[STATE] == pytest.approx(matrices, rel=1e-4)  # two moments, half of each


def test_of_a_frozen_backbone_the_weights_alone_are_there(config):
    """Gradients and state are those of the matrices: the account of before ignored the key."""
    frozen = training_account(config("TRAIN.FREEZE_BACKBONE", "true", "TEST.BATCH_SIZE", "1"))
    matrices = 12 * 576 * 576 * 4
    assert frozen[GRADIENTS] == matrices
    assert frozen[STATE] == 2 * matrices + 4  # two moments and a counter
    assert frozen[WEIGHTS] == sum(value.nbytes for value in build_model(config(), 4).state_dict().values())


@pytest.mark.slow
def test_recomputing_and_low_precision_save_activations(config):
    def activations(*opts):
        return training_account(config("TRAIN.BATCH_SIZE", "16", "TEST.BATCH_SIZE", "1", *opts))["activations"]

    plain = activations()
    assert activations(*RECOMPUTED) < 0.5 * plain
    assert activations("TRAIN.AMP", "bf16") < 0.8 * plain


@pytest.mark.slow
def test_the_validation_between_epochs_counts(config):
    small, large = (sum(training_account(config("TEST.BATCH_SIZE", n)).values()) for n in ("2", "64"))
    assert large > 1.5 * small


def test_views(config):
    assert num_views(config()) == 4
    assert num_views(config("DATASET.CAMERAS", "[0, 2]")) == 2
    assert num_views(config("DATASET.TRAIN_DATASET", "mpii")) == 1


def test_the_table_has_a_row_per_switch_that_changes_something(config, monkeypatch):
    def account(settings):
        return {WEIGHTS: 15 * GIB, STATE: (4 if settings.TRAIN.FUSION_STATE == "bfloat16" else 8) * GIB}

    monkeypatch.setattr(memory, "training_account", account)
    lines = memory_table([("fusion", config()), ("none", config("NETWORK.AGGRE", "false", "TRAIN.AMP", "bf16"))])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()[2:]]
    keys = ["FUSION_STATE bfloat16", "AMP bf16", "CHECKPOINT_ACTIVATIONS true"]
    assert [row[2] for row in rows] == ["as configured", *keys, ", ".join(keys), "as configured", keys[2]]
    assert [row[-2:] for row in rows[:3]] == [["23.00", "no"], ["19.00", "yes"], ["23.00", "no"]]


@pytest.mark.parametrize(
    ("opts", "keys"),
    [
        (("TRAIN.OPTIMIZER", "sgd"), ["AMP bf16", "CHECKPOINT_ACTIVATIONS true"]),
        (("TRAIN.FREEZE_BACKBONE", "true"), ["AMP bf16"]),
    ],
)
def test_switches_that_a_training_cannot_have_are_left_out(config, monkeypatch, opts, keys):
    def account(settings):
        model = build_model(settings, 4, is_train=True, resumes=True)
        return {STATE: len(build_optimizer(settings, model).state)}  # raises where there is no such optimizer

    monkeypatch.setattr(memory, "training_account", account)
    lines = memory_table([("a", config(*opts))]).splitlines()[2:]
    found = [line.strip("|").split("|")[2].strip() for line in lines]
    assert found == ["as configured", *keys, *([", ".join(keys)] if len(keys) > 1 else [])]


def test_an_impossible_batch_is_one_line(tiny_yaml, tmp_path):
    command = [sys.executable, "run/pose2d/memory.py", "--cfg", tiny_yaml(tmp_path), "--batch", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: --opts: TRAIN.BATCH_SIZE: expected at least 1, received 0\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "resnet152"])
def test_the_published_320_px_fusion_fits_a_card_of_24_gib(name):
    path = f"experiments-local/mixed/{name}/320_fusion.yaml"
    sums = {opts: sum(training_account(load_config(path, opts)).values()) / GIB for opts in ((), LEAN)}
    assert sums[LEAN] < sums[()] - 1.8  # 491 M weights, 4 bytes less for each
    assert sums[()] < 22
