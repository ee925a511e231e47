"""Run directories: where they are, the names of all files in them, and the log; imports no torch.

A run directory holds everything that one experiment produces. Scripts of all stages share it, so its file names are
defined here and nowhere else. `TEST.HEATMAP_LOCATION_FILE` names the predicted heatmaps.

The results of the configuration that was trained are in the run directory itself. Every other evaluation, e.g. another
fusion, test set or weights file, has a directory of its own: evaluations/fusion=epipolar_max. See
evaluation_directory().
"""

import logging
import re
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from lib.core.config import all_keys
from lib.core.config_io import comparable_values, dump_config, flat_values, read_config
from lib.dataset.storage.h36m_pickle import SUBSETS
from lib.models.registry import BACKBONES, fusion_name, needs_checkpoint
from lib.utils.errors import InputError
from lib.utils.files.atomic import make_directory
from lib.utils.files.disk_usage import directory_bytes, size_text
from lib.utils.logger import log_versions, setup_logging

logger = logging.getLogger(__name__)

CONFIG_NAME = "config_{phase}.yaml"
RECORD_NAME = "record_{phase}.json"  # command, code, machine and data, see lib/core/runtime/run_identity.py
CODE_NAME = "code_{phase}_{number}.patch"  # uncommitted changes of the code
# Phases in the order in which their configuration says what a directory holds.
PHASES = ("train", "valid", "estimate_cuda", "estimate")
# run/pose2d/train.py
CHECKPOINT_NAME = "checkpoint.pth.tar"  # the whole training state, newest
KEPT_CHECKPOINT_NAME = "checkpoint_{epoch:04d}_{step:06d}.pth.tar"  # earlier ones, TRAIN.KEEP_CHECKPOINTS
KEPT_CHECKPOINT_PATTERN = "checkpoint_[0-9]*.pth.tar"
TRAINING_CAMERAS_NAME = "training_cameras.json"  # the rigs of the training data, for NETWORK.FUSION learned
BEST_NAME = "model_best.pth.tar"  # weights with the best JDR
FINAL_NAME = "final_state.pth.tar"  # weights of the last epoch
METRICS_NAME = "metrics.jsonl"
CURVES_NAME = "training_curves.png"
TRACE_NAME = "trace.json"  # --profile
DEBUG_FOLDER = "debug"  # images of batches
# run/pose2d/valid.py
EVALUATIONS_FOLDER = "evaluations"  # evaluations of other configurations than the trained one
ONNX_NAME = "network.onnx"  # run/pose2d/export_onnx.py
RESULTS_2D_NAME = "results_2d.json"
HITS_2D_NAME = "hits_2d.npz"  # which joints were detected
# run/pose2d/show_fusion.py
FUSION_FIGURE_NAME = "fusion_weights.png"
# run/pose3d/train_refinement.py
LEARNED_NAME = "learned_refinement_{fusion}.npz"
# run/pose3d/show_refinement.py
REFINEMENT_FIGURE_NAME = "learned_refinement.png"
# run/pose3d/estimate.py
POSES_STEM = "poses3d"  # poses3d.npz, poses3d_<method>.npz
RESULTS_3D_NAME = "results_3d.json"
RESULTS_3D_CSV_NAME = "results_3d.csv"
# run/pose3d/report.py
REPORT_FOLDER = "report"  # report_<poses> for other poses than poses3d.npz
REPORT_NAME = "report.md"
PAGE_NAME = "report.html"
COMPARISON_NAME = "comparison.md"
COMPARISON_CSV_NAME = "comparison.csv"
CONTACT_SHEET_STEM = "contact_sheet"
# run/data/check.py
CHECK_FOLDER = "check"
CHECK_NAME = "check.md"

_EVALUATION_KEYS = {name: key.evaluation for name, key in all_keys() if key.evaluation}
_LONGEST_NAME = 120  # characters; file systems allow 255 bytes


def run_name(path: str | Path) -> str:
    """Return the name of a run: the YAML file's name without its suffix."""
    return Path(path).stem


def model_name(config: Any) -> str:
    """Return <model>_<layers>, e.g. multiview_pose_resnet_50."""
    return f"{config.MODEL}_{config.POSE_RESNET.NUM_LAYERS}"


def run_directory(config: Any, cfg_path: str | Path) -> Path:
    """Return OUTPUT_DIR/<train data set>/<model>_<layers>/<NAME or YAML name>, as the original code does."""
    name = config.NAME or run_name(cfg_path)
    return Path(config.OUTPUT_DIR) / config.DATASET.TRAIN_DATASET / model_name(config) / name


