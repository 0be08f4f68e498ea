"""Turn Ctrl-C and SIGTERM into a wish that the loop grants after the current step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import final

from inlay.errors import InlayError


@final
class Interrupted(InlayError):  # noqa: N818 - not a fault: the user asked for it
    """Training was asked to stop; everything up to the last step is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number  # type: ignore[misc]


@final
class StopRequest:
    """Remembers which signal has asked for a stop, if one has."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def is_asked(self) -> bool:
        """Tell whether a signal has come."""
        return self.signal_number is not None

    def interrupted(self, message: str) -> Interrupted:
        """Return what is to be raised, with the exit code of the signal that has come."""
        return Interrupted(message, self.signal_number or 0)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM once each; a second Ctrl-C stops at once.

    Outside of the main thread no handler can be set, and nothing is caught.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handler(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield request
    finally:
        for number, old in before.items():
            signal.signal(number, old)
