"""Loading a configuration: defaults <- BASE <- YAML <- --opts, with strict keys and types."""

from __future__ import annotations

import difflib
import logging
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from easydict import EasyDict

from lib.core.config import DEFAULTS, UNUSED, Key
from lib.utils.errors import InputError, unknown_name
from lib.utils.files.atomic import write_bytes

logger = logging.getLogger(__name__)

MAX_SHOWN = 80  # characters of a value in a message
_PLAIN_NAME = re.compile(r"(?!\.+$)[\w.+,=-]+")
_BOOLEAN_WORDS = {False: ("off", "no"), True: ("on", "yes")}  # that YAML 1.1 takes for false and true


def load_config(path: str | os.PathLike, opts: Sequence[str] = ()) -> EasyDict:
    """Read an experiment.

    Args:
        path: YAML file; a top-level `BASE: other.yaml` (relative to the file) is read first.
        opts: KEY VALUE pairs such as ["TRAIN.LR", "1e-4"]; values are written as in YAML.

    Returns:
        The merged configuration, every key of lib/core/config.py present.

    Raises:
        InputError: missing or unreadable file, unknown key, wrong type or value; one line with key and file.
    """
    config = _defaults(DEFAULTS)
    unused: list[str] = []
    for file, values in _read_chain(Path(path)):
        config.NAME = ""  # two experiments of one name would share a run directory
        _merge(config, values, DEFAULTS, (), str(file), unused)
    if len(opts) % 2:
        raise InputError(
            f"--opts: expected KEY VALUE pairs, received {len(opts)} words; the last is '{opts[-1]}'"
            f"{next(filter(None, map(_list_hint, opts)), '')}"
        )
    for key, text in zip(opts[::2], opts[1::2], strict=True):
        values = _parse_value(key, text)
        for part in reversed(key.split(".")):
            values = {part: values}
        _merge(config, values, DEFAULTS, (), "--opts", unused)
    if unused:
        names = ", ".join(sorted(set(unused)))
        logger.warning("keys without effect (the released code did not read them either): %s", names)
    if config.NAME and not _PLAIN_NAME.fullmatch(config.NAME):
        raise InputError(
            f"{path}: NAME: expected a plain file name of letters, digits and . _ - + = , received "
            f"{_shown(config.NAME)}"
        )
    if config.TEST.POST_PROCESS and config.TEST.PEAK_MODE == "log_quadratic":
        raise InputError(
            f"{path}: TEST.POST_PROCESS true means the quarter-px shift, TEST.PEAK_MODE is log_quadratic; "
            "set one of them"
        )
    return config


def dump_config(config: EasyDict, path: str | os.PathLike) -> None:
    """Write the merged configuration as a YAML file that loads again."""
    write_bytes(path, yaml.safe_dump(plain_config(config), sort_keys=False, default_flow_style=None).encode())


def dataset_root(config: EasyDict) -> Path:
    """Return DATA_DIR/DATASET.ROOT."""
    return Path(config.DATA_DIR) / config.DATASET.ROOT


def changed_values(config: dict, schema: dict[str, Any] = DEFAULTS) -> dict[str, Any]:
    """Return what differs from the defaults, as nested plain values: keys that come later do not change it."""
    changed = {}
    for name, entry in schema.items():
        value = changed_values(config[name], entry) if isinstance(entry, dict) else plain_config(config[name])
        if value != ({} if isinstance(entry, dict) else plain_config(entry.default)):
            changed[name] = value
    return changed


