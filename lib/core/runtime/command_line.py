"""What the scripts' command lines share; imports no torch."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from lib.core.runtime.launch import REPORTED_BY_LAUNCHER
from lib.utils.errors import InputError, Interrupted, ProcessLost, ProgramExit

UNEXPECTED = 70  # exit code of an internal error, EX_SOFTWARE of sysexits.h
OUTPUT_CLOSED = 141  # what a shell reports of SIGPIPE
# how torch tells of a loading process that is gone, e.g. "... is killed by signal: Killed. It is possible that ..."
_LOADER_GONE = re.compile(r"DataLoader worker \(pid\S* [\d, ]+\) ((?:is killed by signal|exited unexpectedly)[^.]*)")
_ASKED_FOR = re.compile(r"(?:tried|unable) to allocate ([\d.]+ \w+)", re.IGNORECASE)  # as torch and numpy say it


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        self.exit(2, f"error: {message}; see --help\n")


# flag -> (configuration key, help); the published flags that set a key
_KEY_FLAGS = {
    "--frequent": ("PRINT_FREQ", "steps between log lines"),
    "--gpus": ("GPUS", "CUDA devices, comma separated"),
    "--workers": ("WORKERS", "data loading processes"),
    "--modelDir": ("OUTPUT_DIR", "directory of the run directories"),
    "--logDir": ("LOG_DIR", "directory of the TensorBoard files"),
    "--dataDir": ("DATA_DIR", "put before DATASET.ROOT and NETWORK.PRETRAINED"),
    "--data-format": ("DATASET.DATA_FORMAT", "jpg or zip"),
    "--state": ("TEST.STATE", "weights to validate: best or final"),
    "--model-file": ("TEST.MODEL_FILE", "checkpoint to validate"),
}


class Refused(argparse.Action):
    """A published flag that a script cannot serve: it is refused, and its help is the reason."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        raise argparse.ArgumentError(self, str(self.help))


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The description has its own lines, and flags with a default show it."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return super()._get_help_string(action) if action.default not in (None, False, []) else action.help


def plain_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of its own flags; wrong words end in one line and exit code 2.

    Args:
        description: beginning of the help, line by line.
    """
    return _Parser(description=description, formatter_class=_Help, allow_abbrev=False)


def make_parser(description: str, *flags: str) -> argparse.ArgumentParser:
    """Return a parser with --cfg, --opts and some of the flags that stand for a configuration key.

    Args:
        description: beginning of the help, line by line.
        flags: names out of the published flags, e.g. "--gpus".
    """
    parser = plain_parser(description)
    parser.add_argument("--cfg", required=True, metavar="YAML", help="experiment, e.g. experiments-local/...")
    for flag in flags:
        key, text = _KEY_FLAGS[flag]
        parser.add_argument(flag, dest=f"key:{key}", metavar="VALUE", help=f"{text} ({key})")
    parser.add_argument(
        "--opts", nargs="*", action="extend", default=[], metavar="KEY VALUE", help="any configuration keys"
    )
    return parser


def collect_opts(args: argparse.Namespace) -> list[str]:
    """Return the KEY VALUE pairs of --opts and, after them, of the flags that were given."""
    opts = list(args.opts)
    for name, value in vars(args).items():
        if name.startswith("key:") and value is not None:
            opts += [name.removeprefix("key:"), value]
    return opts


def run_main(main: Callable[[], None], less_memory: str = "do less at a time, or end other programs") -> None:
    """Run a script: an InputError or a lack of memory is one line on stderr and exit code 2.

    A ProgramExit has its own code.

    A lack of memory may also show as a loading process that the system has killed.

    Other errors keep their traceback and end with code 70, closed output silently with 141. A process that lost contact
    with another one keeps silent where the launcher tells which one it was.

    Args:
        main: the script.
        less_memory: what to do where memory does not suffice.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        main()
    except InputError as error:
        message = str(error).rsplit("InputError: ", 1)[-1]  # a loading process sends its traceback along
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
    except ProgramExit as ending:
        if not (isinstance(ending, ProcessLost) and REPORTED_BY_LAUNCHER in os.environ):
            print(f"error: {ending}" if ending.exit_code != Interrupted.exit_code else ending, file=sys.stderr)
        sys.exit(ending.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # who read our output has ended, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains once more
        sys.exit(OUTPUT_CLOSED)
    except Exception as error:
        if _is_out_of_memory(error):
            amount = _ASKED_FOR.search(str(error))
            detail = f" ({amount[1]} more were asked for)" if amount else ""
            print(f"error: out of memory{detail}; {less_memory}", file=sys.stderr)
            sys.exit(2)
        gone = _LOADER_GONE.search(str(error))
        if gone:
            print(
                f"error: a loading process {gone[1]}, most likely for want of memory; fewer WORKERS need less",
                file=sys.stderr,
            )
            sys.exit(2)
        traceback.print_exc()  # a fault of ours; the interpreter's own code 1 means a finding in some scripts
        sys.exit(UNEXPECTED)


def _is_out_of_memory(error: Exception) -> bool:
    """Tell by names: torch is not imported here."""
    is_gpu = type(error).__name__ == "OutOfMemoryError"
    is_cpu = "DefaultCPUAllocator: can't allocate" in str(error)
    return is_gpu or is_cpu or isinstance(error, MemoryError)
