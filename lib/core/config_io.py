"""Reading configurations: defaults <- BASE <- YAML <- --opts. Keys, types and values are checked."""

import difflib
import io
import logging
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from easydict import EasyDict

from lib.core.config import DEFAULTS, UNUSED, Key, all_keys
from lib.models.registry import fusion_name
from lib.utils.errors import InputError, all_or_some, brief, unknown_name
from lib.utils.files.atomic import expanded_path, read_text, write_bytes

logger = logging.getLogger(__name__)

MAX_SHOWN = 80  # characters of a value in a message
_PLAIN_NAME = re.compile(r"(?!\.+$)[\w.+,=-]+")
_BOOLEAN_WORDS = {False: ("off", "no", "false"), True: ("on", "yes", "true")}  # YAML 1.1 reads these words as booleans
# PyYAML raises more than its own errors, for invalid dates and numbers (`2024-13-45`, `!!int x`) and deep nesting.
_YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


def load_config(path: str | os.PathLike, opts: Sequence[str] = ()) -> EasyDict:
    """Read an experiment.

    Args:
        path: YAML file. A top-level `BASE: other.yaml`, relative to the file, is read first.
        opts: KEY VALUE pairs in YAML syntax, e.g. ["TRAIN.LR", "1e-4"].

    Returns:
        The merged configuration with every key of lib/core/config.py.

    Raises:
        InputError: missing or unreadable file, unknown key, or invalid value.
    """
    config = EasyDict(_nested((name, plain_config(key.default)) for name, key in all_keys()))
    unused: set[str] = set()
    for file, values in _read_chain(Path(path)):
        config.NAME = ""  # not inherited: two experiments would share a run directory
        _merge(config, values, str(file), unused)
    _merge_opts(config, opts, unused)
    if unused:
        logger.warning("keys without effect, ignored: %s", ", ".join(sorted(unused)))
    if config.NAME and not _PLAIN_NAME.fullmatch(config.NAME):
        raise InputError(
            f"{path}: NAME: expected a file name of letters, digits and . _ - + = , received {_shown(config.NAME)}"
        )
    if config.TEST.POST_PROCESS and config.TEST.PEAK_MODE == "log_quadratic":
        raise InputError(
            f"{path}: TEST.POST_PROCESS: expected false with TEST.PEAK_MODE log_quadratic, received true, which means "
            "PEAK_MODE quarter; set one of them"
        )
    return config


def stored_config(values: Mapping[str, Any], opts: Sequence[str] = ()) -> EasyDict:
    """Return a configuration that was stored as plain values, e.g. in a checkpoint of any version.

    Args:
        values: as plain_config() returns it; missing keys have their defaults.
        opts: as in load_config().

    Raises:
        InputError: unknown key, or invalid value.
    """
    config = EasyDict(_nested(flat_values(values).items()))
    _merge_opts(config, opts, set())
    return config


def _merge_opts(config: EasyDict, opts: Sequence[str], unused: set[str]) -> None:
    if len(opts) % 2:
        raise InputError(
            f"--opts: expected KEY VALUE pairs, received {len(opts)} words; the last is '{opts[-1]}'"
            f"{next(filter(None, map(_list_hint, opts)), '')}"
        )
    for key, text in zip(opts[::2], opts[1::2], strict=True):
        _merge(config, _nested([(key, _parse_value(key, text))]), "--opts", unused)


def dump_config(config: EasyDict, path: str | os.PathLike) -> None:
    """Write the merged configuration as a YAML file that loads again."""
    write_bytes(path, yaml.safe_dump(plain_config(config), sort_keys=False, default_flow_style=None).encode())


