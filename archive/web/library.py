"""The runs that the page shows, and the one thread that reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

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
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._open: dict[str, Sight] = {}

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

    def warm(self) -> None:
        """Take in the latest run before it is asked for. Returns at once."""

        def work() -> None:
            for name in list(self.paths())[:1]:
                try:
                    sight = self.sight(name)
                    sight.curve(sight.split)
                except ArchiveError:
                    continue

        self._thread.submit(work)

    def close(self) -> None:
        """Close every database."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _close(self) -> None:
        for sight in self._open.values():
            sight.close()
