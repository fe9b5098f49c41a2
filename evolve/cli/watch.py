"""`vevolve watch`: a run seen from another terminal, live, until it ends."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer

from vevolve.evolve.cli.options import AsJson, Run

if TYPE_CHECKING:
    from rich.console import Group

    from vevolve.archive import Archive

PAUSE_S = 0.5
SHOWN = 10


def watch(
    run: Run = None,
    once: Annotated[bool, typer.Option("--once", help="Show how it stands and leave.")] = False,
    as_json: AsJson = False,
) -> None:
    """Watch a run live from another terminal, until it ends or Ctrl-C.

    On a terminal a panel; elsewhere a line an event, or with --json a JSON line an event.
    """
    from vevolve.evolve.cli.read import open_run

    with open_run(run) as archive:
        if as_json or not sys.stdout.isatty():
            _lines(archive, once, as_json)
        else:
            _panel(archive, once)


def _lines(archive: Archive, once: bool, as_json: bool) -> None:
    seq = 0
    while True:
        over = not _runs(archive)  # asked first, so that what was written last is still read
        for entry in archive.events(seq):
            seq = entry.seq
            text = entry.event.model_dump_json() if as_json else _line(entry.event)
            if text:
                sys.stdout.write(text + "\n")
        sys.stdout.flush()
        if once or over:
            return
        time.sleep(PAUSE_S)


def _panel(archive: Archive, once: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    lines: deque[str] = deque(maxlen=SHOWN)
    seq = 0
    console = Console(markup=False, highlight=False, emoji=False)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            over = not _runs(archive)
            for entry in archive.events(seq):
                seq = entry.seq
                if text := _line(entry.event):
                    lines.append(text)
            live.update(_draw(archive, lines, over), refresh=True)
            if once or over:
                return
            time.sleep(PAUSE_S)


def _draw(archive: Archive, lines: deque[str], over: bool) -> Group:
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    from vevolve.evolve.cli.panel import front_of, see

    sight = see(archive)
    config = archive.started.config
    total = config.get("evaluations")
    seconds = archive.seconds()
    parts = [f"{sight.evaluations}" + (f" of {total}" if total else "") + " evaluations", f"{seconds:.0f} s"]
    if not over and total and 0 < sight.evaluations < total:
        parts.append(f"about {seconds / sight.evaluations * (total - sight.evaluations):.0f} s to go")
    if sight.usd:
        parts.append(f"${sight.usd:.4f}")
    body = [Text("; ".join(parts))]
    if sight.failures:
        body.append(Text("not valid: " + ", ".join(f"{count} {status}" for status, count in sight.failures)))
    body.append(Text(f"front of {sight.split}: {sight.front} candidates, hypervolume {sight.hypervolume:.4f}", "bold"))
    feed = [Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in lines]
    title = Text(f"{archive.started.problem}: {archive.path.parent.name}")
    return Group(Panel(Group(*body, front_of(sight), *feed), title=title, subtitle=Text("ended" if over else "live")))


def _line(event: object) -> str:
    from vevolve.archive.events import Resumed, Started
    from vevolve.evolve.cli.panel import describe
    from vevolve.evolve.cli.render import line

    if isinstance(event, Started):
        return f"run of {line(event.problem)} from {line(event.seed)}, sandbox level {event.containment.level}"
    if isinstance(event, Resumed):
        return f"resumed, sandbox level {event.containment.level}"
    return describe(event, None)  # type: ignore[arg-type]  # the run is only asked at its start


def _runs(archive: Archive) -> bool:
    from vevolve.archive.web.sight import is_locked

    return is_locked(archive.path)
