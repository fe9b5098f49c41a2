"""Attempts without a model: candidates whose documents come out by a known law."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vevolve import __version__
from vevolve.archive import Archive
from vevolve.archive.certificates import assemble
from vevolve.archive.events import Started
from vevolve.evaluators.contract import Sealed
from vevolve.evolve.certification.attempt import Fault, Outcome, Setting, attempt
from vevolve.evolve.certification.plan import Plan
from vevolve.types import Candidate, Containment, Objective, Seed

LAYERS, HEADS, GROUP, STEPS = (3, 7), 2, 2, 4
SEED = 3
"""Of all documents. Some of them violate by the laws of low rates."""
Law = Callable[[np.random.Generator], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
CANDIDATE = Candidate("def select(query):\n    return 0\n")


def steady(rate: float, token_rate: float = 0.0) -> Law:
    """Every unit violates by itself, with this chance."""
    shape = (len(LAYERS), HEADS, STEPS * GROUP)
    return lambda draw: (draw.random(shape) < rate, draw.random(STEPS) < token_rate)


def clustered(rate: float) -> Law:
    """A document is bad in all of its units or in none."""

    def law(draw: np.random.Generator) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        bad = draw.random() < rate
        return np.full((len(LAYERS), HEADS, STEPS * GROUP), bad), np.zeros(STEPS, dtype=bool)

    return law


def one_bad_head(rate: float) -> Law:
    """All heads but one never violate: pooled, that one is hidden."""

    def law(draw: np.random.Generator) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        over = np.zeros((len(LAYERS), HEADS, STEPS * GROUP), dtype=bool)
        over[1, 0] = draw.random(STEPS * GROUP) < rate
        return over, np.zeros(STEPS, dtype=bool)

    return law


def bits(found: Any) -> str:
    return "".join("1" if one else "0" for one in np.ravel(found))


def examine(law: Law) -> Callable[[Iterable[Seed]], Iterator[Sealed | Fault]]:
    """Documents that come out by a law, the same in every attempt: their keys follow from a secret that is drawn anew,
    and an attempt that meets others may take another course."""

    def run(keys: Iterable[Seed]) -> Iterator[Sealed | Fault]:
        for number, key in enumerate(keys):
            over, differs = law(np.random.default_rng((SEED, number)))
            yield Sealed(
                hash=hashlib.sha256(key.key).hexdigest(),
                source="a law",
                stratum="prose",
                over={str(layer): [bits(head) for head in over[place]] for place, layer in enumerate(LAYERS)},
                differs=bits(differs),
            )

    return run


def setting() -> Setting:
    return Setting(
        problem="sparse_decode",
        problem_hash="c0ffee",
        point={"label": "64 tokens", "tokens": 64, "epsilon": None, "delta": None},
        generator={
            "name": "a law", "version": 1, "split": "sealed", "model": "none", "loaded_as": "none", "tokens": 64,
            "steps": STEPS, "layers": list(LAYERS), "heads": HEADS, "group": GROUP,
        },
        versions={"vevolve": __version__},
        containment=Containment(level="L2"),
    )  # fmt: skip


def ledger(path: Path) -> Archive:
    started = Started(
        run="certificates",
        version="0",
        problem="sparse_decode",
        problem_hash="c0ffee",
        objectives=(Objective("error", "min", worst=1.0),),
        seed="",
        seed_commitment="",
        config={},
        containment=Containment(level="L2"),
    )
    return Archive.create(path, started)


def tried(archive: Archive, law: Law, **named: Any) -> Outcome:
    plan = Plan(**{"epsilon": 0.1, "delta": 0.1, **named})
    return attempt(archive, CANDIDATE, setting(), plan, examine(law))


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with ledger(tmp_path / "log") as opened:
        yield opened


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A genuine certificate by betting. Copy it before you change it."""
    with ledger(tmp_path_factory.mktemp("genuine") / "log") as archive:
        found = tried(archive, steady(0.004, 0.002))
        assert found.concluded.issued
        return assemble(archive, found.seq, CANDIDATE, __version__)


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """The functions of this file: test modules are imported by path and cannot import it."""
    return SimpleNamespace(
        steady=steady, clustered=clustered, one_bad_head=one_bad_head, tried=tried, examine=examine, setting=setting,
        ledger=ledger, bits=bits, CANDIDATE=CANDIDATE, LAYERS=LAYERS, HEADS=HEADS, GROUP=GROUP, STEPS=STEPS,
    )  # fmt: skip
