"""Ctrl-C at any moment of a command, also while packages are imported."""

from __future__ import annotations

import signal

import pytest

from spikeyolo.entry import interrupts


def import_that_is_interrupted() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise RecursionError("maximum recursion depth exceeded") from None


def test_an_error_that_a_package_makes_of_ctrl_c_is_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts():
        import_that_is_interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_without_ctrl_c_stays_what_it_is() -> None:
    with pytest.raises(RecursionError), interrupts():
        raise RecursionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_command_that_handles_ctrl_c_itself_keeps_its_handler() -> None:
    own = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, own)
