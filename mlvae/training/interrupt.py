"""Ctrl-C and SIGTERM as a wish to stop soon, not an exception in the middle of a step."""

from __future__ import annotations

import signal
import threading
from types import FrameType

__all__ = ["Interrupt"]


class Interrupt:
    """While entered, SIGINT and SIGTERM only set ``requested``; a second one acts as usual.

    Outside the main thread, where Python allows no handlers, it does nothing.

    Args:
        repeatedly: let the second one, too, only set ``requested``: a launcher of processes
            passes on what they may have had already, and kills those that do not end.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, *, repeatedly: bool = False) -> None:
        self.requested = False
        self.repeatedly = repeatedly
        self.previous: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.getsignal(number) for number in self.SIGNALS}
            for number in self.SIGNALS:
                signal.signal(number, self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if not self.repeatedly:
            self._restore()

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
