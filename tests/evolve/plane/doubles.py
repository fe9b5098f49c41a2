"""What stands in for models and sandboxes in tests of the loop."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vevolve.archive import Archive
from vevolve.archive.events import Event, Resumed, Started
from vevolve.evaluators.contract import load
from vevolve.evolve.config import Config
from vevolve.evolve.loop import Loop
from vevolve.evolve.proposers.contract import Prompt, Reply, Request
from vevolve.evolve.questions import Questions
from vevolve.evolve.setup import Weighted, resolve
from vevolve.evolve.workers import Inline, Workers
from vevolve.types import Candidate, Containment, Seed

FOLDER = Path(__file__).parent
SECRET = Seed(b"sixteen bytes...")
Reaction = Callable[[Request], "str | Reply"]


def program(x: float, y: float, note: str = "") -> str:
    return f'"""{note}"""\n\nX = {x}\nY = {y}\n\n\ndef answer():\n    return X, Y\n'


def fenced(source: str) -> str:
    return f"Idea: other numbers\n\n```python\n{source}```\n"


def wander(request: Request) -> str:
    """A deterministic model: other numbers, sometimes known ones, sometimes nothing that applies or runs."""
    chance = random.Random(request.seed.integer)
    kind = chance.random()
    if kind < 0.15:
        return "I would rather talk about circles." if kind < 0.1 or request.attempt == 0 else fenced(program(0.5, 0.5))
    if kind < 0.3:
        return fenced(program(round(chance.uniform(0.4, 0.5), 1), 0.5, note=str(kind)))
    if kind < 0.4:
        return fenced("X = None\nY = None\n\n\ndef answer(): ...\n")
    constants = request.parents[0].constants
    x, y = (float(constants.get(name) or 0.9) * chance.uniform(0.6, 1.15) for name in "XY")
    return fenced(program(round(x, 4), round(y, 4)))


@dataclass
class Model:
    """A proposer that answers by a function, at a price, after a delay of its own mood."""

    reaction: Reaction = wander
    name: str = "model"
    free: bool = False
    usd: float = 0.0
    estimated: float | None = 0.0
    delay: float = 0.0
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def propose(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            if self.delay:
                time.sleep(random.random() * self.delay)
            answer = self.reaction(request)
            return answer if isinstance(answer, Reply) else Reply(text=answer, model="double", usd=self.usd)
        finally:
            with self._lock:
                self._now -= 1

    def estimate(self, prompt: Prompt) -> float | None:
        return self.estimated

    def close(self) -> None: ...


class Bare:
    """A container that runs nothing."""

    containment = Containment(level="L1")

    def __init__(self, delay: float = 0.0, examined: list[str] | None = None) -> None:
        self._delay, self._examined = delay, examined

    def subject(self, candidate: Candidate) -> Any:
        if self._delay:
            time.sleep(random.random() * self._delay)
        if self._examined is not None:
            self._examined.append(candidate.id)
        return SimpleNamespace(candidate=candidate, processes=0, cpu_s=0.0, containment=self.containment)

    def close(self) -> None: ...


def make_bare() -> Inline:
    """A worker as an actor makes it."""
    return Inline(load(str(FOLDER)), Bare)


def crew(count: int = 1, delay: float = 0.0, examined: list[str] | None = None) -> Workers:
    problem = load(str(FOLDER))
    return Workers([Inline(problem, lambda: Bare(delay, examined)) for _ in range(count)])


def settings(**named: Any) -> Config:
    plain = {"seed": "start", "problem": str(FOLDER), "evaluations": 30, "workers": "inline", "confirm": 0}
    return Config(**{**plain, **named})


def begin(directory: Path, config: Config) -> Archive:
    """A new archive with its first event."""
    task = resolve(config)
    started = Started(
        run="test",
        version="0",
        problem=task.problem_name,
        problem_hash=task.problem.hash,
        objectives=task.problem.objectives,
        seed=config.seed,
        seed_commitment="",
        config=config.model_dump(mode="json"),
        containment=Bare.containment,
    )
    return Archive.create(directory, started)


def loop_of(archive: Archive, config: Config, models: Sequence[Model], workers: Workers, **named: Any) -> Loop:
    task = resolve(config)
    questions = Questions(task, [Weighted(model, 1.0) for model in models], config.style)
    return Loop(archive, SECRET, task.seed, questions, workers, config, **named)


def run(
    directory: Path, config: Config, *models: Model, workers: Workers | None = None, **named: Any
) -> tuple[Archive, list[Event]]:
    """A whole run in a directory, or the rest of one that is there. The archive stays open for reading."""
    exists = (directory / "archive.db").exists()
    workers = workers or crew()
    try:
        with Archive.open(directory, write=True) if exists else begin(directory, config) as archive:
            if exists:
                archive.append(Resumed(version="0", config={}, containment=Bare.containment))
            events = list(loop_of(archive, config, models or [Model()], workers, **named).events())
    finally:
        workers.close()
    return Archive.open(directory), events


def story(archive: Archive) -> list[dict[str, Any]]:
    """What was told, selected and compared, in order, without what depends on the clock."""
    lines: list[dict[str, Any]] = []
    for entry in archive.events(kinds=("told", "selected", "compared")):
        line = entry.event.model_dump()
        line.get("verdict", {}).pop("cost", None)
        lines.append(line)
    return lines


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+\.\d+", text)
