"""What a training came to, as text."""

from __future__ import annotations

from lib.core.training.checkpoint import Progress
from lib.utils.tables import markdown_table


def training_summary(progress: Progress, seconds: float, memory_mb: float) -> str:
    """Format a training as Markdown.

    Args:
        progress: at its end.
        seconds: of this call; a resumed training took more.
        memory_mb: peak memory.
    """
    rows = [
        [
            str(row["epoch"]),
            f"{row['learning_rate']:g}",
            row["loss"],
            row.get("loss_routed"),
            row.get("loss_raw"),
            *(
                None if value is None else f"{value:.1f}"
                for value in (_percent(row, "accuracy"), _percent(row, "jdr"), row.get("groups_per_s"))
            ),
        ]
        for row in progress.history
    ]
    header = ["epoch", "learning rate", "loss", "of fused", "of raw", "accuracy (%)", "JDR (%)", "groups/s"]
    best = max((row for row in progress.history if "jdr" in row), key=lambda row: row["jdr"], default=None)
    lines = ["# Training", markdown_table(header, rows, 5)]
    if best is not None:
        lines.append(f"Best: epoch {best['epoch']}, JDR {100 * best['jdr']:.2f} %.")
    lines.append(f"{seconds:.0f} s in this call; at most {memory_mb:.0f} MB.")
    return "\n\n".join(lines)


def _percent(row: dict[str, float], key: str) -> float | None:
    return 100 * row[key] if key in row else None
