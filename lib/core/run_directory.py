"""What every script with a run directory begins with; imports no torch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lib.core.config_io import dump_config, run_directory
from lib.utils.files.atomic import make_directory
from lib.utils.logger import log_versions, setup_logging

logger = logging.getLogger(__name__)


def board_directory(config: Any, directory: Path) -> Path:
    """Return where the TensorBoard files of a run directory go: below LOG_DIR as it is below OUTPUT_DIR."""
    return Path(config.LOG_DIR) / directory.relative_to(config.OUTPUT_DIR)


def start_run(config: Any, cfg_path: str, phase: str | None, is_main: bool = True) -> Path:
    """Create the run directory and, for a training, that of TensorBoard, and open the log.

    Args:
        config: the merged configuration.
        cfg_path: the YAML file of the command line.
        phase: "train", "valid", ...; name of the log; None = on the console alone.
        is_main: the process that writes; the others are silent but for errors.

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
    """Store the merged configuration in the run directory, once all that it names has been accepted.

    Before, a command that is refused would replace the record of what the directory holds.
    """
    path = directory / f"config_{phase}.yaml"
    dump_config(config, path)
    logger.info("merged configuration: %s", path)
