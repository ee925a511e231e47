"""Command lines of the scripts: parsers, configuration flags, exit codes. Imports no torch."""

import argparse
import errno
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from lib.core.runtime.launch import REPORTED_BY_LAUNCHER
from lib.utils.errors import InputError, Interrupted, ProcessLost, ProgramExit, defect_of_part, short_line, shortened
from lib.utils.files.atomic import expanded_path

BAD_INPUT = 2
CTRL_C = 130
UNEXPECTED = 70  # exit code of an internal error, EX_SOFTWARE of sysexits.h
OUTPUT_CLOSED = 141  # exit code that a shell reports for SIGPIPE
SHOW_TRACEBACK = "CVF_TRACEBACK"  # environment variable: the traceback of an exception in a registered part
# torch's message about a dead loading process, e.g. "... is killed by signal: Killed. It is possible that ..."
_LOADER_DEAD = re.compile(r"DataLoader worker \(pid\S* [\d, ]+\) ((?:is killed by signal|exited unexpectedly)[^.]*)")
_SHARED_MEMORY = re.compile(r"unable to (write to|open|mmap|resize) (file|shared memory)|Bus error|torch_shm_manager")
_REMEDIES = {  # errors of the machine that any access to a file may raise
    errno.ENOSPC: "make space, or write elsewhere",
    errno.EDQUOT: "make space, or write elsewhere",
    errno.EMFILE: "raise the limit (ulimit -n 4096), or use fewer WORKERS",
    errno.ENFILE: "close other programs, or use fewer WORKERS",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.EIO: "check the disk",
    errno.EAGAIN: "raise the limit of processes (ulimit -u), or use fewer WORKERS",
}
_REQUESTED = re.compile(r"(?:tried|unable) to allocate ([\d.]+ \w+)", re.IGNORECASE)  # of torch and numpy


class _Parser(argparse.ArgumentParser):
    """Parser that expands ~ and $NAME in paths and ends in one line."""

    def parse_known_args(self, *words: Any, **options: Any) -> tuple[argparse.Namespace, list[str]]:
        args, rest = super().parse_known_args(*words, **options)
        for name, value in vars(args).items():
            if isinstance(value, Path) or (name == "cfg" and isinstance(value, str)):
                setattr(args, name, type(value)(expanded_path(value, f"--{name.replace('_', '-')}")))
        return args, rest

    def error(self, message: str) -> None:
        self.exit(2, short_line(f"error: {message}; see --help") + "\n")


# flag of the original code -> (configuration key, help)
_KEY_FLAGS = {
    "--frequent": ("PRINT_FREQ", "steps between log lines"),
    "--gpus": ("GPUS", "CUDA devices, comma separated"),
    "--workers": ("WORKERS", "data loading processes"),
    "--modelDir": ("OUTPUT_DIR", "directory of the run directories"),
    "--logDir": ("LOG_DIR", "directory of the TensorBoard files"),
    "--dataDir": ("DATA_DIR", "prefix of DATASET.ROOT and NETWORK.PRETRAINED"),
    "--data-format": ("DATASET.DATA_FORMAT", "jpg or zip"),
    "--state": ("TEST.STATE", "weights to validate: best or final"),
    "--model-file": ("TEST.MODEL_FILE", "checkpoint to validate"),
}


class Refused(argparse.Action):
    """Flag of the original code that a script refuses; its help text is the reason."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        raise argparse.ArgumentError(self, str(self.help))


class _ShowKeys(argparse.Action):
    """Flag that prints the configuration keys with a word and ends the program."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        from lib.core.config_docs import matching_keys  # here, because it reads all modules

        print(matching_keys(values))
        parser.exit()


class _ExperimentParser(_Parser):
    """Parser of scripts that read an experiment; --print-config ends the program after parsing."""

    def parse_args(self, *words: Any, **options: Any) -> argparse.Namespace:
        args = super().parse_args(*words, **options)
        if args.print_config:
            import yaml

            from lib.core.config_io import load_config, plain_config

            print(yaml.safe_dump(plain_config(load_config(args.cfg, collect_opts(args))), sort_keys=False), end="")
            self.exit()
        return args


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Help that keeps the line breaks of the description and shows defaults."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return super()._get_help_string(action) if action.default not in (None, False, []) else action.help


def plain_parser(description: str, kind: type[argparse.ArgumentParser] = _Parser) -> argparse.ArgumentParser:
    """Return a parser without flags. Wrong arguments end in one line and exit code 2.

    Args:
        description: text of --help above the flags.
        kind: class of the parser.
    """
    return kind(description=description, formatter_class=_Help, allow_abbrev=False)


