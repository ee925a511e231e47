"""Identity of a run: what a second experiment may not replace, and the record of code, machine and data.

record_train.json lists the starts of a training: the first one and every resume. record_valid.json and the records of
the 3D scripts hold the last call. Uncommitted changes of the code are next to them as a patch.
"""

import functools
import glob
import logging
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from lib.core.config import keys_with_scope
from lib.core.config_io import changed_values
from lib.core.run_directory import (
    BEST_NAME,
    CHECKPOINT_NAME,
    CODE_NAME,
    FINAL_NAME,
    RECORD_NAME,
    evaluation_keys,
    record_config,
    run_name,
    run_of,
    stored_configuration,
)
from lib.core.runtime.machine import hardware, package_versions
from lib.utils.errors import InputError, all_or_some
from lib.utils.files.atomic import write_bytes
from lib.utils.files.digest import short_digest
from lib.utils.files.json_file import read_json, write_json

logger = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[3]
MAX_PATCH_BYTES = 1_000_000
_MAX_UNTRACKED = 50  # names
_MAX_SHOWN = 4  # changed keys in a message
_GIT_SECONDS = 10.0
_PACKAGES = ("numpy", "scipy", "numba", "opencv-python", "h5py", "torch", "torchvision")
# Keys that change speed, memory or rounding: a training with other values is the same experiment.
_SPEED_KEYS = frozenset(
    {
        "GPUS",
        "DATASET.DATA_FORMAT",
        "TRAIN.CHANNELS_LAST",
        "TRAIN.CHECKPOINT_ACTIVATIONS",
        "TRAIN.COMPILE",
        "TRAIN.TF32",
    }
)


@dataclass(frozen=True)
class Code:
    """State of the code.

    Attributes:
        commit: the git commit; None outside a repository.
        patch: changes of tracked files since the commit, as `git diff` prints them.
        untracked: files that git does not know.
    """

    commit: str | None = None
    patch: bytes = b""
    untracked: tuple[str, ...] = ()

    @property
    def changes(self) -> str:
        """Digest of the changes; "" without changes."""
        return short_digest(self.patch + "\n".join(self.untracked).encode()) if self.patch or self.untracked else ""


@functools.cache
def current_code() -> Code:
    """Return the state of the code of this process."""
    top = _git("rev-parse", "--show-toplevel")
    commit = _git("rev-parse", "HEAD")
    if top is None or commit is None or Path(os.fsdecode(top).strip()).resolve() != REPOSITORY:
        return Code()
    untracked = os.fsdecode(_git("ls-files", "--others", "--exclude-standard") or b"").splitlines()
    return Code(commit.decode().strip(), _git("diff", "--no-color", "--no-ext-diff", "HEAD") or b"", tuple(untracked))


