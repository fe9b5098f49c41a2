"""Where the results of other threads wait for the one thread that runs the loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class Inbox:
    """What is to be done next, in order of arrival. Anyone may put something in, from a signal handler too."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()

    @property
    def empty(self) -> bool:
        """Whether nothing has arrived."""
        return self._tasks.empty()

    def wake(self) -> None:
        """End a `receive` that waits."""
        self._tasks.put(lambda: None)

    def expect(self, future: Future[T], then: Callable[[T], None], otherwise: Callable[[BaseException], None]) -> None:
        """Once the future is done, go on with its result, or with what it raised, at the next `receive`."""

        def arrived() -> None:
            error = future.exception()
            if error is None:
                then(future.result())
            else:
                otherwise(error)

        future.add_done_callback(lambda _: self._tasks.put(arrived))

    def receive(self, timeout: float) -> None:
        """Wait for one result, and go on with all that are there. Raises `queue.Empty` after `timeout` seconds."""
        self._tasks.get(timeout=timeout)()
        while not self._tasks.empty():
            self._tasks.get()()
