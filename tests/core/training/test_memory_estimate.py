from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.training import memory_estimate
from lib.core.training.memory_estimate import GIB, GRADIENTS, STATE, WEIGHTS, memory_table, num_views, peak_memory
from lib.core.training.optimizer import build_optimizer

TOLERANCE = 0.02  # of the sum: the ledger does not see what an operation allocates inside itself


@pytest.fixture
def config(tiny_config, tmp_path):
    """config("KEY", "VALUE", ...) -> a tiny experiment: 4 views, 24 px maps, 12 fusion matrices of 576 x 576."""
    sizes = ("NETWORK.IMAGE_SIZE", "96", "NETWORK.HEATMAP_SIZE", "24")
    return lambda *opts: tiny_config(tmp_path, *sizes, *opts, resnet=True)


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


RECOMPUTED = ("TRAIN.CHECKPOINT_ACTIVATIONS", "true")


IN_PARTS = ("TRAIN.BATCH_SIZE", "4", "TRAIN.ACCUMULATE", "2")


@pytest.mark.parametrize(
    "opts",
    [
        pytest.param(RECOMPUTED, id="recomputed", marks=pytest.mark.slow),
        pytest.param((), id="as it is", marks=pytest.mark.slow),
        pytest.param(IN_PARTS, id="in parts", marks=pytest.mark.slow),
    ],
)
def test_peak_memory_equals_the_allocators_peak(config, opts):
    torch.set_num_threads(1)
    settings = config(*opts)
    computed = sum(peak_memory(settings).values())
    measured = allocated_bytes(lambda: peak_memory(settings, fake=False))
    print(f"computed {computed / 2**20:.1f} MiB, measured {measured / 2**20:.1f} MiB")
    assert computed == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.slow  # the next test has parts of known sizes
def test_peak_memory_parts_equal_the_tensors_sizes(config):
    settings = config()
    matrices = 12 * 576 * 576 * 4
    weights = sum(value.nbytes for value in build_model(settings, 4).state_dict().values())
    plain = peak_memory(settings)
    assert plain[WEIGHTS] == weights
    assert plain[GRADIENTS] >= matrices
    num_parameters = sum(parameter.numel() for parameter in build_model(settings, 4).parameters())
    assert plain[STATE] == pytest.approx(2 * 4 * num_parameters, rel=1e-4)  # and a counter per parameter


def test_peak_memory_frozen_backbone_has_weights_only(config):
    frozen = peak_memory(config("TRAIN.FREEZE_BACKBONE", "true", "TEST.BATCH_SIZE", "1"))
    matrices = 12 * 576 * 576 * 4
    assert frozen[GRADIENTS] == matrices
    assert frozen[STATE] == 2 * matrices + 4  # two moments and a counter
    assert frozen[WEIGHTS] == sum(value.nbytes for value in build_model(config(), 4).state_dict().values())


@pytest.mark.slow
def test_peak_memory_memory_keys_save_activations(config):
    def activations(*opts):
        return peak_memory(config("TRAIN.BATCH_SIZE", "16", "TEST.BATCH_SIZE", "1", *opts))["activations"]

    plain = activations()
    assert activations(*RECOMPUTED) < 0.5 * plain
    assert activations("TRAIN.AMP", "bf16") < 0.8 * plain


@pytest.mark.slow
def test_peak_memory_includes_the_validation(config):
    small, large = (sum(peak_memory(config("TEST.BATCH_SIZE", n)).values()) for n in ("2", "64"))
    assert large > 1.5 * small


def test_num_views_follows_the_data_set(config):
    assert num_views(config().DATASET) == 4
    assert num_views(config("DATASET.CAMERAS", "[0, 2]").DATASET) == 2
    assert num_views(config("DATASET.TRAIN_DATASET", "mpii").DATASET) == 1


def test_memory_table_has_a_row_per_key_that_changes_something(config, monkeypatch):
    def account(settings):
        return {WEIGHTS: 15 * GIB, STATE: (4 if settings.TRAIN.AMP == "bf16" else 8) * GIB}

    monkeypatch.setattr(memory_estimate, "peak_memory", account)
    lines = memory_table([("fusion", config()), ("none", config("NETWORK.AGGRE", "false", "TRAIN.AMP", "bf16"))])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()[2:]]
    keys = ["AMP bf16", "CHECKPOINT_ACTIVATIONS true"]
    assert [row[2] for row in rows] == ["as configured", *keys, ", ".join(keys), "as configured", keys[1]]
    assert [row[-2:] for row in rows[:3]] == [["23.00", "no"], ["19.00", "yes"], ["23.00", "no"]]


@pytest.mark.parametrize(
    ("opts", "keys"),
    [
        (("TRAIN.OPTIMIZER", "sgd"), ["AMP bf16", "CHECKPOINT_ACTIVATIONS true"]),
        (("TRAIN.FREEZE_BACKBONE", "true"), ["AMP bf16"]),
    ],
)
def test_memory_table_keys_without_effect_are_left_out(config, monkeypatch, opts, keys):
    def account(settings):
        model = build_model(settings, 4, is_train=True, resumes=True)
        return {STATE: len(build_optimizer(settings.TRAIN, model).state)}  # raises where there is no such optimizer

    monkeypatch.setattr(memory_estimate, "peak_memory", account)
    lines = memory_table([("a", config(*opts))]).splitlines()[2:]
    found = [line.strip("|").split("|")[2].strip() for line in lines]
    assert found == ["as configured", *keys, *([", ".join(keys)] if len(keys) > 1 else [])]


def test_memory_script_impossible_batch_is_refused(tiny_yaml, tmp_path, run_script):
    done = run_script("pose2d/memory.py", "--cfg", tiny_yaml(tmp_path), "--batch", "0")
    assert done.code == 2
    assert done.err == "error: --opts: TRAIN.BATCH_SIZE: expected at least 1, received 0\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "resnet152"])
def test_peak_memory_published_320_px_fusion_fits_24_gib(name):
    path = f"experiments-local/mixed/{name}/320_fusion.yaml"
    assert sum(peak_memory(load_config(path)).values()) / GIB < 22