def comparable_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat_values() with NETWORK.AGGRE resolved into NETWORK.FUSION."""
    values = flat_values(config)
    network = EasyDict({key: values.pop(f"NETWORK.{key}") for key in ("AGGRE", "FUSION")})
    return {**values, "NETWORK.FUSION": fusion_name(network)}


def changed_values(then: Mapping[str, Any], now: Mapping[str, Any], keys: Collection[str]) -> dict[str, str]:
    """Return dotted name -> "NAME then -> now" of the keys that differ between two configurations of any version."""
    before = comparable_values(then)
    after = comparable_values(now)
    return {
        name: f"{name} {before[name] or repr(before[name])} -> {after[name] or repr(after[name])}"
        for name in after
        if name in keys and before[name] != after[name]
    }


def read_config(path: Path) -> dict[str, Any]:
    """Read a file of dump_config() of any version, for flat_values().

    Raises:
        InputError: missing or unreadable file.
    """
    return _read_yaml(path)


def dataset_root(config: EasyDict) -> Path:
    """Return DATA_DIR/DATASET.ROOT."""
    return Path(config.DATA_DIR) / config.DATASET.ROOT


def plain_config(value: Any) -> Any:
    """Copy a configuration, or a part of it, into plain dictionaries and lists."""
    if isinstance(value, Mapping):
        return {name: plain_config(entry) for name, entry in value.items()}
    return [plain_config(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def flat_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted name -> value of every key, for configurations of any version.

    Args:
        config: a configuration, e.g. of a checkpoint. Missing keys have their defaults; former names and values are
            translated.
    """
    values = {}
    for name, key in all_keys():
        stored = [found for one in (*key.former_names, name) if (found := _value_at(config, one)) is not None]
        value = plain_config(stored[-1] if stored else key.default)
        if isinstance(key.default, str):
            value = _word_of_boolean(key, value)
        values[name] = key.former_values.get(value, value) if isinstance(value, str) else value
    return values


def _value_at(config: Mapping[str, Any], name: str) -> Any:
    """Return the value of a dotted name, None if it is missing."""
    for part in name.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def _nested(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return (dotted name, value) pairs as nested dictionaries."""
    nested: dict[str, Any] = {}
    for name, value in values:
        *sections, last = name.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return nested


def _read_chain(path: Path, seen: tuple[Path, ...] = ()) -> Iterator[tuple[Path, dict]]:
    """Yield (file, values) from the outermost BASE to the file itself."""
    if path.resolve() in seen:
        raise InputError(f"{path}: BASE leads back to itself")
    values = _read_yaml(path)
    base = values.pop("BASE", None)
    if base is not None:
        if not isinstance(base, str) or "\0" in base:
            raise InputError(f"{path}: BASE: expected a file name, received {_shown(base)}")
        yield from _read_chain(path.parent / expanded_path(base, f"{path}: BASE"), (*seen, path.resolve()))
    yield path, values


class _ReportRepeatedKeys:
    """Report repeated keys; YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()  # PyYAML refuses `!!map text`
        names = [key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)]
        for name in {name for name in names if names.count(name) > 1}:
            logger.warning("%s: '%s' occurs twice; the last one counts", node.start_mark.name, name)
        return super().construct_mapping(node, deep)


class _Loader(_ReportRepeatedKeys, yaml.SafeLoader):
    pass


