"""Run directories: where they are, the names of all files in them, and the log; imports no torch.

A run directory holds everything that one experiment produces. Scripts of all stages share it, so its file names are
defined here and nowhere else. `TEST.HEATMAP_LOCATION_FILE` names the predicted heatmaps.
"""

import logging
from pathlib import Path
from typing import Any

from lib.core.config_io import dump_config
from lib.models.registry import BACKBONES
from lib.utils.files.atomic import make_directory
from lib.utils.logger import log_versions, setup_logging

logger = logging.getLogger(__name__)

# run/pose2d/train.py
CHECKPOINT_NAME = "checkpoint.pth.tar"  # the whole training state, newest
KEPT_CHECKPOINT_NAME = "checkpoint_{epoch:04d}_{step:06d}.pth.tar"  # earlier ones, TRAIN.KEEP_CHECKPOINTS
KEPT_CHECKPOINT_PATTERN = "checkpoint_[0-9]*.pth.tar"
BEST_NAME = "model_best.pth.tar"  # weights with the best JDR
FINAL_NAME = "final_state.pth.tar"  # weights of the last epoch
METRICS_NAME = "metrics.jsonl"
CURVES_NAME = "training_curves.png"
TRACE_NAME = "trace.json"  # --profile
DEBUG_FOLDER = "debug"  # images of batches
# run/pose2d/valid.py
RESULTS_2D_NAME = "results_2d.json"
# run/pose2d/show_fusion.py
FUSION_FIGURE_NAME = "fusion_weights.png"
# run/pose3d/estimate.py
POSES_STEM = "poses3d"  # poses3d.npz, poses3d_<method>.npz
RESULTS_3D_NAME = "results_3d.json"
RESULTS_3D_CSV_NAME = "results_3d.csv"
# run/pose3d/report.py
REPORT_FOLDER = "report"  # report_<poses> for other poses than poses3d.npz
REPORT_NAME = "report.md"
COMPARISON_NAME = "comparison.md"
COMPARISON_CSV_NAME = "comparison.csv"
CONTACT_SHEET_STEM = "contact_sheet"
# run/data/check.py
CHECK_FOLDER = "check"
CHECK_NAME = "check.md"


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

    A backbone with fixed weights is its own file.
    """
    backbone = BACKBONES[config.BACKBONE_MODEL]
    if backbone.is_fixed:
        return Path(config[backbone.section].FILE)
    if config.TEST.MODEL_FILE:
        return Path(config.TEST.MODEL_FILE)
    return directory / (FINAL_NAME if config.TEST.STATE == "final" else BEST_NAME)


def start_run(config: Any, cfg_path: str, phase: str | None, is_main: bool = True) -> Path:
    """Create the run directory (for training also the TensorBoard directory) and open the log.

    Args:
        config: the merged configuration.
        cfg_path: the YAML file of the command line.
        phase: name of the log file, e.g. "train" or "valid"; None logs to the console only.
        is_main: False for ranks other than 0, which create no log and report errors only.

    Returns:
        The run directory.

    Raises:
        InputError: a directory cannot be written.
    """
    directory = make_directory(run_directory(config, cfg_path))
    if not is_main:
        logging.getLogger().setLevel(logging.ERROR)
        return directory
    if phase == "train":
        make_directory(board_directory(config, directory))
    if phase is not None:
        setup_logging(directory, phase)
    logger.info("run directory: %s", directory)
    log_versions()
    logger.info("seed: %d", config.SEED)
    return directory


def record_config(config: Any, directory: Path, phase: str) -> None:
    """Write the merged configuration to config_<phase>.yaml.

    Call it after all inputs are accepted: a refused command must not replace the record of an earlier run.
    """
    path = directory / f"config_{phase}.yaml"
    dump_config(config, path)
    logger.info("merged configuration: %s", path)