def make_parser(description: str, *flags: str) -> argparse.ArgumentParser:
    """Return a parser with --cfg, --opts and flags that set a configuration key.

    Args:
        description: text of --help above the flags.
        flags: flags of the original code to add, e.g. "--gpus".
    """
    parser = plain_parser(description, _ExperimentParser)
    parser.add_argument("--cfg", required=True, metavar="YAML", help="experiment, e.g. experiments-local/...")
    for flag in flags:
        key, text = _KEY_FLAGS[flag]
        parser.add_argument(flag, dest=f"key:{key}", metavar="VALUE", help=f"{text} ({key})")
    parser.add_argument(
        "--opts", nargs="*", action="extend", default=[], metavar="KEY VALUE", help="set any configuration keys"
    )
    parser.add_argument(
        "--keys",
        nargs="?",
        const="",
        action=_ShowKeys,
        metavar="WORD",
        help="list the configuration keys whose name or meaning contains WORD, and exit",
    )
    parser.add_argument("--print-config", action="store_true", help="print the merged configuration as YAML, and exit")
    return parser


def collect_opts(args: argparse.Namespace) -> list[str]:
    """Return the KEY VALUE pairs of --opts, followed by the ones of the flags."""
    opts = list(args.opts)
    for name, value in vars(args).items():
        if name.startswith("key:") and value is not None:
            opts += [name.removeprefix("key:"), value]
    return opts


def run_main(main: Callable[[], None], less_memory: str = "do less at a time, or end other programs") -> None:
    """Run a script and turn exceptions into messages and exit codes.

    Code 2, one line on stderr: InputError, out of memory, an error of the machine (disk full, too many open files, too
    little shared memory), a loading process killed by the system, an exception in a registered backbone, fusion, data
    set or 3D method (CVF_TRACEBACK=1 also prints its traceback).
    Code of the exception, one line: ProgramExit. If the launcher reports lost processes, ProcessLost prints nothing.
    Code 130: Ctrl-C. Code 141, silent: the reader of the output has ended. Code 70, traceback: any other error.

    Args:
        main: the script.
        less_memory: remedy in the out-of-memory message.
    """
    _open_closed_streams()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        main()
    except InputError as error:
        message = str(error).rsplit("InputError: ", 1)[-1]  # errors of a loading process include its traceback
        _end(f"error: {message}", BAD_INPUT)
    except ProgramExit as ending:
        if isinstance(ending, ProcessLost) and REPORTED_BY_LAUNCHER in os.environ:
            sys.exit(ending.exit_code)
        _end(str(ending) if isinstance(ending, Interrupted) else f"error: {ending}", ending.exit_code)
    except KeyboardInterrupt:
        _end("interrupted", CTRL_C)
    except BrokenPipeError:  # the reader of the output has ended, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise the interpreter reports it again
        sys.exit(OUTPUT_CLOSED)
    except Exception as error:
        text = str(error)
        # by name, because torch is not imported here
        is_gpu = type(error).__name__ == "OutOfMemoryError"
        if is_gpu or isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate" in text:
            amount = _REQUESTED.search(text)
            _end(f"error: out of memory{f' ({amount[1]} requested)' if amount else ''}; {less_memory}", BAD_INPUT)
        if _SHARED_MEMORY.search(text):
            _end(
                f"error: WORKERS: too little shared memory for the loading processes ({shortened(text, str)}); start "
                "Docker with --shm-size=8g or --ipc=host, or set WORKERS 0",
                BAD_INPUT,
            )
        code = _machine_error(error)
        if code is not None:
            name = getattr(error, "filename", None)
            where = f"{shortened(name, str)}: " if name else ""
            _end(f"error: {where}{os.strerror(code).lower()}; {_REMEDIES[code]}", BAD_INPUT)
        dead = _LOADER_DEAD.search(text)
        if dead:
            _end(f"error: a loading process {dead[1]}, most likely out of memory; use fewer WORKERS", BAD_INPUT)
        defect = defect_of_part(error)
        if defect is None or os.environ.get(SHOW_TRACEBACK):
            traceback.print_exc()
        if defect is not None:
            _end(f"error: {defect}; {SHOW_TRACEBACK}=1 shows the traceback", BAD_INPUT)
        # a defect of this project; the interpreter's code 1 means a finding in some scripts
        sys.exit(UNEXPECTED)


def _machine_error(error: BaseException) -> int | None:
    """Return the code of an OSError in _REMEDIES, also of one that a loading process or a library has reported."""
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        return error.errno
    text = str(error)
    return next((code for code in (errno.EMFILE, errno.ENOSPC) if os.strerror(code) in text), None)


def _open_closed_streams() -> None:
    """Open the standard streams that the caller has closed (`>&-`), since files would get their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))  # noqa: SIM115


def _end(message: str, code: int) -> NoReturn:
    print(short_line(message), file=sys.stderr)
    sys.exit(code)
