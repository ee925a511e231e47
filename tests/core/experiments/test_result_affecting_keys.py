"""Fingerprints of cells change if and only if their results can."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from lib.core.experiments.cell_records import fingerprints
from lib.core.experiments.plan import make_plan
from lib.core.experiments.protocols import config_protocol, synthetic_protocol

MIXED = Path("experiments-local/mixed/resnet50/256_fusion.yaml")
OUT = Path("output/x")


@cache
def synthetic(*opts, out=OUT, data=Path("data/experiments")):
    return fingerprints(make_plan(synthetic_protocol(data, out, opts), (0,), out).cells)


@cache
def mixed(*opts, out=OUT):
    return fingerprints(make_plan(config_protocol(MIXED, out, opts), (0,), out).cells)


@pytest.mark.parametrize(
    "opts",
    [
        ("WORKERS", "1"),
        ("PRINT_FREQ", "7"),
        ("GPUS", "7"),
        ("DEBUG.DEBUG", "true"),
        ("CUDNN.BENCHMARK", "false"),
        ("TRAIN.CHECKPOINT_STEPS", "50"),
        ("TRAIN.VALIDATE_EVERY", "3"),
        ("TRAIN.KEEP_CHECKPOINTS", "2"),
        ("TEST.HEATMAP_COMPRESSION", "lzf"),
        ("LOG_DIR", "elsewhere"),
    ],
)
def test_fingerprints_unchanged_by_keys_without_effect(opts):
    assert synthetic(*opts) == synthetic()


def test_fingerprints_independent_of_the_location(tmp_path):
    assert synthetic(out=tmp_path / "moved", data=tmp_path / "sets") == synthetic()
    absolute = mixed("DATASET.ROOT", str(Path("data").resolve()), out=OUT.resolve())
    assert absolute == mixed()


@pytest.mark.parametrize(
    "opts", [("TRAIN.LR", "0.5"), ("GPUS", "0,1,2"), ("TRAIN.AMP", "bf16"), ("DATASET.ROOT", "data/other")]
)
def test_fingerprints_changed_by_keys_with_effect(opts):
    before = mixed()
    after = mixed(*opts)
    assert not {name for name in before if before[name] == after[name]}


def test_fingerprints_of_data_sets_depend_on_their_options_alone():
    before = synthetic()
    after = synthetic("TRAIN.LR", "0.5")
    kept = {name for name in before if before[name] == after[name]}
    assert kept == {name for name in before if name.startswith("data/") and name != "data/prior"}
