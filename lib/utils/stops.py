"""Reasons to end a program with one line and an exit code of their own, beside bad input (code 2)."""

from __future__ import annotations


class Stop(Exception):
    """The program ends here; the message is one line."""

    exit_code = 1


class Interrupted(Stop):
    """A signal asked for it, and the work stands at a point from which it can go on.

    The code is that of a temporary failure: run the command again.
    """

    exit_code = 75


class ProcessLost(Stop):
    """One of several processes that work together is gone."""

    exit_code = 3
