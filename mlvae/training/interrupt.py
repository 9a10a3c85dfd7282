"""Turn signals that end a process into a flag that the loop checks between steps."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

__all__ = ["Interrupt"]

#: Signals within this time of the first, in seconds, count as one: a terminal may send several.
TOGETHER = 0.5

#: Windows has SIGINT, SIGTERM and SIGBREAK (Ctrl-Break) alone.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGBREAK")


class Interrupt:
    """Context in which the signals of :data:`NAMES` only set ``requested``.

    Terminals, schedulers and launchers send them before they end a process. A second signal, after
    :data:`TOGETHER` seconds, has its usual effect. Outside the main thread Python allows no
    handlers, and the context does nothing.

    Args:
        repeatedly: let a second signal set ``requested`` too. A launcher of processes forwards
            signals that the processes may have received already, and kills those that do not end.
    """

    SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))

    def __init__(self, *, repeatedly: bool = False) -> None:
        self.requested = False
        self.first: float | None = None
        self.repeatedly = repeatedly
        self.previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.getsignal(number) for number in self.SIGNALS}
            for number in self.SIGNALS:
                signal.signal(number, self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = now
        self.requested = True
        if not self.repeatedly and now - self.first >= TOGETHER:
            self._restore()
            signal.raise_signal(number)

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            # A handler that was installed from C is None, and Python cannot install it again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
