"""Pages for users: limits of the README, names of files, keys and flags, sentence length, navigation of the site."""

from __future__ import annotations

import ast
import importlib
import re
from itertools import product
from pathlib import Path

import pytest
import yaml
from cvf_tests.scripts import REPOSITORY

from lib.core.config import UNUSED, all_keys

PAGES = sorted([REPOSITORY / "README.md", REPOSITORY / "tests/README.md", *(REPOSITORY / "docs").glob("*.md")])
MAX_SENTENCE_WORDS = 30
MAX_README_WORDS = 1500
MAX_README_LINES = 150
FOLDERS = ("lib/", "run/", "tests/", "benchmarks/", "experiments-local/", "experiments-philly/", "docs/")

per_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _alternatives(name: str) -> list[str]:
    """Expand {a,b} as a shell does."""
    parts = re.split(r"\{([^}]*)\}", name)
    choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def test_readme_stays_short():
    text = _read(REPOSITORY / "README.md")
    assert len(text.split()) <= MAX_README_WORDS
    assert len(text.splitlines()) <= MAX_README_LINES


@per_page
def test_paths_named_in_pages_exist(page):
    text = _read(page)
    words = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    words += [line for block in re.findall(r"```\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    for name in {part for word in words for part in re.split(r"[\s;]+", word) if part.startswith(FOLDERS)}:
        for path in _alternatives(name.strip(",:()").split("::")[0]):
            if "..." not in path:
                assert list(REPOSITORY.glob(path.rstrip("/"))), f"{path}: no such file"


@per_page
def test_keys_named_in_pages_exist(page):
    """A key is SECTION.KEY; bare keys of a table or list are not checked."""
    known = UNUSED | {name for name, _ in all_keys()} | {former for _, key in all_keys() for former in key.former_names}
    sections = {name.partition(".")[0] for name in known if "." in name}
    named = set(re.findall(r"\b([A-Z_]+\.[A-Z_0-9]+)\b", _read(page)))
    assert {name for name in named if name.partition(".")[0] in sections} <= known


@per_page
def test_flags_named_in_pages_exist(page):
    sources = [*(REPOSITORY / "run").rglob("*.py"), *(REPOSITORY / "lib/core").rglob("*.py")]
    code = "".join(_read(source) for source in sources)
    commands = re.findall(r"^python run/.*(?:\\\n.*)*", _read(page), flags=re.MULTILINE)
    flags = {flag for command in commands for flag in re.findall(r" (--[a-z][\w-]*)", command)}
    assert [flag for flag in sorted(flags) if f'"{flag}"' not in code] == []


@per_page
def test_imports_in_pages_exist(page):
    for block in re.findall(r"```python\n(.*?)```", _read(page), flags=re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@per_page
def test_make_targets_named_in_pages_exist(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", _read(REPOSITORY / "Makefile"), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", _read(page), flags=re.MULTILINE))
    assert named <= targets


@per_page
def test_sentences_are_short(page):
    text = re.sub(r"```.*?```", "", _read(page), flags=re.DOTALL)
    text = re.sub(r"^(\||#|!).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*] |\d+\. ))", text):
        for sentence in re.split(r"(?<=[.!?:;])\s+", " ".join(paragraph.split())):
            assert len(sentence.split()) <= MAX_SENTENCE_WORDS, sentence


def test_every_page_is_in_the_navigation():
    sections = yaml.safe_load(_read(REPOSITORY / "mkdocs.yml"))["nav"]
    named = set()
    for section in sections:
        for value in section.values():
            named |= {value} if isinstance(value, str) else {name for entry in value for name in entry.values()}
    existing = {page.name for page in (REPOSITORY / "docs").glob("*.md")} | {"results.md"}
    assert existing == named
