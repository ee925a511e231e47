"""Result files of the tables, and the figures of a results page as such files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lib.core.experiments.paper_tables import (
    ALL_LABELS_TEXT,
    DATA_TEXT,
    FREE_TEXT,
    KIND_TEXT,
    METHOD_TEXT,
    network_text,
)
from lib.core.experiments.plan import DEPTHS, DEPTHS_ROW, FREE_JOINTS, FUSION_COLUMNS, METHODS_3D, WITH_3D
from lib.core.experiments.seed_results import TABLE_1_JOINTS, VISIBILITY
from lib.core.report.paper_results import TABLE_3_COLUMNS
from lib.utils.joints import H36M_17

OTHER_JOINTS = [name for name in H36M_17.names if name not in FREE_JOINTS]


def write_2d(directory: Path, rates: Mapping[str, Mapping[str, float]]) -> None:
    """Write results_2d.json: visibility -> joint -> rate, 0 to 1."""
    directory.mkdir(parents=True, exist_ok=True)
    entries = {}
    for visibility, per_joint in rates.items():
        where = "" if visibility == "all" else f", {visibility} joints"
        mean = float(np.mean(list(per_joint.values())))
        entries[f"fused, crop threshold{where}"] = {"mean": mean, "per_joint": per_joint}
    (directory / "results_2d.json").write_text(json.dumps({"jdr": entries}))


def write_3d(directory: Path, errors: Mapping[str, Mapping], num_frames: int) -> None:
    """Write results_3d.json: method -> "frames": mm, "per_action": name -> mm, "per_joint": name -> mm."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        f"{method} (numpy)": {
            "num_frames": num_frames,
            "mpjpe": {"absolute": {"frames": entry.get("frames")}},
            **{
                part: {name: {"absolute": error} for name, error in entry.get(part, {}).items()}
                for part in ("per_action", "per_joint")
            },
        }
        for method, entry in errors.items()
    }
    (directory / "results_3d.json").write_text(json.dumps(content))


def page_tables(text: str) -> dict[str, dict[str, list[str]]]:
    """Return title of a section -> first cell -> other cells of its first table, which has our rows."""
    tables = {}
    for section in text.split("\n## ")[1:]:
        first = re.search(r"^\|.*?(?=\n\n|\Z)", section, re.MULTILINE | re.DOTALL)
        if first is None:
            continue
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first[0].splitlines()]
        tables[section.partition("\n")[0]] = {row[0]: row[1:] for row in rows[2:]}
    return tables


def write_page_figures(text: str, results: Mapping[str, Mapping[int, Path]], validation_text: str) -> None:
    """Write result files of seeds 0 and 1 that have the means and deviations of a page's tables.

    Args:
        text: the page.
        results: row -> seed -> run directory.
        validation_text: first cell of the validation set in the last table.
    """
    tables = list(page_tables(text).values())
    for seed in (0, 1):
        rates, errors = _figures(tables, seed, validation_text)
        for row, seeds in results.items():
            write_2d(
                seeds[seed],
                {where: {name: rate / 100 for name, rate in joints.items()} for where, joints in rates[row].items()},
            )
            if row in errors:
                write_3d(seeds[seed], errors[row], num_frames=180)


def _value(cell: str, seed: int) -> float:
    """Return mean - spread / sqrt(2) for seed 0, mean + spread / sqrt(2) for seed 1."""
    mean, _, spread = cell.partition(" ± ")
    return float(mean) + (2 * seed - 1) * float(spread or 0) / np.sqrt(2)


def _rates(free: float, every: float) -> dict[str, float]:
    """Return rates of 17 joints with given means over FREE_JOINTS and over all."""
    other = (17 * every - len(FREE_JOINTS) * free) / len(OTHER_JOINTS)
    return {**dict.fromkeys(FREE_JOINTS, free), **dict.fromkeys(OTHER_JOINTS, other)}


def _figures(tables: list[dict[str, list[str]]], seed: int, validation_text: str) -> tuple[dict, dict]:
    rate_table, error_table, action_table, depth_table, free_table, difficulty_table = tables
    rates: dict[str, dict] = {}
    errors: dict[str, dict] = {}

    def entry(row: str, method: str) -> dict:
        return errors.setdefault(row, {}).setdefault(method, {})

    for data in DATA_TEXT:
        for kind in KIND_TEXT:
            row = f"{data}/{kind}"
            label = network_text(kind, data)
            limbs = [_value(cell, seed) for cell in rate_table[label][:6]]
            every, occluded, visible = (_value(cell, seed) for cell in rate_table[label][7:])
            free = _value(free_table[ALL_LABELS_TEXT][5], seed) if row == DEPTHS_ROW else every
            joints = _rates(free, every)
            for names, rate in zip(TABLE_1_JOINTS.values(), limbs, strict=True):
                joints |= dict.fromkeys(names, rate)
            joints["root"] = len(FREE_JOINTS) * free - 2 * sum(limbs)
            free = _value(free_table[ALL_LABELS_TEXT][6], seed) if row == DEPTHS_ROW else occluded
            rates[row] = {"all": joints, "occluded": _rates(free, occluded), "visible": _rates(visible, visible)}
            if kind in WITH_3D:
                for method, cell in zip(METHODS_3D, error_table[label], strict=True):
                    entry(row, method)["frames"] = _value(cell, seed)
                    actions = action_table.get(f"{label}, {METHOD_TEXT[method]}", [])
                    entry(row, method)["per_action"] = dict(zip(TABLE_3_COLUMNS, map(float, actions), strict=False))
    for depth, cell in zip(DEPTHS, depth_table[network_text("fusion", "mixed")], strict=False):
        entry(DEPTHS_ROW, f"rpsm, depth {depth}")["frames"] = _value(cell, seed)
    for row, label in {**FREE_TEXT, DEPTHS_ROW: ALL_LABELS_TEXT}.items():
        for method, cell in zip(METHODS_3D, free_table[label], strict=False):
            entry(row, method)["per_joint"] = dict.fromkeys(FREE_JOINTS, _value(cell, seed))
        if row != DEPTHS_ROW:
            free, occluded = (_value(cell, seed) for cell in free_table[label][5:])
            rates[row] = {"all": _rates(free, free), "occluded": _rates(occluded, occluded)}
    for label, cells in difficulty_table.items():
        if label != validation_text:
            key = _test_set_key(label)
            for kind, cell in zip(FUSION_COLUMNS, cells, strict=False):
                if cell != "- / - / -":
                    triple = zip(VISIBILITY, map(float, cell.split(" / ")), strict=True)
                    rates[f"{key}/{kind}"] = {where: _rates(value, value) for where, value in triple}
            for kind, cell in zip(("single", "fusion", "adaptive"), cells[5:], strict=True):
                if cell != "-":
                    entry(f"{key}/{kind}", "rpsm")["frames"] = _value(cell, seed)
    for row in rates:
        errors.setdefault(row, {"rpsm": {"frames": 0.0}})
    return rates, errors


def _test_set_key(label: str) -> str:
    (number,) = re.findall(r"\d+", label)
    return f"rig1_v{number}" if label.startswith("unseen rig") else f"occluders{number}"
