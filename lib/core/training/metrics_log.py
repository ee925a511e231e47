"""Metrics of a training run: metrics.jsonl in the run directory, and TensorBoard. Written by rank 0."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType

import numpy as np
from tensorboardX import SummaryWriter

from lib.core.run_directory import METRICS_NAME
from lib.utils.errors import InputError, brief
from lib.utils.files.atomic import write_bytes


class MetricsLog:
    """Appends one line of numbers per report and per epoch; `step` counts from the start of the training.

    When resuming, lines after the resumed step are deleted, because those steps are repeated.
    """

    def __init__(self, directory: Path, board_directory: Path, first_step: int, epoch: int) -> None:
        """
        Args:
            directory: the run directory.
            board_directory: directory of the TensorBoard files.
            first_step: steps that are done.
            epoch: epoch to train next; a killed run may have logged it without saving its checkpoint.
        """
        self._path = directory / METRICS_NAME
        self._board = SummaryWriter(str(board_directory), purge_step=first_step + 1)
        lines = [(line, json.loads(line)) for line in _whole_lines(self._path)]
        kept = [line for line, values in lines if values["step"] <= first_step and values.get("epoch", -1) < epoch]
        write_bytes(self._path, "".join(f"{line}\n" for line in kept).encode())

    def add(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Write numbers.

        Args:
            kind: "train" or "epoch"; prefix of the names in TensorBoard.
            step: training steps that are done.
            values: name -> number.

        Raises:
            InputError: the disk refuses.
        """
        line = {"kind": kind, "step": step, **{name: float(value) for name, value in values.items()}}
        try:
            with open(self._path, "a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from None
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def add_image(self, name: str, step: int, image: np.ndarray) -> None:
        """Show an image (h, w, 3) uint8 BGR in TensorBoard."""
        self._board.add_image(name, image[..., ::-1], step, dataformats="HWC")

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()


def _whole_lines(path: Path) -> list[str]:
    """Read the lines of an earlier run; the last one may be incomplete after a kill and is dropped."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({brief(error)})") from None
    lines = text[: text.rfind("\n") + 1].splitlines()
    try:
        if all("step" in json.loads(line) for line in lines):
            return lines
    except ValueError:
        pass
    raise InputError(f"{path}: not the metrics of a training run; move it away")
