"""The actions of Human3.6M by id, as the data set's own metadata names them.

The released code's list is shifted from 7 on and gives per-action results wrong names.
"""

from __future__ import annotations

ACTION_NAMES = {
    2: "Directions", 3: "Discussion", 4: "Eating", 5: "Greeting", 6: "Phoning", 7: "Posing", 8: "Purchases",
    9: "Sitting", 10: "SittingDown", 11: "Smoking", 12: "TakingPhoto", 13: "Waiting", 14: "Walking",
    15: "WalkingDog", 16: "WalkingTogether",
}  # fmt: skip


def action_name(action: int) -> str:
    """Return the name of an action id, or the id itself for data sets with actions of their own."""
    return ACTION_NAMES.get(int(action), f"action {int(action)}")
