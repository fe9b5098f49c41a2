"""Threads that never keep a process alive.

The executors of `concurrent.futures` are joined when the interpreter exits, so that one model call without an answer
would hold up Ctrl-C for as long as its timeout.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
_Task = Callable[[], None]


class Threads:
    """A fixed number of daemon threads that take tasks in the order of their submission."""

    def __init__(self, count: int, name: str) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._count = count
        self._name = name
        self._started = 0

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Run `function` in a thread; the future holds its result or what it raised."""
        future: Future[T] = Future()

        def task() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        if self._started < self._count:
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        self._tasks.put(task)
        return future

    def close(self) -> None:
        """Let each thread end after what it does now. Nothing is waited for."""
        for _ in range(self._started):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
