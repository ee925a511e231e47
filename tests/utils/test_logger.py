from __future__ import annotations

import logging

import pytest

from lib.utils.logger import log_versions, setup_logging


@pytest.mark.usefixtures("restored_root_logger")
def test_setup_logging_writes_to_console_and_file(tmp_path, capsys):
    setup_logging(tmp_path, "train")
    logging.getLogger("any").info("héllo %d", 3)
    (path,) = tmp_path.glob("train_*.log")
    assert "INFO any: héllo 3" in path.read_text(encoding="utf-8")
    assert capsys.readouterr().out == "héllo 3\n"


@pytest.mark.usefixtures("restored_root_logger")
def test_setup_logging_second_call_replaces_the_handlers(tmp_path, capsys):
    setup_logging(tmp_path, "train")
    setup_logging(tmp_path, "valid")
    log_versions()
    assert len(logging.getLogger().handlers) == 2
    out = capsys.readouterr().out
    assert out.count("versions: python 3") == 1
    assert "numpy" in out
