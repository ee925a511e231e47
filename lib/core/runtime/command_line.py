"""Command lines of the scripts: parsers, configuration flags, exit codes. Imports no torch."""

import argparse
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from lib.core.runtime.launch import REPORTED_BY_LAUNCHER
from lib.utils.errors import InputError, Interrupted, ProcessLost, ProgramExit

BAD_INPUT = 2
CTRL_C = 130
UNEXPECTED = 70  # exit code of an internal error, EX_SOFTWARE of sysexits.h
OUTPUT_CLOSED = 141  # exit code that a shell reports for SIGPIPE
# torch's message about a dead loading process, e.g. "... is killed by signal: Killed. It is possible that ..."
_LOADER_DEAD = re.compile(r"DataLoader worker \(pid\S* [\d, ]+\) ((?:is killed by signal|exited unexpectedly)[^.]*)")
_REQUESTED = re.compile(r"(?:tried|unable) to allocate ([\d.]+ \w+)", re.IGNORECASE)  # of torch and numpy


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        self.exit(2, f"error: {message}; see --help\n")


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

    Code 2, one line on stderr: InputError, out of memory, a loading process killed by the system.
    Code of the exception, one line: ProgramExit. If the launcher reports lost processes, ProcessLost prints nothing.
    Code 130: Ctrl-C. Code 141, silent: the reader of the output has ended. Code 70, traceback: any other error.

    Args:
        main: the script.
        less_memory: remedy in the out-of-memory message.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        main()
    except InputError as error:
        message = str(error).rsplit("InputError: ", 1)[-1]  # errors of a loading process include its traceback
        _end(f"error: {' '.join(message.split())}", BAD_INPUT)
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
        dead = _LOADER_DEAD.search(text)
        if dead:
            _end(f"error: a loading process {dead[1]}, most likely out of memory; use fewer WORKERS", BAD_INPUT)
        traceback.print_exc()  # a defect; the interpreter's code 1 means a finding in some scripts
        sys.exit(UNEXPECTED)


def _end(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)