def board_directory(config: Any, directory: Path) -> Path:
    """Return the TensorBoard directory of a run: the same path below LOG_DIR instead of OUTPUT_DIR."""
    return Path(config.LOG_DIR) / directory.relative_to(config.OUTPUT_DIR)


def weights_file(config: Any, directory: Path) -> Path:
    """Return the weights to evaluate: TEST.MODEL_FILE if set, else the weights of TEST.STATE in the run directory.

    A network that nothing was trained of has the file of its backbone.
    """
    if not needs_checkpoint(config.BACKBONE_MODEL, fusion_name(config.NETWORK)):
        return Path(config[BACKBONES[config.BACKBONE_MODEL].section].FILE)
    if config.TEST.MODEL_FILE:
        return Path(config.TEST.MODEL_FILE)
    return run_of(directory) / (FINAL_NAME if config.TEST.STATE == "final" else BEST_NAME)


def run_of(directory: Path) -> Path:
    """Return the run directory of an evaluation's directory; a run directory is returned unchanged."""
    return directory.parent.parent if directory.parent.name == EVALUATIONS_FOLDER else directory


def evaluation_directories(directory: Path) -> list[Path]:
    """Return a run directory, followed by the directories of its evaluations."""
    return [directory, *sorted(path for path in directory.glob(f"{EVALUATIONS_FOLDER}/*") if path.is_dir())]


def evaluation_label(directory: Path, fusion: str | None) -> str:
    """Return how tables name an evaluation: "learned", "no fusion", "learned, subset=test".

    Args:
        directory: directory of the evaluation.
        fusion: the fusion; None = unknown, as in results of earlier versions.
    """
    words = directory.name.split(",") if run_of(directory) != directory else []
    if fusion is not None:
        words = [word for word in words if word.partition("=")[0] != "fusion"]
        words.insert(0, "no fusion" if fusion == "none" else fusion)
    return ", ".join(words)


def stored_configuration(directory: Path, *phases: str) -> dict[str, Any] | None:
    """Return the configuration that says what a directory holds, for flat_values(); None if none is stored.

    Args:
        directory: a run directory, or the directory of an evaluation.
        phases: scripts whose configuration counts; () = all, in the order of PHASES.
    """
    files = (directory / CONFIG_NAME.format(phase=phase) for phase in phases or PHASES)
    return next((read_config(file) for file in files if file.is_file()), None)


def evaluation_keys() -> frozenset[str]:
    """Return the keys that tell the evaluations of a run apart."""
    return frozenset(_EVALUATION_KEYS)


def evaluated_configuration(directory: Path) -> dict[str, Any] | None:
    """Return the configuration of the results in a directory, dotted name -> value; None if none is stored.

    An evaluation has the keys of the training, except the keys that tell evaluations apart.
    """
    stored = stored_configuration(directory)
    trained = stored_configuration(run_of(directory))
    if stored is None or trained is None:
        return None if stored is None else flat_values(stored)
    evaluated = flat_values(stored)
    keys = (*_EVALUATION_KEYS, "NETWORK.AGGRE", "TEST.STATE", "TEST.POST_PROCESS")
    return {**flat_values(trained), **{key: evaluated[key] for key in keys}}


def selection_data(held_out: Sequence[int], train_dataset: str, test_dataset: str) -> str:
    """Name the images on which model_best.pth.tar has the best JDR of all epochs.

    Args:
        held_out, train_dataset, test_dataset: HELD_OUT_SUBJECTS, TRAIN_DATASET and TEST_DATASET of the training.
    """
    if held_out:
        return f"subjects {', '.join(map(str, held_out))} held out of the training set {train_dataset}"
    return f"the test set {test_dataset}, as in the original code"


def weights_selection(weights: Path) -> str:
    """Say in words how the weights of a file were selected, from the training configuration in the same folder."""
    if weights.name == FINAL_NAME:
        return "last epoch"
    try:
        stored = stored_configuration(weights.parent, "train")
    except InputError:
        stored = None
    if weights.name != BEST_NAME or stored is None:
        return f"{weights.name}, of unknown selection"
    values = flat_values(stored)
    keys = ("HELD_OUT_SUBJECTS", "TRAIN_DATASET", "TEST_DATASET")
    return f"best epoch on {selection_data(*(values[f'DATASET.{key}'] for key in keys))}"


