"""train.py on the CPU with checkpoints written in the background, as on CUDA."""

import runpy
import sys
from functools import partial
from typing import Any

from cvf_tests.scripts import REPOSITORY

sys.path.insert(0, str(REPOSITORY))

from lib.core.training import loop


def keeper_in_background(keeper: type, *words: Any, in_background: bool) -> Any:
    return keeper(*words, in_background=True)


if __name__ == "__main__":
    loop.CheckpointKeeper = partial(keeper_in_background, loop.CheckpointKeeper)
    runpy.run_path(str(REPOSITORY / "run/pose2d/train.py"), run_name="__main__")
