"""Running the scripts as a user does, in this process."""

from __future__ import annotations

import logging
import runpy
import sys
from collections.abc import Callable, Iterator

import pytest
from cvf_tests.scripts import REPOSITORY, Finished


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Iterator[Callable[..., Finished]]:
    """run_script("pose2d/train.py", "--cfg", ...) runs run/pose2d/train.py as __main__."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    level = root.level

    def run(script: str, *args: object) -> Finished:
        monkeypatch.setattr(sys, "argv", [script, *map(str, args)])
        monkeypatch.setattr(sys, "path", sys.path[:])
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(str(REPOSITORY / "run" / script), run_name="__main__")
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