def evaluation_directory(config: Any, cfg_path: str | Path) -> Path:
    """Return the directory of the predictions and of the 2D and 3D results of a configuration.

    It is the run directory if the configuration evaluates what was trained there or, if nothing was trained, what was
    evaluated there first. Otherwise it is evaluations/<name> in it; the name has the words and values of the keys that
    differ, see Key.evaluation.

    Args:
        config: the merged configuration.
        cfg_path: the YAML file of the command line.
    """
    directory = run_directory(config, cfg_path)
    values = _evaluated_values(config, directory)
    own = _evaluation_in(directory, directory)
    if own is None:
        return directory
    if values["TEST.MODEL_FILE"] == BEST_NAME and not (directory / BEST_NAME).is_file():
        values["TEST.MODEL_FILE"] = own["TEST.MODEL_FILE"]  # no weights of its own
    differing = {word: values[key] for key, word in _EVALUATION_KEYS.items() if values[key] != own[key]}
    if not differing:
        return directory
    name = ",".join(f"{word}={_short(value)}" for word, value in differing.items())[:_LONGEST_NAME]
    # Values that differ only where they are shortened have names with a number.
    names = chain([name], (f"{name}_{number}" for number in count(2)))
    places = (directory / EVALUATIONS_FOLDER / one for one in names)
    return next(place for place in places if _evaluation_in(place, directory) in (None, values))


def _evaluation_in(place: Path, directory: Path) -> dict[str, Any] | None:
    """Return what was evaluated in a directory of the run `directory`; None if nothing is stored there."""
    stored = stored_configuration(place)
    return None if stored is None else _evaluated_values(stored, directory)


def _evaluated_values(config: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return the keys that tell the evaluations of the run `directory` apart -> comparable values."""
    values = comparable_values(config)
    evaluated = {key: values[key] for key in _EVALUATION_KEYS}
    evaluated["DATASET.ROOT"] = str(Path(values["DATA_DIR"], values["DATASET.ROOT"]).resolve())
    evaluated["DATASET.TEST_SUBSET"] = SUBSETS.get(values["DATASET.TEST_SUBSET"], values["DATASET.TEST_SUBSET"])
    if values["TEST.POST_PROCESS"] and values["TEST.PEAK_MODE"] == "argmax":
        evaluated["TEST.PEAK_MODE"] = "quarter"
    trained = directory / (FINAL_NAME if values["TEST.STATE"] == "final" else BEST_NAME)
    named = values["TEST.MODEL_FILE"]
    if not needs_checkpoint(values["BACKBONE_MODEL"], values["NETWORK.FUSION"]):
        named = values[f"{BACKBONES[values['BACKBONE_MODEL']].section}.FILE"]
    weights = Path(named or trained).resolve()
    evaluated["TEST.MODEL_FILE"] = weights.name if weights.parent == directory.resolve() else str(weights)
    return evaluated


def _short(value: Any) -> str:
    """Return a value as part of a file name: the last part of a path, with its folder if many files have that name."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "-".join(map(_short, value)) or "all"
    path = Path(str(value))
    name = re.sub(r"(\.pth)?(\.tar)?$", "", path.name)
    if path.name in (BEST_NAME, FINAL_NAME, CHECKPOINT_NAME) and path.parent.name:
        name = f"{path.parent.name}-{name}"
    return re.sub(r"[^\w.+-]+", "-", name)


def start_run(config: Any, cfg_path: str, phase: str | None, is_main: bool = True) -> Path:
    """Create the directory of a script's results (for training also the TensorBoard directory) and open the log.

    Args:
        config: the merged configuration.
        cfg_path: the YAML file of the command line.
        phase: one of PHASES, the name of the log file; None is training that logs to the console only.
        is_main: False for ranks other than 0, which create no log and report errors only.

    Returns:
        The run directory in training, else evaluation_directory().

    Raises:
        InputError: a directory cannot be written.
    """
    is_training = phase in (None, "train")
    directory = make_directory((run_directory if is_training else evaluation_directory)(config, cfg_path))
    if not is_main:
        logging.getLogger().setLevel(logging.ERROR)
        return directory
    if phase == "train":
        make_directory(board_directory(config, directory))
    if phase is not None:
        setup_logging(directory, phase)
    logger.info("run directory: %s", run_of(directory))
    if run_of(directory) != directory:
        logger.info("evaluation: %s; differs from what the run directory holds", directory.name)
    log_versions()
    logger.info("seed: %d", config.SEED)
    return directory


def log_disk_usage(config: Any, directory: Path) -> None:
    """Log the size of a script's directory and of OUTPUT_DIR."""
    sizes = [f"{path}: {size_text(directory_bytes(path))}" for path in (directory, Path(config.OUTPUT_DIR))]
    logger.info("disk: %s", ", ".join(sizes))


def record_config(config: Any, directory: Path, phase: str) -> None:
    """Write the merged configuration to config_<phase>.yaml.

    Call it after all inputs are accepted: a refused command must not replace the record of an earlier run.
    """
    path = directory / CONFIG_NAME.format(phase=phase)
    dump_config(config, path)
    logger.info("merged configuration: %s", path)
