from __future__ import annotations

import os
import signal

import pytest

from lib.core.runtime.interrupt import InterruptGuard


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupt_guard_remembers_a_signal_and_restores_handlers(number):
    before = signal.getsignal(number)
    with InterruptGuard() as guard:
        assert not guard.requested()
        os.kill(os.getpid(), number)
        assert guard.requested()
        assert guard.requested()
    assert signal.getsignal(number) is before


def test_interrupt_guard_second_ctrl_c_ends_at_once():
    with InterruptGuard() as guard:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert guard.requested()
