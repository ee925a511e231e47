"""Fixtures of all tests: miniature data sets and an experiment that trains on them in seconds.

tests/README.md lists the fixtures. The records and images come from cvf_tests/tiny_data.py.
"""

from __future__ import annotations

import copy
import json
import logging
import pickle
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from cvf_tests.scripts import REPOSITORY, Finished
from cvf_tests.small_networks import TWO_CONVOLUTIONS
from cvf_tests.tiny_data import (
    TINY_EXPERIMENT,
    TOTALCAPTURE_RECORDINGS,
    tiny_sets,
    totalcapture_records,
    write_annotation,
    write_images,
)
from easydict import EasyDict

from lib.core.config_io import load_config
from lib.models.registry import BACKBONES

HAS_CUDA = torch.cuda.is_available()
EditRecords = Callable[[list[dict]], "list[dict] | None"]


@pytest.fixture(autouse=True)
def cuda_for_gpu_tests_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide CUDA, so that a test computes the same on every machine; tests marked `gpu` see it, or are skipped."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for scripts in another process
    elif not HAS_CUDA:
        pytest.skip("needs CUDA")


@pytest.fixture
def tiny_root(tmp_path: Path) -> Callable[..., Path]:
    """Write a small data set and return its ROOT.

    Keyword arguments of the factory:
        num_views: cameras per group (4).
        subjects: training and validation subjects ((1,), (9,)).
        frames: groups per subject (3).
        formats: "jpg" (folder), "zip", both, or () for no images (("jpg",)).
        mpii: images per MPII subset, 0 = no mpii folder (8).
        mpii_name: name of that folder ("mpii").
        mpii_head_px: head size of all people there; None = no head boxes (None).
        edit: function of the list of Human3.6M records, applied to every subset before it is written; it changes
            the list in place or returns another one.
    """
    made = []

    def make(
        num_views: int = 4,
        subjects: tuple[Sequence[int], Sequence[int]] = ((1,), (9,)),
        frames: int = 3,
        formats: Sequence[str] = ("jpg",),
        mpii: int = 8,
        mpii_name: str = "mpii",
        mpii_head_px: float | None = None,
        edit: EditRecords | None = None,
    ) -> Path:
        root = tmp_path / f"root_{len(made)}"
        made.append(root)
        ids = (tuple(subjects[0]), tuple(subjects[1]))
        sets = iter(tiny_sets(num_views, ids, frames, mpii, mpii_head_px, with_images=bool(formats)))
        for subset in ("train", "validation"):
            records, files = next(sets)
            records = copy.deepcopy(records)
            if edit is not None:
                changed = edit(records)
                records = records if changed is None else changed
            write_annotation(root / "h36m", subset, records)
            write_images(root / "h36m", files, formats)
        for subset in ("train", "valid") if mpii else ():
            records, files = next(sets)
            (root / mpii_name / "annot").mkdir(parents=True, exist_ok=True)
            (root / mpii_name / "annot" / f"{subset}.json").write_text(json.dumps(records))
            write_images(root / mpii_name, files, formats)
        return root

    return make


@pytest.fixture
def tiny_totalcapture(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a small Total Capture of 8 cameras and return its ROOT.

    Keyword arguments of the factory:
        recordings: subset -> (subject, action, sub-action), actions by name or id (TOTALCAPTURE_RECORDINGS).
        frames: groups per recording (1).
    """

    def make(recordings: dict[str, list] = TOTALCAPTURE_RECORDINGS, frames: int = 1) -> Path:
        root = tmp_path_factory.mktemp("totalcapture")
        rng = np.random.default_rng(6)
        for subset, chosen in recordings.items():
            records, files = totalcapture_records(chosen, frames, rng)
            write_annotation(root / "totalcapture", subset, records)
            write_images(root / "totalcapture", files, ("jpg",))
        return root

    return make


@pytest.fixture
def h36m_pickle() -> Callable[[Path, str], list[dict]]:
    """Read an annotation with plain pickle: h36m_pickle(root, "validation")."""
    return lambda root, subset: pickle.loads((root / f"h36m/annot/h36m_{subset}.pkl").read_bytes())


@pytest.fixture
def tiny_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write the YAML of a tiny experiment on a ROOT (64 px input, 16 px maps, ResNet-18); output below tmp_path.

    In this process the name pose_resnet builds TwoConvolutions unless resnet=True. Other processes build the ResNet.
    """

    def make(root: Path, resnet: bool = False) -> Path:
        if not resnet:
            monkeypatch.setitem(BACKBONES, "pose_resnet", TWO_CONVOLUTIONS)
        values = {
            section: dict(entry) if isinstance(entry, dict) else entry for section, entry in TINY_EXPERIMENT.items()
        }
        values["DATASET"]["ROOT"] = str(root)
        values["OUTPUT_DIR"], values["LOG_DIR"] = str(tmp_path / "output"), str(tmp_path / "log")
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return make


@pytest.fixture
def tiny_config(tiny_yaml: Callable[..., Path]) -> Callable[..., EasyDict]:
    """Load the configuration of a tiny experiment: tiny_config(root, "KEY", "VALUE", ..., resnet=False)."""
    return lambda root, *opts, resnet=False: load_config(tiny_yaml(root, resnet), opts)


@pytest.fixture
def restored_root_logger() -> Iterator[None]:
    """Remove the handlers of the root logger for a test and restore them afterwards."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    level = root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Iterator[Callable[..., Finished]]:
    """Run a script in this process: run_script("pose2d/train.py", "--cfg", ...)."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    level = root.level

    def run(script: str, *args: object) -> Finished:
        path = str(REPOSITORY / "run" / script)
        monkeypatch.setattr(sys, "argv", [path, *map(str, args)])
        monkeypatch.setattr(sys, "path", sys.path[:])
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    yield run
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        if handler not in handlers:
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
