"""Ctrl-C and SIGTERM while a run goes on: the first ends it in order, the second at once.

The second is answered in the signal handler itself. An exception would have to pass through whatever happens to be
going on (Ray's start, its shutdown, a destructor, the exit of the interpreter), and each of these waits, complains, or
drops it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from vevolve.evolve.cli import FAILED, summary

if TYPE_CHECKING:
    from types import TracebackType

    from vevolve.evolve.api import Run
    from vevolve.evolve.cli.panel import Screen

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Shows a run on a screen, and answers signals from entering on.

    After a stop they are answered to the end of the process: that may take a while too.

    Attributes:
        stopped: whether the user asked the run to stop.
    """

    def __init__(self, run: Run, screen: Screen, as_json: bool) -> None:
        self.stopped = False
        self._run, self._screen, self._as_json = run, screen, as_json
        self._shown = contextlib.ExitStack()
        self._before: dict[signal.Signals, Any] = {}
        self._quitting = self._concluded = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._answer) for number in SIGNALS}
            atexit.register(self._end)  # before Ray's, and so done after it
        self._shown.enter_context(self._screen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.__exit__(kind, error, trace)

    def conclude(self) -> None:
        """The way back was told: a further signal has nothing to add."""
        self._concluded = True
        if not self.stopped:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _end(self) -> None:
        """The interpreter is about to forget who answers: a Ctrl-C would kill it now, with another exit code."""
        if self.stopped:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _answer(self, number: int, frame: Any) -> None:
        if self.stopped:
            self._quit()
        self.stopped = True
        self._screen.say("Finishing what is in flight; Ctrl-C again quits at once.")
        self._run.stop()

    def _quit(self) -> None:
        """Leave now. Whatever was told is in the archive; threads and actors would be waited for."""
        try:
            if not self._quitting and not self._concluded:
                self._quitting = True
                with contextlib.suppress(Exception):  # the terminal as it was, whatever was being drawn
                    self._shown.close()
                with contextlib.suppress(Exception):
                    (sys.stderr if self._as_json else sys.stdout).flush()
                os.write(2 if self._as_json else 1, summary.way_back(self._run).encode())
        finally:
            os._exit(FAILED)