def _git(*words: str) -> bytes | None:
    """Return the output of a git command; None if it fails or there is no git."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-C", str(REPOSITORY), *words]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_GIT_SECONDS, env=environment)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def record_run(
    config: Any,
    cfg_path: str | os.PathLike,
    directory: Path,
    phase: str,
    data: dict[str, int | str] | None = None,
    is_resumed: bool = False,
) -> None:
    """Write the merged configuration, and the record of code, machine and data.

    Call it after all inputs are accepted: a refused command must not replace the record of an earlier run.

    Args:
        config: the merged configuration.
        cfg_path: the YAML file of the command line.
        directory: of start_run().
        phase: one of PHASES.
        data: data_fingerprint() of the training data.
        is_resumed: keep the records of the earlier starts.
    """
    record_config(config, directory, phase)
    earlier = read_records(directory, phase) if is_resumed else []
    for old in () if is_resumed else directory.glob(CODE_NAME.format(phase=phase, number="[0-9]*")):
        old.unlink()
    code = current_code()
    patch = None
    if code.patch:
        patch = CODE_NAME.format(phase=phase, number=len(earlier) + 1)
        rest = len(code.patch) - MAX_PATCH_BYTES
        end = f"\n# {rest} more bytes are not stored\n".encode() if rest > 0 else b""
        write_bytes(directory / patch, code.patch[:MAX_PATCH_BYTES] + end)
    entry = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(["python", *sys.argv]),
        "directory": Path.cwd(),
        "yaml": _yaml_name(cfg_path),
        "code": {
            "commit": code.commit,
            "changes": code.changes,
            "patch": patch,
            "untracked": list(code.untracked[:_MAX_UNTRACKED]),
        },
        "versions": package_versions(_PACKAGES),
        "hardware": {**hardware(), "processes": int(os.environ.get("WORLD_SIZE", "1"))},
        "seed": config.SEED,
        "data": data,
    }
    write_json(directory / RECORD_NAME.format(phase=phase), [*earlier, entry])


def read_records(directory: Path, phase: str) -> list[dict[str, Any]]:
    """Return the records of a directory, the newest last; [] if there are none, as in older directories."""
    try:
        records = read_json(directory / RECORD_NAME.format(phase=phase))
    except InputError:  # missing or damaged; nothing depends on it
        return []
    is_valid = isinstance(records, list) and all(isinstance(record, dict) for record in records)
    return records if is_valid else []


def _yaml_name(cfg_path: str | os.PathLike) -> str:
    """Return the path of a YAML, relative to the repository if it is in it."""
    path = Path(cfg_path).resolve()
    return str(path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path)


def warn_of_other_code(directory: Path) -> None:
    """Warn, in one line, if the training in a directory was started with other code than the current one."""
    records = read_records(directory, "train")
    stored = records[-1].get("code", {}) if records else {}
    code = current_code()
    if not stored.get("commit") or code.commit is None:
        return
    if (stored["commit"], stored.get("changes")) != (code.commit, code.changes):
        texts = [_code_text(stored["commit"], stored.get("changes")), _code_text(code.commit, code.changes)]
        logger.warning("%s: resumed with other code (then -> now): %s", directory, " -> ".join(texts))


def _code_text(commit: str, changes: str | None) -> str:
    return f"{commit[:10]}{f' with changes {changes}' if changes else ''}"


def check_same_experiment(config: Any, cfg_path: str | os.PathLike, directory: Path, resumes: bool = False) -> None:
    """Check that a training does not replace or continue another experiment.

    The experiment of a directory is what its config_train.yaml says; it counts as soon as there are weights.

    Args:
        config: the merged configuration.
        cfg_path: the YAML file of the command line.
        directory: the run directory.
        resumes: the training continues the one in the directory; keys of scope "training" may change, unless the YAML
            is another one.

    Raises:
        InputError: the directory has weights of a training with other settings.
    """
    trained = stored_configuration(directory, "train") if _has_weights(directory) else None
    if trained is None:
        return
    source = _trained_from(directory, cfg_path)
    keys = keys_with_scope("weights") if resumes and not source else keys_with_scope("weights", "training")
    changed = changed_values(trained, config, keys - _SPEED_KEYS)
    if changed:
        raise InputError(
            f"{directory}: holds another training{source} (then -> now): {_list(changed)}; "
            f"{_remedy(config, cfg_path, directory, changed)}"
        )


def check_same_data(config: Any, cfg_path: str | os.PathLike, directory: Path, data: dict[str, int | str]) -> None:
    """Check that a training from the beginning does not replace a training on other data; as check_same_experiment().

    Args:
        data: data_fingerprint() of the training data.

    Raises:
        InputError: the directory has weights that were trained on other data.
    """
    records = read_records(directory, "train") if _has_weights(directory) else []
    stored = records[-1].get("data") if records else None
    if stored not in (None, data):
        raise InputError(
            f"{directory}: holds a training on other data ({stored['groups']} groups, now {data['groups']}); "
            f"{_remedy(config, cfg_path, directory, {})}"
        )


def log_other_runs(config: Any, cfg_path: str | os.PathLike, directory: Path) -> None:
    """Log in one line that a new training of a YAML has another directory, because its data set or network changed.

    Args:
        config: the merged configuration.
        cfg_path: the YAML file of the command line.
        directory: the run directory.
    """
    if _has_weights(directory):
        return
    places = sorted(Path(config.OUTPUT_DIR).glob(f"*/*/{glob.escape(directory.name)}"))
    same_yaml = [place for place in places if read_records(place, "train") and not _trained_from(place, cfg_path)]
    others = [str(place) for place in same_yaml if place != directory]
    if others:
        text = "new run: trainings of this YAML with another DATASET.TRAIN_DATASET or network are in %s"
        logger.info(text, all_or_some(others))


def _has_weights(directory: Path) -> bool:
    return any((directory / name).is_file() for name in (CHECKPOINT_NAME, BEST_NAME, FINAL_NAME))


def _remedy(config: Any, cfg_path: str | os.PathLike, directory: Path, changed: dict[str, str]) -> str:
    name = _free_name(config, cfg_path, directory, changed)
    return f"add NAME {name} to the --opts of all commands of this one, or remove the directory"


def check_evaluates_own_training(config: Any, cfg_path: str | os.PathLike, directory: Path) -> None:
    """Check that the weights of a run directory were not trained with another YAML of the same name.

    Args:
        config: the merged configuration.
        cfg_path: the YAML file of the command line.
        directory: the run directory, or the directory of an evaluation.

    Raises:
        InputError: the training had another YAML and other settings of the network, its targets or its data.
    """
    directory = run_of(directory)
    trained = stored_configuration(directory, "train")
    source = _trained_from(directory, cfg_path)
    if trained is None or not source:
        return
    changed = changed_values(trained, config, keys_with_scope("weights") - evaluation_keys())
    if changed:
        raise InputError(
            f"{directory}: holds the training{source} (then -> now): {_list(changed)}; evaluate that YAML, or the NAME "
            f"that {cfg_path} was trained under"
        )


def _trained_from(directory: Path, cfg_path: str | os.PathLike) -> str:
    """Return " of <YAML>" if a training had another YAML, as far as it is recorded; else ""."""
    records = read_records(directory, "train")
    yaml = records[-1].get("yaml") if records else None
    return f" of {yaml}" if yaml not in (None, _yaml_name(cfg_path)) else ""


def _list(changed: dict[str, str]) -> str:
    rest = len(changed) - _MAX_SHOWN
    return ", ".join([*list(changed.values())[:_MAX_SHOWN], *([f"{rest} more"] if rest > 0 else [])])


def _free_name(config: Any, cfg_path: str | os.PathLike, directory: Path, changed: dict[str, str]) -> str:
    """Return an unused NAME: with the seed if only that differs, else with a number."""
    base = config.NAME or run_name(cfg_path)
    seed = [f"{base}_seed{config.SEED}"] if changed.keys() == {"SEED"} else []
    names = chain(seed, (f"{base}_{number}" for number in count(2)))
    return next(name for name in names if not directory.with_name(name).exists())
