"""Rules for every file: directions of imports, unique names, no evaluation of text, experiments that load."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from lib.core.config_io import load_config

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(REPOSITORY / "lib").rglob("*.py"), *(REPOSITORY / "run").rglob("*.py")])
EXPERIMENTS = sorted(
    [*(REPOSITORY / "experiments-local").rglob("*.yaml"), *(REPOSITORY / "experiments-philly").rglob("*.yaml")]
)

# package -> packages that it may import
MAY_IMPORT = {
    "lib.utils": (),
    "lib.multiviews": ("lib.utils",),
    "lib.models": ("lib.utils", "lib.multiviews"),
    "lib.dataset": ("lib.utils", "lib.multiviews.cameras"),
    "lib.core": ("lib.utils", "lib.multiviews", "lib.models", "lib.dataset"),
    "run": ("lib",),
}


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted names of all imports, also inside functions; relative ones begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_one_way(path):
    parts = path.relative_to(REPOSITORY).parts
    package = "run" if parts[0] == "run" else ".".join(parts[:2]).removesuffix(".py")
    if package == "lib.__init__":
        return
    allowed = (package, *MAY_IMPORT[package])
    for name in imported(parse(path)):
        assert not name.startswith("."), f"relative import {name}"
        assert name.split(".")[0] not in ("models", "data", "utils", "core"), f"{name}: say lib.{name}"
        assert not name.endswith("*"), f"wildcard import {name}"
        if name.split(".")[0] in ("lib", "run"):
            assert any(f"{name}.".startswith(f"{one}.") for one in allowed), f"{package} must not import {name}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_sources_neither_evaluate_text_nor_assert(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__"), f"line {node.lineno}"
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: raise an error with a text"


PYTHON_FILES = sorted(
    path for folder in ("lib", "run", "tests", "benchmarks") for path in (REPOSITORY / folder).rglob("*.py")
)
LIB = [path for path in SOURCES if path.is_relative_to(REPOSITORY / "lib")]
MODULES = [path for path in LIB if path.name != "__init__.py"]
MAX_MODULES_PER_FOLDER = 15
# Test files without a module of the same name: tests with data from outside the repository.
TESTS_OF_NO_MODULE = ["tests/dataset/test_real_data.py"]


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_imports_no_package_called_tests(path):
    """Other projects install a package of that name, which would hide ours."""
    assert [name for name in imported(parse(path)) if name.split(".")[0] == "tests"] == []


@pytest.mark.parametrize("path", [path for path in LIB if path.name == "__init__.py"], ids=name_of)
def test_package_file_holds_only_a_docstring(path):
    (statement,) = parse(path).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value.value, str)


def test_every_package_has_its_file():
    assert [name_of(folder) for folder in {path.parent for path in LIB} if not (folder / "__init__.py").is_file()] == []


def test_folders_hold_few_modules():
    counts = Counter(name_of(path.parent) for path in MODULES)
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES_PER_FOLDER} == {}


def test_module_names_are_unique():
    assert repeated(path.name for path in MODULES) == []


def test_class_names_are_unique():
    nodes = [node for path in MODULES for node in ast.walk(parse(path))]
    assert repeated(node.name for node in nodes if isinstance(node, ast.ClassDef)) == []


def test_test_files_mirror_modules():
    folders = [REPOSITORY / "tests" / folder.name for folder in (REPOSITORY / "lib").iterdir() if folder.is_dir()]
    tests = [path.relative_to(REPOSITORY / "tests") for folder in folders for path in folder.rglob("test_*.py")]
    modules = {path: REPOSITORY / "lib" / path.parent / path.name.removeprefix("test_") for path in tests}
    lonely = sorted(f"tests/{path}" for path, module in modules.items() if not module.is_file())
    assert lonely == TESTS_OF_NO_MODULE


NUMPY_ONLY = [
    *(
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for path in sorted((REPOSITORY / "lib/multiviews").rglob("*.py"))
        if not path.stem.endswith(("_torch", "_triton"))
    ),
    "lib.utils.files.prediction_file",
    "lib.dataset.h36m",
    "lib.dataset.prepare.mpii_preparation",
    "lib.core.config_io",
    "lib.core.runtime.command_line",
    "lib.core.own_cameras.recording_results",
    "lib.core.own_cameras.labels",
    "lib.core.own_cameras.arguments",
    "lib.core.run_directory",
    "lib.core.export.export_poses",
    "lib.core.export.c3d_file",
    "lib.core.pose3d.inference",
    "lib.core.pose3d.metrics_3d",
    "lib.core.pose3d.make_prior",
]
BLOCK_TORCH = """
import importlib, sys
for name in ("torch", "torchvision", "tensorboardX"):
    sys.modules[name] = None  # importing it raises ImportError
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(name, error)
"""


def test_numpy_modules_import_without_torch():
    command = [sys.executable, "-c", BLOCK_TORCH, *NUMPY_ONLY]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == ""


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_experiments_load_without_warnings(path, caplog):
    with caplog.at_level(logging.WARNING):
        config = load_config(path)
    assert not caplog.messages
    assert f"multiview_{config.BACKBONE_MODEL}" == config.MODEL
    assert ("nofusion" in path.stem) != config.NETWORK.AGGRE


# Settings of the published experiments.
ALL = {
    "GPUS": "0",
    "WORKERS": 4,
    "PRINT_FREQ": 100,
    "DATASET.TRAIN_DATASET": "mixed",
    "DATASET.TEST_DATASET": "multiview_h36m",
    "DATASET.DATA_FORMAT": "zip",
    "DATASET.CROP": True,
    "DATASET.SCALE_FACTOR": 0,
    "DATASET.ROT_FACTOR": 0,
    "POSE_RESNET.NUM_LAYERS": 50,
    "POSE_RESNET.NUM_DECONV_FILTERS": [256] * 3,
    "TRAIN.OPTIMIZER": "adam",
    "TRAIN.LR": 0.001,
    "TRAIN.LR_FACTOR": 0.1,
    "TRAIN.LR_STEP": [20, 25],
    "TRAIN.END_EPOCH": 30,
    "TRAIN.RESUME": True,
    "NETWORK.NUM_JOINTS": 20,
    "NETWORK.INIT": "published",
    "NETWORK.FUSION_INIT": "published",
    "BACKBONE_MODEL": "pose_resnet",
    "PICT_STRUCT.PAIRWISE_FILE": "data/pict/pairwise.pkl",
    "DATASET.TRAIN_STEP": 5,
    "DATASET.TEST_STEP": 64,
}
SIZES = {
    "256": {
        "NETWORK.IMAGE_SIZE": [256, 256],
        "NETWORK.HEATMAP_SIZE": [64, 64],
        "NETWORK.SIGMA": 2,
        "TRAIN.BATCH_SIZE": 8,
        "TEST.BATCH_SIZE": 4,
    },
    "320": {
        "NETWORK.IMAGE_SIZE": [320, 320],
        "NETWORK.HEATMAP_SIZE": [80, 80],
        "NETWORK.SIGMA": 3,
        "TRAIN.BATCH_SIZE": 2,
        "TEST.BATCH_SIZE": 2,
    },
}
MOBILE = {"BACKBONE_MODEL": "pose_mobilenetv2", "NETWORK.PRETRAINED": "models/pytorch/imagenet/mobilenet_v2.pth.tar"}
RESNET152 = {"POSE_RESNET.NUM_LAYERS": 152, "TEST.BATCH_SIZE": 4}
HRNET = {"BACKBONE_MODEL": "pose_hrnet", "TRAIN.BATCH_SIZE": 4}
MPII = MOBILE | {"DATASET.TRAIN_DATASET": "multiview_mpii"}
PUBLISHED = {
    **{f"mixed/resnet50/{size}_{kind}": {} for size in SIZES for kind in ("fusion", "nofusion")},
    "mixed/resnet152/256_fusion": RESNET152 | {"TRAIN.BATCH_SIZE": 4},
    "mixed/resnet152/256_nofusion": RESNET152 | {"TRAIN.BATCH_SIZE": 4},
    "mixed/resnet152/320_fusion": RESNET152 | {"TRAIN.BATCH_SIZE": 2},
    "mixed/resnet152/320_nofusion": RESNET152 | {"TRAIN.BATCH_SIZE": 4},
    **{f"mixed/mobilenetv2/{size}_{kind}": MOBILE for size in SIZES for kind in ("fusion", "nofusion")},
    "mixed/hrnet/256_fusion": HRNET,
    "mixed/hrnet/256_fusion_nocrop": HRNET | {"DATASET.CROP": False},
    "mpii/mobilenetv2/256_nofusion": MPII,
    "mpii/mobilenetv2/320_nofusion": MPII | {"TRAIN.END_EPOCH": 140, "TRAIN.LR_STEP": [90, 120]},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_experiments_equal_their_table(name):
    config = load_config(REPOSITORY / "experiments-local" / f"{name}.yaml")
    size = name.split("/")[-1].split("_")[0]
    expected = ALL | SIZES[size] | {"NETWORK.AGGRE": "nofusion" not in name} | PUBLISHED[name]
    for key, value in expected.items():
        found = config
        for part in key.split("."):
            found = found[part]
        assert found == value, key
    if "hrnet" in name:
        assert config.NETWORK.PRETRAINED.endswith("/hrnet_w48-8ef0771d.pth")
        assert config.MODEL_EXTRA.STAGE4.NUM_CHANNELS == [48, 96, 192, 384]
    elif "resnet152" in name:
        assert config.NETWORK.PRETRAINED.endswith("/resnet152-b121ed2d.pth")


TOTAL_CAPTURE = {
    "TRAIN_DATASET": "multiview_totalcapture",
    "TEST_DATASET": "multiview_totalcapture",
    "CAMERAS": [0, 2, 4, 6],
}


@pytest.mark.parametrize("name", [f"resnet50/{size}_{kind}" for size in SIZES for kind in ("fusion", "nofusion")])
def test_total_capture_experiments_equal_mixed_except_for_data(name):
    own, mixed = (
        load_config(REPOSITORY / f"experiments-local/{folder}/{name}.yaml") for folder in ("totalcapture", "mixed")
    )
    mixed.DATASET.update(TOTAL_CAPTURE)
    mixed.PICT_STRUCT.PAIRWISE_FILE = "data/pict/pairwise_totalcapture.pkl"
    assert own == mixed


def test_cluster_experiments_are_fusion_runs_on_several_gpus():
    local, cluster = REPOSITORY / "experiments-local", REPOSITORY / "experiments-philly"
    wanted = {path.relative_to(local) for path in local.glob("mixed/*/*_fusion*.yaml")}
    wanted.remove(Path("mixed/resnet18/128_fusion.yaml"))  # for small data
    assert {path.relative_to(cluster) for path in cluster.rglob("*.yaml")} == wanted
    for name in wanted:
        own, base = load_config(cluster / name), load_config(local / name)
        assert len(own.GPUS.split(",")) > 1
        assert own.DATASET.DATA_FORMAT == "zip"
        assert (own.NETWORK, own.TRAIN.LR, own.TRAIN.END_EPOCH) == (base.NETWORK, base.TRAIN.LR, base.TRAIN.END_EPOCH)


@pytest.mark.parametrize("name", ["96_fusion", "128_nofusion", "128_adaptive"])
def test_recording_experiments_do_not_resume(name):
    assert load_config(REPOSITORY / f"experiments-local/own/resnet18/{name}.yaml").TRAIN.RESUME is False
