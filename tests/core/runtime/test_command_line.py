from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.core.config_io import load_config
from lib.core.runtime.command_line import Refused, collect_opts, make_parser, run_main
from lib.utils.errors import InputError, naming_part

ROOT = Path(__file__).resolve().parents[3]
KEY_FLAGS = {
    "--frequent": "PRINT_FREQ",
    "--gpus": "GPUS",
    "--workers": "WORKERS",
    "--modelDir": "OUTPUT_DIR",
    "--logDir": "LOG_DIR",
    "--dataDir": "DATA_DIR",
    "--data-format": "DATASET.DATA_FORMAT",
    "--state": "TEST.STATE",
    "--model-file": "TEST.MODEL_FILE",
}


def parse(*words):
    return make_parser("Text", *KEY_FLAGS).parse_args(["--cfg", "a.yaml", *words])


@pytest.mark.parametrize(("flag", "key"), KEY_FLAGS.items())
def test_collect_opts_flag_sets_its_key(flag, key):
    assert collect_opts(parse(flag, "x")) == [key, "x"]


def test_collect_opts_flags_follow_all_opts():
    args = parse("--opts", "TRAIN.LR", "1e-4", "PRINT_FREQ", "5", "--frequent", "7", "--opts", "WORKERS", "0")
    assert collect_opts(args) == ["TRAIN.LR", "1e-4", "PRINT_FREQ", "5", "WORKERS", "0", "PRINT_FREQ", "7"]