class _FastLoader(_ReportRepeatedKeys, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    pass


def _parse_yaml(text: str, name: str) -> Any:
    file = io.StringIO(text, newline=None)
    file.name = name  # for the messages of PyYAML
    try:
        return yaml.load(file, _FastLoader)  # experiments load hundreds of configurations
    except yaml.YAMLError:
        file.seek(0)
        return yaml.load(file, _Loader)  # clearer errors, and text that libyaml refuses


def _read_yaml(path: Path) -> dict:
    try:
        values = _parse_yaml(read_text(path), str(path))
    except _YAML_ERRORS as error:
        raise InputError(f"{path}: not YAML ({brief(error)})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected KEY: value lines, received {type(values).__name__}")
    return values


def _parse_value(name: str, text: str) -> Any:
    key = dict(all_keys()).get(name)
    if key and isinstance(key.default, str) and text[:1] not in ("'", '"'):
        return text  # YAML would read 2024_01_02 as a number and cut 'a #1' short
    try:
        return yaml.safe_load(text)
    except _YAML_ERRORS:
        raise InputError(f"--opts: {name}: {_shown(text)} is not a YAML value{_list_hint(text)}") from None


def _list_hint(word: str) -> str:
    """Return advice if `word` begins a list that the shell has split at its spaces."""
    return "; write a list as one word: '[7, 8]'" if word[:1] == "[" and word[-1:] == "," else ""


def _merge(config: EasyDict, values: Mapping[str, Any], where: str, unused: set[str]) -> None:
    """Copy checked values into the configuration.

    Args:
        config: the configuration, changed in place.
        values: nested values of one source.
        where: name of the source in messages.
        unused: names of keys without effect, extended in place.
    """
    keys = dict(all_keys())
    renamed = {former: name for name, key in keys.items() for former in key.former_names}
    for name, value in _entries(values, DEFAULTS, where, renamed.keys() | UNUSED):
        if name in UNUSED:
            unused.add(name)
            continue
        if name in renamed:
            logger.warning("%s: %s is now %s", where, name, renamed[name])
            name = renamed[name]
        *sections, last = name.split(".")
        place = config
        for section in sections:
            place = place[section]
        place[last] = _convert(keys[name], value, f"{where}: {name}")


def _entries(
    values: Mapping[str, Any], schema: Mapping[str, Any], where: str, former: Collection[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of all keys, known or in `former`."""
    for name, value in values.items():
        full_name = f"{prefix}{name}"
        if full_name in former or isinstance(schema.get(name), Key):
            yield full_name, value
        elif name not in schema:
            raise _unknown_key(full_name, schema, where)
        elif isinstance(value, dict):
            yield from _entries(value, schema[name], where, former, f"{full_name}.")
        elif value is not None:  # an empty section in YAML is None
            raise InputError(f"{where}: {full_name}: expected a section with keys, received {_shown(value)}")


def _unknown_key(name: str, schema: Mapping[str, Any], where: str) -> InputError:
    """Suggest the key of that name in another section, else the one of the section with the nearest name or meaning."""
    section, _, last = name.rpartition(".")
    asked = last.upper()
    known_names = [known for known, _ in all_keys()]
    if name in known_names:  # `TRAIN.LR: 0.1` on one line
        first, rest = name.split(".", 1)
        nested = f"{first}: {{{rest.replace('.', ': {')}: ...{'}' * name.count('.')}"
        return InputError(f"{where}: {name}: expected nested sections, received a name with dots; write {nested}")
    inside = {known: f"{section}.{known}" if section else known for known in schema}
    meanings: dict[str, str] = {}  # the beginning of each meaning, e.g. LEARNING_RATE -> TRAIN.LR
    for known, key in all_keys():
        if known.startswith(section):
            meanings.setdefault(key.help.upper().replace(" ", "_")[: len(asked) + 2], known)
    attempts = ((inside, 0.8), (meanings, 0.9), (inside, 0.5))
    near = [names[text] for names, cutoff in attempts for text in difflib.get_close_matches(asked, names, 1, cutoff)]
    elsewhere = [known for known, _ in all_keys() if known.rpartition(".")[2] == asked]
    if asked not in inside and elsewhere:
        hint = f"did you mean '{elsewhere[0]}'?"
    else:
        hint = f"did you mean '{near[0]}'?" if near else f"known: {all_or_some(inside.values())}"
    return InputError(f"unknown key '{name}' in {where}; {hint}")


def _convert(key: Key, value: Any, where: str) -> Any:
    """Return a value in the type of its key, after checking it."""
    if key.is_size:
        pair = value if isinstance(value, list) else [value, value]
        if len(pair) != 2:
            raise InputError(f"{where}: expected [width, height] or one integer, received {_shown(value)}")
        return [_scalar(key, 0, item, where) for item in pair]
    if isinstance(key.default, list):
        items = value if isinstance(value, list) else [value]
        example = key.default[0] if key.default else key.item
        return [_scalar(key, example, item, where) for item in items]
    return _scalar(key, key.default, value, where)


def _scalar(key: Key, example: Any, value: Any, where: str) -> Any:
    if isinstance(example, str):
        value = _word_of_boolean(key, value)
    try:
        converted = _as_type(example, value)
    except (ValueError, OverflowError):
        converted = None
    if converted is None:
        names = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
        raise InputError(f"{where}: expected {names[type(example)]}, received {_shown(value)}")
    if converted in key.former_values:
        logger.warning("%s: the value '%s' is now '%s'", where, converted, key.former_values[converted])
        converted = key.former_values[converted]
    if key.is_path:
        converted = expanded_path(converted, where)
    if key.allowed and converted not in key.allowed:
        raise unknown_name("value", converted, [str(choice) for choice in key.allowed], where)
    if key.minimum is not None and not converted >= key.minimum:
        raise InputError(f"{where}: expected at least {key.minimum:g}, received {_shown(value)}")
    if key.below is not None and not converted < key.below:
        raise InputError(f"{where}: expected less than {key.below:g}, received {_shown(value)}")
    return converted


def _word_of_boolean(key: Key, value: Any) -> Any:
    """Return the word that YAML 1.1 or an earlier version of the key means by a boolean; other values stay."""
    if not isinstance(value, bool):
        return value
    return next((word for word in _BOOLEAN_WORDS[value] if word in key.allowed), value)


def _as_type(example: Any, value: Any) -> Any:
    """Return `value` in the type of `example`; None, a ValueError or an OverflowError if it does not fit."""
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


def _shown(value: Any) -> str:
    """Return a value as one short line."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of more than 4300 digits
        return "an integer of too many digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
