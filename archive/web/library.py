"""The runs that the page shows, and the one thread that reads them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from vevolve.archive import database
from vevolve.archive.web.sight import Sight
from vevolve.errors import ArchiveError, UnknownName

T = TypeVar("T")

OPEN = 8
"""How many runs are kept open."""


class Library:
    """The runs under a folder, or a single one.

    An archive belongs to the thread that opened it, so everything that reads goes through `read`.

    Args:
        root: a folder of runs, a run's directory, or its database.

    Attributes:
        ending: the server is about to stop, so that whoever follows a run hangs up.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._open: dict[str, Sight] = {}
        self._lines: dict[str, tuple[tuple[Path, bool, int, int], dict[str, Any]]] = {}
        self.ending = False

    async def read(self, work: Callable[[], T]) -> T:
        """The result of `work`, done on the reading thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def paths(self) -> dict[str, Path]:
        """Name -> database of every run, the latest first."""
        single = database.file_of(self.root)
        if single.is_file():
            return {single.parent.resolve().name: single}
        found = [path for path in self.root.glob(f"*/{database.FILE}") if path.is_file()]
        found.sort(key=lambda path: (path.parent.name[:1].isdigit(), path.parent.name), reverse=True)
        return {path.parent.name: path for path in found}

    def sight(self, name: str) -> Sight:
        """A run, caught up with its log. For the reading thread.

        Raises:
            UnknownName: there is none of that name.
            ArchiveError: its database is damaged, foreign or newer than this program.
        """
        path = self.paths().get(name)
        if path is None:
            raise UnknownName("run", name, self.paths())
        sight = self._open.pop(name, None)
        if sight is not None and not sight.is_of(path):
            sight.close()
            sight = None
        if sight is None:
            sight = Sight(name, path)
        try:
            sight.catch_up()
        except ArchiveError:
            sight.close()
            raise
        self._open[name] = sight
        while len(self._open) > OPEN:
            self._open.pop(next(iter(self._open))).close()
        return sight

    def line(self, name: str, tell: Callable[[Sight], dict[str, Any]]) -> dict[str, Any]:
        """A run in the list of all, kept while nothing is written to it; an error in place of one that is damaged."""
        path = self.paths()[name]
        try:
            stamp = path, *database.stamp(path)
            if name in self._lines and self._lines[name][0] == stamp and not database.has_writer(path):
                return self._lines[name][1]
            self._lines[name] = stamp, tell(self.sight(name))
        except (ArchiveError, UnknownName, OSError) as error:
            return {"name": name, "error": str(error)}
        return self._lines[name][1]

    def warm(self) -> None:
        """Take in the latest run before it is asked for, bit by bit, so that whoever asks waits for one at most."""
        latest = next(iter(self.paths()), "")
        steps: list[Callable[[Sight], object]] = [
            lambda sight: None,
            lambda sight: sight.ranking(sight.split).worth,
            lambda sight: sight.ranking(sight.split).curve,
            lambda sight: sight.ranking(sight.split).ranks(),
            lambda sight: sight.archive.totals(),
        ]
        if latest:
            self._thread.submit(self._warm, latest, steps)

    def _warm(self, name: str, steps: list[Callable[[Sight], object]]) -> None:
        """Do one step and queue up again for the rest, behind whoever has asked for something meanwhile."""
        with contextlib.suppress(ArchiveError, UnknownName):  # whoever asks is told
            steps[0](self.sight(name))
            if steps[1:] and not self.ending:
                self._thread.submit(self._warm, name, steps[1:])

    def close(self) -> None:
        """Close every database; nothing is read after."""
        self.ending = True
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()