def plain_config(value: Any) -> Any:
    """Copy a configuration, nested dictionaries and lists, as plain ones."""
    if isinstance(value, dict):
        return {key: plain_config(entry) for key, entry in value.items()}
    return [plain_config(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _defaults(schema: dict[str, Any]) -> EasyDict:
    plain = {name: _defaults(entry) if isinstance(entry, dict) else entry.default for name, entry in schema.items()}
    return EasyDict(plain_config(plain))


def _read_chain(path: Path, seen: tuple[Path, ...] = ()) -> Iterator[tuple[Path, dict]]:
    """Yield (file, values) from the outermost BASE to the file itself."""
    if path.resolve() in seen:
        raise InputError(f"{path}: BASE leads back to itself")
    values = _read_yaml(path)
    base = values.pop("BASE", None)
    if base is not None:
        if not isinstance(base, str) or "\0" in base:
            raise InputError(f"{path}: BASE: expected a file name, received {_shown(base)}")
        yield from _read_chain(path.parent / base, (*seen, path.resolve()))
    yield path, values


class _Loader(yaml.SafeLoader):
    """SafeLoader that reports a repeated key, of which YAML keeps the last in silence."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()  # `!!map text` is refused by PyYAML
        names = [key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)]
        for name in {name for name in names if names.count(name) > 1}:
            logger.warning("%s: '%s' stands twice; the last one counts", self.name, name)
        return super().construct_mapping(node, deep)


# What PyYAML raises beside its own errors: dates and numbers that are none (`2024-13-45`, `!!int x`, 5000 digits) and
# lists within lists within lists.
_YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


def _read_yaml(path: Path) -> dict:
    try:
        with path.open(encoding="utf-8") as file:
            values = yaml.load(file, _Loader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except _YAML_ERRORS as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected KEY: value lines, received {type(values).__name__}")
    return values


def _parse_value(key: str, text: str) -> Any:
    entry: Any = DEFAULTS
    for part in key.split("."):
        entry = entry.get(part) if isinstance(entry, dict) else None
    is_text = isinstance(entry, Key) and isinstance(entry.default, str)
    if is_text and text[:1] not in ("'", '"'):
        return text  # as it stands: YAML would read 2024_01_02 as a number and cut 'a #1' short
    try:
        return yaml.safe_load(text)
    except _YAML_ERRORS:
        raise InputError(f"--opts: {key}: {_shown(text)} is not a YAML value{_list_hint(text)}") from None


def _list_hint(word: str) -> str:
    """What to do where the shell has split a list at its blanks; nothing for other words."""
    return "; write a list as one word: '[7, 8]'" if word[:1] == "[" and word[-1:] == "," else ""


def _merge(config: dict, values: dict, schema: dict, prefix: tuple[str, ...], where: str, unused: list[str]) -> None:
    for name, value in values.items():
        key = ".".join((*prefix, str(name)))
        if key in UNUSED:
            unused.append(key)
        elif name not in schema:
            raise _unknown_key(key, schema, where)
        elif isinstance(schema[name], Key):
            config[name] = _convert(schema[name], value, f"{where}: {key}")
        elif isinstance(value, dict):
            _merge(config[name], value, schema[name], (*prefix, name), where, unused)
        elif value is not None:  # an empty section in YAML is None
            raise InputError(f"{where}: {key}: expected a section with keys, received {_shown(value)}")


def _unknown_key(key: str, schema: dict, where: str) -> InputError:
    """Name the key of that name in another section, else the nearest one of the section."""
    section, _, name = key.rpartition(".")
    inside = {known: f"{section}.{known}" if section else known for known in schema}
    near = difflib.get_close_matches(name.upper(), inside, n=1, cutoff=0.5)
    elsewhere = [known for known in _key_names(DEFAULTS) if known.rpartition(".")[2] == name.upper()]
    if name.upper() not in inside and elsewhere:
        hint = f"did you mean '{elsewhere[0]}'?"
    else:
        hint = f"did you mean '{inside[near[0]]}'?" if near else f"known: {', '.join(inside.values())}"
    return InputError(f"unknown key '{key}' in {where}; {hint}")


def _key_names(schema: dict, prefix: str = "") -> Iterator[str]:
    for name, entry in schema.items():
        if isinstance(entry, dict):
            yield from _key_names(entry, f"{prefix}{name}.")
        else:
            yield prefix + name


def _convert(entry: Key, value: Any, where: str) -> Any:
    """Check a value against its key and return it in the key's type."""
    if entry.is_size:
        pair = [value, value] if not isinstance(value, list) else value
        if len(pair) != 2:
            raise InputError(f"{where}: expected [width, height] or one integer, received {_shown(value)}")
        return [_scalar(entry, 0, item, where) for item in pair]
    if isinstance(entry.default, list):
        items = value if isinstance(value, list) else [value]
        example = entry.default[0] if entry.default else entry.item
        return [_scalar(entry, example, item, where) for item in items]
    return _scalar(entry, entry.default, value, where)


def _scalar(entry: Key, example: Any, value: Any, where: str) -> Any:
    if isinstance(example, str) and isinstance(value, bool):  # YAML 1.1 reads the word off as false
        value = next((word for word in _BOOLEAN_WORDS[value] if word in entry.allowed), value)
    try:
        converted = _as_type(example, value)
    except (ValueError, OverflowError):  # no number, or larger than any; text that is no file name
        converted = None
    if converted is None:
        names = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
        raise InputError(f"{where}: expected {names[type(example)]}, received {_shown(value)}")
    if entry.allowed and converted not in entry.allowed:
        raise unknown_name("value", converted, [str(choice) for choice in entry.allowed], where)
    if entry.minimum is not None and not converted >= entry.minimum:
        raise InputError(f"{where}: expected at least {entry.minimum:g}, received {_shown(value)}")
    if entry.below is not None and not converted < entry.below:
        raise InputError(f"{where}: expected less than {entry.below:g}, received {_shown(value)}")
    return converted


def _shown(value: Any) -> str:
    """Return a value for a message of one line, whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of more than 4300 digits
        return "an integer of too many digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _as_type(example: Any, value: Any) -> Any:
    """Return `value` in the type of `example`, None or a ValueError or OverflowError where it does not fit."""
    if isinstance(example, bool):
        return value if isinstance(value, bool) else None
    if isinstance(example, str):
        # `GPUS: 0` is common; an empty value means ''.
        if value is not None and (not isinstance(value, (str, int)) or isinstance(value, bool)):
            return None
        text = "" if value is None else str(value)
        text.encode()
        return None if "\0" in text else text
    if isinstance(value, str):  # PyYAML reads 1e-3 as text
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    if isinstance(example, int):
        return int(value) if float(value).is_integer() else None
    return float(value)
