"""What a run shows while it goes: a live panel on a terminal, a line an event elsewhere, or JSON lines."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from vevolve.archive.events import Compared, Ended, Event, Measured, Proposed, Resumed, Selected, Started, Told
from vevolve.evolve.cli.render import ROUNDING, SHORT, clean, figures, line

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from vevolve.archive import Archive
    from vevolve.evolve.api import Run

SHOWN_EVENTS = 8
SHOWN_POINTS = 8
REFRESH_S = 0.25
"""Between two looks into the archive; the clock on the panel ticks by itself."""


class Screen(Protocol):
    """What shows a run: entered when it begins, left when it ends."""

    def take(self, event: Event) -> None:
        """Show an event."""
        ...

    def say(self, text: str) -> None:
        """Show a line of our own. Safe in a signal handler."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_screen(run: Run, as_json: bool) -> Screen:
    """What a run is shown on: JSON lines, a live panel on a terminal, or plain lines."""
    if as_json:
        return Lines(lambda event: event.model_dump_json())
    if sys.stdout.isatty():
        return Live(run)
    return Lines(lambda event: describe(event, run))


class Lines:
    """A line an event; an event that says nothing new is left out."""

    def __init__(self, text: Callable[[Event], str]) -> None:
        self._text = text

    def take(self, event: Event) -> None:
        """Print it at once."""
        if text := self._text(event):
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """To the standard error."""
        os.write(2, f"\n{text}\n".encode())  # not buffered: a signal may have come in the middle of a write

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Live:
    """The live panel. It is taken off the terminal at the end, where the front is printed instead."""

    def __init__(self, run: Run) -> None:
        from rich.console import Console
        from rich.live import Live

        self._run, self._panel, self._last = run, Panel(run), ""
        console = Console(markup=False, highlight=False, emoji=False)
        # Whatever else were written to the terminal would push a copy of the panel into the scrollback.
        self._live = Live(get_renderable=self._panel.draw, console=console, refresh_per_second=4, transient=True)

    def take(self, event: Event) -> None:
        """Show it on the panel."""
        self._panel.take(event)
        self._last = describe(event, self._run) if isinstance(event, Ended) else ""

    def say(self, text: str) -> None:
        """Show it on the panel."""
        self._panel.note = text

    def __enter__(self) -> Self:
        self._echo = _echo_control(False)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        _echo_control(self._echo)
        if self._last:
            sys.stdout.write(self._last + "\n")


def _echo_control(wanted: bool) -> bool:
    """Whether the terminal shows Ctrl-C as `^C`, which would push the panel down a line; returns what it was."""
    import termios

    try:
        state = termios.tcgetattr(0)
        before = bool(state[3] & termios.ECHOCTL)
        state[3] = state[3] | termios.ECHOCTL if wanted else state[3] & ~termios.ECHOCTL
        termios.tcsetattr(0, termios.TCSANOW, state)
    except termios.error:  # the input is no terminal
        return False
    return before


def describe(event: Event, run: Run) -> str:
    """One line on an event; empty for those that say nothing new to a reader."""
    match event:
        case Started():
            return f"run {run.directory.path}: {_task(run)}, sandbox level {event.containment.level}"
        case Resumed():
            return f"resumed {run.directory.path}: {_task(run)}, sandbox level {event.containment.level}"
        case Proposed() if event.error and event.attempt == 0 and event.reply.strip():
            # Asked to mend its answer. Where that or the call itself fails, what is told at the end says why.
            return f"#{event.iteration} {line(event.proposer, 40)}, first answer: {line(event.error)}"
        case Told():
            verdict = event.verdict
            who = "seed" if event.operation == "seed" else f"{event.operation} by {line(event.proposer, 40)}"
            gain = f", hypervolume +{event.hypervolume_gain:.3g}" if event.hypervolume_gain > ROUNDING else ""
            said = event.idea if verdict.valid else verdict.feedback
            return f"#{event.iteration} {who}: {verdict.status}{gain}{': ' if said else ''}{line(said)}"
        case Selected() if event.iteration == 0:
            what = "to be compared with" if event.verdict.valid else f"and not valid ({event.verdict.status})"
            return f"#0 {event.candidate[:SHORT]} the seed, examined on the select split {what}"
        case Selected():
            what = "gained" if event.promoted else f"gained nothing ({event.verdict.status})"
            return f"#{event.iteration} {event.candidate[:SHORT]} {what} on the select split"
        case Measured():
            return f"#{event.iteration} {event.candidate[:SHORT]} {line(event.feedback, 200)}"
        case Compared():
            won = f"won {sum(gain > 0 for gain in event.gains)} of {len(event.gains)} fresh documents"
            what = "an elite" if event.elite else "no elite any more" if event.aged else "unconfirmed"
            return f"#{event.iteration} {event.candidate[:SHORT]} {what}: {won}, e-value {event.evidence:.3g}"
        case Ended() if (who := event.reason.partition(" failed: ")[0]) in ("a proposer", "the problem", "the harness"):
            return f"ended: {who} failed"  # the error that follows says how
        case Ended():
            return f"ended: {line(event.reason, 300)}"
        case _:
            return ""


