"""Results of checks: sections with findings, and the report with its verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ERROR = "error"
WARNING = "warning"
NOTE = "note"
_LABELS = {ERROR: "**WRONG**", WARNING: "**Warning**", NOTE: "Note"}


@dataclass(frozen=True)
class Finding:
    """One finding of a check."""

    level: str  # "error" (training would be wrong), "warning" (worth a look) or "note"
    text: str  # what, where, and what to do


@dataclass
class Section:
    """Result of one check."""

    title: str  # heading
    body: str = ""  # Markdown between heading and findings
    findings: list[Finding] = field(default_factory=list)  # all findings
    unjudged: list[str] = field(default_factory=list)  # what could not be checked, and why

    def add(self, level: str, text: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(level, text))

    def not_judged(self, text: str) -> None:
        """Note what could not be checked. The verdict repeats it, since silence would read as a pass."""
        self.unjudged.append(text)
        self.add(NOTE, f"not judged: {text}")

    def markdown(self) -> str:
        """Format the section."""
        lines = "\n".join(f"- {_LABELS[finding.level]}: {finding.text}" for finding in self.findings)
        return "\n\n".join(part for part in (f"## {self.title}", self.body, lines) if part)


@dataclass(frozen=True)
class CheckResult:
    """Checks of one subset of one data set."""

    title: str  # data set and subset
    sections: list[Section]  # results of the checks
    sheet: Path | None  # contact sheet, None if an image of it could not be read

    @property
    def num_errors(self) -> int:
        """Number of errors."""
        return _count(self.sections, ERROR)


def _count(sections: Iterable[Section], level: str) -> int:
    return sum(finding.level == level for section in sections for finding in section.findings)


def report(results: Sequence[CheckResult], title: str) -> str:
    """Format results as Markdown that ends with the verdict."""
    parts = [f"# {title}"]
    for result in results:
        parts.append(f"# {result.title}")
        parts += [section.markdown() for section in result.sections]
        if result.sheet is not None:
            parts.append(f"![labels in the images]({result.sheet.name})")
    parts.append(f"# Verdict\n\n{verdict(results)}")
    return "\n\n".join(parts) + "\n"


def verdict(results: Sequence[CheckResult]) -> str:
    """List all errors and everything that could not be judged."""
    warnings = sum(_count(result.sections, WARNING) for result in results)
    errors, unjudged = [], []
    for result in results:
        for section in result.sections:
            title = f"- {result.title}: {section.title}"
            errors += [f"{title}: {finding.text}" for finding in section.findings if finding.level == ERROR]
            unjudged += [f"{title}: {text}" for text in section.unjudged]
    parts = [f"Nothing is wrong ({warnings} warnings)."]
    if errors:
        parts = [f"{len(errors)} findings with which training would be wrong ({warnings} warnings):", "\n".join(errors)]
    if unjudged:
        parts += ["Not judged:", "\n".join(unjudged)]
    return "\n\n".join(parts)
