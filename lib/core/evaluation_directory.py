"""Where the results of an evaluation go: those that depart from the training's do not replace its own."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

from lib.core.config_io import BEST_NAME, FINAL_NAME, dataset_root, load_config, run_directory
from lib.dataset.read_records import SUBSETS
from lib.models.fusion_kind import fusion_kind
from lib.utils.checks import InputError

logger = logging.getLogger(__name__)

PREFIX = "eval_"  # of such a directory's name
TRAINING_RECORD = "config_train.yaml"
_LONGEST_NAME = 100  # characters; file systems take 255 bytes


def evaluation_directory(config: Any, cfg_path: str | os.PathLike) -> Path:
    """Return the directory of all outputs of an evaluation, in 2D and in 3D.

    That is the run directory, unless fusion, test data or the images chosen of them are neither what the training had
    (config_train.yaml there) nor what the YAML says: then a directory in it that is named after what departs, e.g.
    eval_epipolar_max or eval_mpii_nofusion. A run directory without a training, and not the YAML's own, belongs to the
    evaluation that names it by NAME or OUTPUT_DIR.

    Args:
        config: of the evaluation: YAML and --opts.
        cfg_path: the YAML file of the command line.

    Raises:
        InputError: the YAML cannot be read.
    """
    directory = run_directory(config, cfg_path)
    usual = [_choices(reference) for reference in _references(directory, cfg_path)]
    words = [word for key, word in _choices(config).items() if usual and word not in (one[key] for one in usual)]
    return directory / _name(words) if words else directory


def _references(directory: Path, cfg_path: str | os.PathLike) -> list[Any]:
    """Return the configurations whose results are the run directory's own."""
    plain, record = load_config(cfg_path, quiet=True), directory / TRAINING_RECORD
    if record.is_file():
        try:
            return [load_config(record, quiet=True), plain]
        except InputError as error:  # of another version
            logger.warning("%s; what departs from the training is told by the YAML alone", error)
    is_trained = any((directory / name).is_file() for name in (TRAINING_RECORD, BEST_NAME, FINAL_NAME))
    return [plain] if is_trained or directory == run_directory(plain, cfg_path) else []


def _choices(config: Any) -> dict[str, str]:
    """Return key -> the word for its value in the name of a directory."""
    keys, kind = config.DATASET, fusion_kind(config)
    return {
        "TEST_DATASET": keys.TEST_DATASET,
        "ROOT": os.path.basename(os.path.abspath(dataset_root(config))),  # the same data may lie elsewhere
        "TEST_SUBSET": SUBSETS.get(keys.TEST_SUBSET, keys.TEST_SUBSET),
        "TEST_STEP": f"step{keys.TEST_STEP}",
        "TEST_EXCLUDE": "_".join(["without", *keys.TEST_EXCLUDE] if keys.TEST_EXCLUDE else ["all_recordings"]),
        "CAMERAS": "_".join(["cameras", *map(str, keys.CAMERAS)] if keys.CAMERAS else ["all_cameras"]),
        "CROP": "crop" if keys.CROP else "nocrop",
        "JOINTS": "_".join(["joints", *config.TEST.JOINTS] if config.TEST.JOINTS else ["all_joints"]),
        "FUSION": "nofusion" if kind == "none" else kind,
    }


def _name(words: list[str]) -> str:
    name = PREFIX + re.sub(r"[^\w.+-]+", "_", "_".join(words))
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
