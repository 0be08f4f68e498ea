"""Signals become a wish to stop; the handlers before come back."""

import os
import signal
import threading

import pytest

from inlay.training.interrupt import Interrupted, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_and_stops_nothing(number):
    with stop_on_signals() as stop:
        assert stop.signal_number is None
        os.kill(os.getpid(), number)
        assert stop.signal_number == number


def test_a_second_ctrl_c_stops_at_once():
    with (
        pytest.raises(KeyboardInterrupt, match=r"^$"),
        stop_on_signals() as stop,
    ):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal_number == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("fails", [False, True])
def test_the_handlers_before_come_back(fails):
    def own(number, frame):
        raise AssertionError("not while the loop catches signals")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, own)
    try:
        try:
            with stop_on_signals():
                os.kill(os.getpid(), signal.SIGTERM)
                if fails:
                    raise KeyError("x")
        except KeyError:
            pass
        assert signal.getsignal(signal.SIGTERM) is own
        assert signal.getsignal(signal.SIGINT) is before[signal.SIGINT]
    finally:
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])


def test_another_thread_catches_nothing():
    handlers = []

    def run():
        with stop_on_signals() as stop:
            handlers.append((signal.getsignal(signal.SIGTERM), stop.signal_number))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [(before, None)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_exit_code_is_that_of_the_shell(number, code):
    error = Interrupted("saved", number)
    assert error.exit_code == code
    assert str(error) == "saved"