def test_collect_opts_values_reach_the_configuration(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    words = "--frequent 7 --gpus 0,1 --workers 0 --data-format zip --state final --opts TRAIN.LR -1".split()  # noqa: SIM905
    with pytest.raises(InputError, match=r"--opts: TRAIN\.LR: expected at least 0, received -1"):
        load_config(tmp_path / "a.yaml", collect_opts(parse(*words)))
    config = load_config(tmp_path / "a.yaml", collect_opts(parse(*words[:-2])))
    assert (config.PRINT_FREQ, config.GPUS, config.WORKERS) == (7, "0,1", 0)
    assert (config.DATASET.DATA_FORMAT, config.TEST.STATE) == ("zip", "final")


def test_make_parser_parsers_do_not_share_opts():
    assert collect_opts(parse("--opts", "WORKERS", "0")) == ["WORKERS", "0"]
    assert collect_opts(parse()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cfg", "a", "--unknown", "1"], "--unknown"),
        ([], "--cfg"),
        (["--cfg", "a", "--freq", "3"], "--freq"),
        (["--cfg", "a", "--gpus"], "--gpus"),
        (["--cfg", "a", "--state", "best"], "--state"),
    ],
)
def test_make_parser_wrong_flags_are_one_line(capsys, words, message):
    parser = make_parser("Text", "--frequent", "--gpus")
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_make_parser_keys_lists_the_keys_with_a_word(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--keys", "learning rate")
    assert caught.value.code == 0
    rows = {line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()[2:]}
    assert rows == {"TRAIN.LR", "TRAIN.LR_FACTOR", "TRAIN.LR_STEP"}
    assert "TRAIN.BATCH_SIZE" not in rows
    with pytest.raises(SystemExit):
        make_parser("Text").parse_args(["--keys"])  # without --cfg
    assert len(capsys.readouterr().out.splitlines()) > 100


def test_make_parser_keys_without_a_match_says_so():
    with pytest.raises(InputError, match="contains 'xyzzy'"):
        parse("--keys", "xyzzy")


def test_make_parser_print_config_is_the_merged_configuration(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("TRAIN: {LR: 0.5}")
    words = ["--cfg", str(tmp_path / "a.yaml"), "--gpus", "3", "--opts", "WORKERS", "0", "--print-config"]
    with pytest.raises(SystemExit) as caught:
        make_parser("Text", "--gpus").parse_args(words)
    assert caught.value.code == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    printed = load_config(path)
    assert (printed.TRAIN.LR, printed.GPUS, printed.WORKERS) == (0.5, "3", 0)
    assert printed == load_config(tmp_path / "a.yaml", ["GPUS", "3", "WORKERS", "0"])


def test_refused_flag_ends_with_its_help(capsys):
    parser = make_parser("Text", "--gpus")
    parser.add_argument("--logDir", action=Refused, help="refused: nothing is logged")
    assert collect_opts(parser.parse_args(["--cfg", "a"])) == []
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--cfg", "a", "--logDir", "log"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: argument --logDir: refused: nothing is logged; see --help\n"


def test_make_parser_help_keeps_the_lines_of_the_description(capsys):
    parser = make_parser("What it does.\n\n    python run/x.py --cfg a.yaml\n", "--gpus")
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--help"])
    assert caught.value.code == 0
    assert "\n    python run/x.py --cfg a.yaml\n" in capsys.readouterr().out


def fail_with(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a.yaml: no such file", "error: a.yaml: no such file\n"),
        ("two\n  lines", "error: two lines\n"),
        (
            "Caught InputError in DataLoader worker process 0.\nTraceback\nlib.utils.errors.InputError: x.jpg: cut\n",
            "error: x.jpg: cut\n",
        ),
    ],
)
def test_run_main_input_error_is_one_line_and_code_2(capsys, text, line):
    with pytest.raises(SystemExit) as caught:
        run_main(fail_with(InputError(text)))
    assert caught.value.code == 2
    assert capsys.readouterr().err == line


def test_run_main_ctrl_c_is_130_and_a_defect_is_70(capsys):
    with pytest.raises(SystemExit) as caught:
        run_main(fail_with(KeyboardInterrupt()))
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
    with pytest.raises(SystemExit) as caught:  # a defect; code 1 means a finding
        run_main(fail_with(ZeroDivisionError()))
    assert caught.value.code == 70
    assert "Traceback" in capsys.readouterr().err


def _fail_in_part():
    with naming_part("fusion toy"):
        raise KeyError("mix")


@pytest.mark.parametrize("shown", ["", "1"])
def test_run_main_exception_in_a_registered_part_is_one_line_and_code_2(shown, capsys, monkeypatch):
    monkeypatch.setenv("CVF_TRACEBACK", shown)
    with pytest.raises(SystemExit) as caught:
        run_main(_fail_in_part)
    assert caught.value.code == 2
    *before, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: fusion toy: KeyError: 'mix' (test_command_line.py:")
    assert line.endswith("; CVF_TRACEBACK=1 shows the traceback")
    assert bool(before) == bool(shown)


def _too_much_of_torch():
    torch.empty(2**50, dtype=torch.uint8)


def _too_much_of_numpy():
    np.empty(2**50, np.uint8)


@pytest.mark.parametrize(
    ("main", "amount"),
    [
        (_too_much_of_torch, "1125899906842624 bytes"),
        (_too_much_of_numpy, "1.00 PiB"),
        (fail_with(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has")), "20.00 MiB"),
        (fail_with(MemoryError()), ""),
    ],
)
def test_run_main_out_of_memory_is_one_line_and_code_2(capsys, main, amount):
    with pytest.raises(SystemExit) as caught:
        run_main(main, "a smaller batch needs less")
    assert caught.value.code == 2
    detail = f" ({amount} requested)" if amount else ""
    assert capsys.readouterr().err == f"error: out of memory{detail}; a smaller batch needs less\n"


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("DataLoader worker (pid 24397) is killed by signal: Killed. ", "is killed by signal: Killed"),
        ("DataLoader worker (pid(s) 24397, 5) exited unexpectedly", "exited unexpectedly"),
    ],
)
def test_run_main_killed_loading_process_is_one_line_and_code_2(capsys, text, how):
    with pytest.raises(SystemExit) as caught:
        run_main(fail_with(RuntimeError(text)))
    assert caught.value.code == 2
    line = f"error: a loading process {how}, most likely out of memory; use fewer WORKERS\n"
    assert capsys.readouterr().err == line


def test_run_main_closed_output_is_silent_and_141():
    module = "lib.core.runtime.command_line"
    code = f"from {module} import run_main\nrun_main(lambda: [print('x' * 1000) for _ in range(1000)])"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[3],
    )
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "x", "out/a.npz"), "error: out/a.npz: no space left on device; make space"),
        (OSError(errno.EMFILE, "x"), "error: too many open files; raise the limit (ulimit -n 4096)"),
        (
            RuntimeError("worker: OSError: [Errno 24] Too many open files: '/tmp/x'"),
            "error: too many open files; raise",
        ),
        (
            RuntimeError("unable to write to file </torch_5_1>: No space left"),
            "error: WORKERS: too little shared memory",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible"),
            "error: WORKERS: too little shared memory",
        ),
    ],
)
def test_run_main_error_of_the_machine_is_one_line_and_code_2(capsys, error, line):
    def main():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(line)
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_run_main_closed_streams(tmp_path, closed):
    code = (
        "import sys; from lib.core.runtime.command_line import run_main;"
        f"run_main(lambda: (print('text'), print('text', file=sys.stderr), open('{tmp_path}/a', 'w').write('file')))"
    )
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], cwd=ROOT)
    assert done.returncode == 0
    assert (tmp_path / "a").read_text() == "file"


def test_make_parser_paths_are_expanded(monkeypatch, capsys):
    monkeypatch.setenv("HOME", "/home/user")
    parser = make_parser("Text")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(["--cfg", "~/a.yaml", "--out=~/b"])
    assert (args.cfg, args.out) == ("/home/user/a.yaml", Path("/home/user/b"))


def test_run_main_long_paths_are_cut_in_the_middle(capsys):
    def main():
        raise InputError(f"{'/folder' * 200}/a.toml: no such file")

    with pytest.raises(SystemExit):
        run_main(main)
    line = capsys.readouterr().err
    assert len(line) == 300  # with its end
    assert line.endswith("/folder/a.toml: no such file\n")
