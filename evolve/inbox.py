"""Where the results of other threads wait for the one thread that runs the loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
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
        """Once the future is done, go on with its result, or with what it raised, at the next `receive`.

        The future is handed to its callback and held by nothing that it holds: in a cycle with it, results and all
        they lead to, such as syntax trees, would wait for the garbage collector.
        """

        def arrived(done: Future[T]) -> None:
            error = done.exception()
            if error is None:
                then(done.result())
            else:
                otherwise(error)

        future.add_done_callback(lambda done: self._tasks.put(partial(arrived, done)))

    def receive(self, timeout: float) -> None:
        """Wait for one result, and go on with all that are there. Raises `queue.Empty` after `timeout` seconds."""
        self._tasks.get(timeout=timeout)()
        while not self._tasks.empty():
            self._tasks.get()()
