"""What a check found: a heading, a table, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

ERROR = "error"
WARNING = "warning"
NOTE = "note"
_LABELS = {ERROR: "**WRONG**", WARNING: "**Warning**", NOTE: "Note"}


@dataclass(frozen=True)
class Finding:
    """One thing to know.

    Attributes:
        level: "error" (training on it would be wrong), "warning" (look at it) or "note".
        text: what, where, and what to do.
    """

    level: str
    text: str


@dataclass
class Section:
    """The result of one check.

    Attributes:
        title: heading.
        body: Markdown between heading and findings.
        findings: what it found.
        unjudged: what it could not look into, and why.
    """

    title: str
    body: str = ""
    findings: list[Finding] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)

    def add(self, level: str, text: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(level, text))

    def not_judged(self, text: str) -> None:
        """Note what could not be looked into; the verdict repeats it, for silence would read as a pass."""
        self.unjudged.append(text)
        self.add(NOTE, f"not judged: {text}")

    def markdown(self) -> str:
        """Format the section."""
        lines = "\n".join(f"- {_LABELS[finding.level]}: {finding.text}" for finding in self.findings)
        return "\n\n".join(part for part in (f"## {self.title}", self.body, lines) if part)


def count_level(sections: Iterable[Section], level: str) -> int:
    """Return how many findings have a level."""
    return sum(finding.level == level for section in sections for finding in section.findings)
