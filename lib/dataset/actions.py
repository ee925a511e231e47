"""The actions of the data sets by id."""

from __future__ import annotations

from collections.abc import Mapping

# Human3.6M, as its own metadata names them; the released code's list is shifted from 7 on and gives per-action results
# wrong names.
ACTION_NAMES = {
    2: "Directions",
    3: "Discussion",
    4: "Eating",
    5: "Greeting",
    6: "Phoning",
    7: "Posing",
    8: "Purchases",
    9: "Sitting",
    10: "SittingDown",
    11: "Smoking",
    12: "TakingPhoto",
    13: "Waiting",
    14: "Walking",
    15: "WalkingDog",
    16: "WalkingTogether",
}
TOTALCAPTURE_ACTIONS = {1: "ROM", 2: "Walking", 3: "Acting", 4: "Running", 5: "Freestyle"}


def action_name(action: int, names: Mapping[int, str] = ACTION_NAMES) -> str:
    """Return the name of an action id, or the id itself where it has none."""
    return names.get(int(action), f"action {int(action)}")
