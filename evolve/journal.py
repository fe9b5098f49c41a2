"""The archive as the loop writes it: events that can wait for company, and answers that cannot."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from vevolve.archive import Archive
from vevolve.archive.events import Event, Proposed
from vevolve.evolve.proposers.contract import ProposalFailed


class Journal:
    """One thread writes, that of the loop; `record` and `leave` are for the threads of proposers.

    Each append is flushed to the disk, so what does not matter until then waits for the next.

    Args:
        archive: open for writing.
        wake: ends the loop's wait for results.
    """

    def __init__(self, archive: Archive, wake: Callable[[], None]) -> None:
        self._archive, self._wake = archive, wake
        self._waiting: list[Event] = []
        self._news: deque[Event] = deque()
        self._answers: deque[tuple[Proposed, threading.Event]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def record(self, answer: Proposed) -> None:
        """Hand over an answer, and return once it is on the disk: nothing may be asked on top of it before.

        Raises:
            ProposalFailed: the loop has ended, so nothing more may be asked.
        """
        stored = self._hand_over(answer)
        self._wake()
        stored.wait()
        if self._closed:
            raise ProposalFailed("The run has ended.")

    def leave(self, answer: Proposed) -> None:
        """Hand over an answer that cost nothing: it is stored with its outcome, and not waited for."""
        self._hand_over(answer)

    def _hand_over(self, answer: Proposed) -> threading.Event:
        stored = threading.Event()
        with self._lock:
            if self._closed:
                raise ProposalFailed("The run has ended.")
            self._answers.append((answer, stored))
        return stored

    def later(self, event: Event) -> None:
        """Add an event to the log with the next append."""
        self._waiting.append(event)

    def append(self, *events: Event) -> None:
        """Add events to the log, together with those that waited."""
        self._waiting.extend(events)
        if self._waiting:
            self._archive.append(*self._waiting)
            self._news.extend(self._waiting)
            self._waiting.clear()

    def store_answers(self) -> None:
        """Add every answer that was handed over to the log."""
        with self._lock:
            arrived = [self._answers.popleft() for _ in range(len(self._answers))]
        if arrived:
            self.append(*(answer for answer, _ in arrived))
        for _, stored in arrived:
            stored.set()

    def news(self) -> Iterator[Event]:
        """Each event of the log once, in order."""
        while self._news:
            yield self._news.popleft()

    def close(self) -> None:
        """Take nothing more, and let go of whoever waits."""
        with self._lock:
            self._closed = True
            for _, stored in self._answers:
                stored.set()
