"""Links of all Markdown pages: relative targets, anchors and images exist. Nothing is built or downloaded."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cvf_tests.scripts import REPOSITORY

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def _pages() -> list[Path]:
    folders = ("", "docs", "tests", "data", "models", "output", "log")
    return sorted(page for folder in folders for page in (REPOSITORY / folder).glob("*.md"))


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub and mkdocs give to the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", _pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_point_to_existing_targets(page):
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(REPOSITORY), f"{link}: outside the repository"
        assert target.exists(), f"{link}: no such file"
        assert not anchor or anchor in _anchors(target), f"{link}: no such heading"


def test_links_of_docs_leave_the_folder_only_for_results():
    """The site holds docs/ and RESULTS.md; docs/hooks.py rewrites links to the latter."""
    for page in (REPOSITORY / "docs").glob("*.md"):
        links = _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8")))
        assert {link.partition("#")[0] for link in links if link.startswith("..")} <= {"../RESULTS.md"}, page.name


def test_images_are_all_used():
    pages = "".join(page.read_text(encoding="utf-8") for page in _pages())
    command = ["git", "ls-files", "docs/images"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in listed if Path(name).name not in pages] == []
