from __future__ import annotations

from lib.core.training.checkpoint import Progress
from lib.core.training.training_summary import training_summary


def row(epoch, **values):
    return {
        "epoch": epoch,
        "learning_rate": 0.001,
        "loss": 1.5,
        "loss_routed": 1.0,
        "loss_raw": 0.5,
        "accuracy": 0.25,
        "groups_per_s": 12.0,
        **values,
    }


def cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_epochs_and_the_best_of_those_that_were_validated():
    history = [row(0, jdr=0.5), row(1, jdr=0.625), row(2), row(3, jdr=0.6)]
    text = training_summary(Progress(4, history=history), 61.4, 1234.5)
    header, _, *rows = cells(text)
    assert header == ["epoch", "learning rate", "loss", "of fused", "of raw", "accuracy (%)", "JDR (%)", "groups/s"]
    assert [cell[0] for cell in rows] == ["0", "1", "2", "3"]
    assert [float(value) for value in rows[1]] == [1, 0.001, 1.5, 1.0, 0.5, 25, 62.5, 12]
    assert rows[1][5:] == ["25.0", "62.5", "12.0"]
    assert rows[2][6] == "-"
    assert "Best: epoch 1, JDR 62.50 %." in text
    assert "61 s in this call; at most 1234 MB." in text


def test_a_history_of_before_the_parts_of_the_loss_were_stored():
    old = {"epoch": 0, "learning_rate": 0.001, "loss": 1.5, "accuracy": 0.25, "groups_per_s": 1.0}
    rows = cells(training_summary(Progress(1, history=[old]), 1, 1))
    assert rows[2][3:5] == ["-", "-"]


def test_nothing_trained():
    text = training_summary(Progress(), 0.2, 10)
    assert "Best" not in text
    assert "0 s in this call" in text