def _task(run: Run) -> str:
    models = ", ".join(clean(model) for model in run.config.models)
    return f"{run.task.problem.name}, seed {run.task.seed_name}, {run.config.evaluations} evaluations by {models}"


@dataclass(frozen=True)
class Sight:
    """What the panel knows of the archive, read by the thread that runs."""

    evaluations: int = 0
    usd: float = 0.0
    unpriced: int = 0
    split: str = "search"
    front: int = 0
    hypervolume: float = 0.0
    header: tuple[str, ...] = ()
    points: tuple[tuple[str, ...], ...] = ()
    failures: tuple[tuple[str, int], ...] = ()


@dataclass
class Panel:
    """The live panel. Events come from the thread that runs; it is drawn by another, from what was last seen."""

    run: Run
    began: float = field(default_factory=time.monotonic)
    sight: Sight = field(default_factory=Sight)
    note: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=SHOWN_EVENTS))
    _looked: float = 0.0
    _first: int | None = None

    def take(self, event: Event) -> None:
        """Show an event."""
        text = describe(event, self.run)
        if text:
            self.lines.append(text)
        if time.monotonic() - self._looked > REFRESH_S:
            self.look()

    def look(self) -> None:
        """Read what the archive holds now. For the thread that runs."""
        self._looked = time.monotonic()
        if self.run.directory.is_run:
            self.sight = see(self.run.archive)
            self._first = self.sight.evaluations if self._first is None else self._first

    def draw(self) -> Group:
        """The panel as it stands."""
        from rich.console import Group
        from rich.panel import Panel as Frame
        from rich.text import Text

        sight, config = self.sight, self.run.config
        parts: list[RenderableType] = [Text(self.progress())]
        if sight.failures:
            parts.append(Text("not valid: " + ", ".join(f"{count} {status}" for status, count in sight.failures)))
        parts.append(
            Text(f"front of {sight.split}: {sight.front} candidates, hypervolume {sight.hypervolume:.4f}", "bold")
        )
        if sight.points:
            parts.append(front_of(sight))
        if self.note:
            parts.append(Text(self.note, "bold"))
        parts += [Text(text, "dim", no_wrap=True, overflow="ellipsis") for text in self.lines]
        title = Text(f"{self.run.task.problem.name}: {self.run.directory.name}")
        return Group(Frame(Group(*parts), title=title, subtitle=Text(", ".join(map(clean, config.models)))))

    def progress(self) -> str:
        """Budget and estimated time: evaluations, dollars, seconds."""
        sight, config = self.sight, self.run.config
        elapsed = time.monotonic() - self.began
        done = sight.evaluations - (self._first or 0)
        left = config.evaluations - sight.evaluations
        eta = f", about {_clock(elapsed / done * left)} to go" if done > 0 and left > 0 else ""
        parts = [f"{sight.evaluations} of {config.evaluations} evaluations", f"{_clock(elapsed)}{eta}"]
        if config.seconds is not None:
            parts.append(f"limit {_clock(config.seconds)}")
        if sight.usd or config.usd is not None:
            limit = "" if config.usd is None else f" of ${config.usd:.2f}"
            parts.append(f"${sight.usd:.4f}{limit}")
        if sight.unpriced:
            parts.append(f"{sight.unpriced} replies without a price")
        return "; ".join(parts)


def front_of(sight: Sight) -> Table:
    """The points that were seen, as a table in which the last column alone gives way to the width."""
    from rich.table import Table
    from rich.text import Text

    grid, last = Table(box=None, pad_edge=False), len(sight.header) - 1
    for place, name in enumerate(sight.header):
        grid.add_column(Text(name), justify="right" if 0 < place < last else "left", no_wrap=place < last)
    for row in sight.points:
        grid.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    return grid


def see(archive: Archive) -> Sight:
    """Read what the panel shows."""
    totals = archive.totals()
    split = "select" if archive.ranks("select") else "search"
    pairs = archive.front_points(split)
    step = max(1, -(-len(pairs) // SHOWN_POINTS))
    return Sight(
        evaluations=totals.evaluations,
        usd=totals.usd,
        unpriced=totals.unpriced,
        split=split,
        front=len({record.id for record, _ in pairs}),
        hypervolume=archive.hypervolume(split),
        header=("point", *(axis.name for axis in archive.objectives), "candidate"),
        points=tuple(
            (clean(point.label), *figures(point, archive.objectives), f"{record.id[:SHORT]} {line(record.idea, 200)}")
            for record, point in pairs[::step]
        ),
        failures=tuple(sorted(totals.failures.items(), key=lambda pair: -pair[1])),
    )


def _clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
