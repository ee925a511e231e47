"""Hooks of mkdocs: RESULTS.md, which is outside docs/, becomes the page results.md."""

from pathlib import Path

from mkdocs.structure.files import File

RESULTS = Path(__file__).resolve().parents[1] / "RESULTS.md"


def on_files(files, config):
    """Add the page; its links to docs/ become relative to the page."""
    text = RESULTS.read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "results.md", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Let links to RESULTS.md point to the page."""
    return markdown.replace("](../RESULTS.md", "](results.md")
