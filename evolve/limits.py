"""The totals of a run: which are reached, and what goes on beyond them."""

from __future__ import annotations

import math
import os
import shlex
from dataclasses import dataclass
from typing import Any, Literal

from vevolve.archive import Archive
from vevolve.archive.events import Resumed, Started
from vevolve.evolve.config import PREFIX, Config
from vevolve.evolve.run import RunDirectory

Limit = Literal["evaluations", "usd", "seconds"]
LIMITS: tuple[Limit, ...] = ("evaluations", "usd", "seconds")


@dataclass(frozen=True)
class Reached:
    """A total that a run has reached.

    Attributes:
        limit: the setting.
        said: what is done or spent of it.
        enough: a value that goes on.
    """

    limit: Limit
    said: str
    enough: float


def reached(archive: Archive, config: Config, paid: bool) -> list[Reached]:
    """The totals of `config` that the run has reached.

    Args:
        archive: of the run.
        config: the settings that it would go on with.
        paid: whether its proposers cost money; what is free goes on however much was spent.
    """
    found: list[Reached] = []
    totals, seconds = archive.totals(), archive.seconds()
    earlier, ended = last_config(archive), archive.ended()
    budget = ended.budget if ended else ""
    if totals.evaluations >= config.evaluations:
        said = f"{totals.evaluations} of {config.evaluations} evaluations are done"
        found.append(Reached("evaluations", said, 2 * totals.evaluations))
    # What was left of the dollars may have been too little for another call, and a second more or less is no matter.
    same = config.usd is not None and budget == "usd" and config.usd <= (earlier.get("usd") or 0)
    if config.usd is not None and paid and (same or totals.usd >= config.usd):
        said = f"${totals.usd:.4f} of ${config.usd:g} are spent"
        said += "" if totals.usd >= config.usd else ", and too little is left for another call"
        found.append(Reached("usd", said, 2 * max(math.ceil(100 * totals.usd) / 100, config.usd) or 1.0))
    same = config.seconds is not None and budget == "seconds" and config.seconds <= (earlier.get("seconds") or 0)
    if config.seconds is not None and (same or seconds >= config.seconds):
        said = f"{seconds:.0f} of {config.seconds:g} seconds are over"
        found.append(Reached("seconds", said, 2 * max(math.ceil(seconds), config.seconds)))
    return found


def last_config(archive: Archive) -> dict[str, Any]:
    """The settings of the last session, as its log holds them."""
    config: dict[str, Any] = archive.started.config
    for entry in archive.events(kinds=("started", "resumed")):
        if isinstance(entry.event, Started | Resumed):
            config = entry.event.config
    return config


def resume_command(directory: RunDirectory, config: Config, found: list[Reached]) -> str:
    """What to type to go on: with the same totals, but for those that are reached.

    A total that the environment sets otherwise for the next command is told as well.
    """
    values: dict[str, float | None] = {limit: getattr(config, limit) for limit in LIMITS}
    told = {
        limit: value
        for limit, value in values.items()
        if value is not None and f"{PREFIX}{limit.upper()}" in os.environ
    }
    told |= {one.limit: one.enough for one in found}
    flags = "".join(
        f" --{limit} {value:g}" if isinstance(value, float) else f" --{limit} {value}" for limit, value in told.items()
    )
    return f"vevolve resume {shlex.quote(str(directory.path))}{flags}"
