"""Events to fill archives with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vevolve.archive import Archive
from vevolve.archive.events import Started, Told
from vevolve.types import Containment, Objective, Point, Verdict

OBJECTIVES = (
    Objective("traffic", "min", worst=2.0, best=0.005, scale="log10"),
    Objective("error", "min", worst=10.0, best=0.001, scale="log10"),
)


@pytest.fixture
def start() -> Callable[..., Started]:
    def make(**changed: Any) -> Started:
        plain = Started(
            run="a-run",
            version="0.1.0",
            problem="sparse_decode",
            problem_hash="c0ffee",
            objectives=OBJECTIVES,
            seed="sparse_decode/quest",
            seed_commitment="5eed",
            config={"evaluations": 7},
            containment=Containment(level="L2", layers={"seccomp": "active"}),
        )
        return plain.model_copy(update=changed)

    return make


@pytest.fixture
def tell() -> Callable[..., Told]:
    """`tell(3, "x = 1", (0.1, 0.5), (0.2, 0.4))` tells a program with these (traffic, error) points."""

    def make(iteration: int, source: str, *points: tuple[float, float], family: str = "", **rest: Any) -> Told:
        verdict = rest.pop("verdict", None) or Verdict(
            valid=True,
            points=tuple(
                Point(label=f"{k} tokens", family=family, traffic=traffic, error=error)
                for k, (traffic, error) in enumerate(points)
            ),
            problem="c0ffee",
        )
        named = {"operation": "mutate", "proposer": "offline", **rest}
        return Told(iteration=iteration, source=source, verdict=verdict, **named)

    return make


@pytest.fixture
def fail() -> Callable[..., Verdict]:
    def make(status: Any, feedback: str = "it did not work") -> Verdict:
        return Verdict(valid=False, status=status, feedback=feedback)

    return make


@pytest.fixture
def archive(tmp_path: Path, start: Callable[..., Started]) -> Iterator[Archive]:
    with Archive.create(tmp_path / "run", start()) as archive:
        yield archive
