"""Pruning drops prompts and replies, and nothing that a conclusion rests on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vevolve.archive import Archive
from vevolve.archive.events import Asked, Proposed
from vevolve.archive.prune import prune
from vevolve.errors import ArchiveError


def exchange(iteration: int) -> Proposed:
    return Proposed(
        iteration=iteration, attempt=0, proposer="m", system="s" * 500, user="u" * 20_000, reply="r" * 5_000, usd=0.1
    )


@pytest.fixture
def run(tmp_path: Path, start: Callable[..., Any], tell: Callable[..., Any]) -> Iterator[Path]:
    with Archive.create(tmp_path / "run", start()) as archive:
        archive.append(tell(0, "x = 0", (0.5, 0.5), operation="seed"))
        for number in range(1, 21):
            archive.append(exchange(number), tell(number, f"x = {number}", (0.4, 0.1 * number)))
        archive.append(Asked(iteration=21, operation="mutate", parents=(), proposer="m"), exchange(21))
    yield tmp_path / "run"


def test_programs_verdicts_and_costs_stay_and_the_log_still_holds(run: Path) -> None:
    with Archive.open(run) as archive:
        before = [(record.to_json(), record.source, record.verdict) for record in archive.records()]
        totals, hashes = archive.totals(), [entry.hash for entry in archive.events()]
    done = prune(run)
    with Archive.open(run) as archive:
        archive.verify()
        assert [(record.to_json(), record.source, record.verdict) for record in archive.records()] == before
        assert archive.totals() == totals and [entry.hash for entry in archive.events()] == hashes
        assert archive.proposed(3)[0].user == "(pruned)"
    assert done.exchanges == 20 and done.after < done.before / 4


def test_an_answer_that_was_paid_for_and_not_used_yet_stays(run: Path) -> None:
    prune(run)
    with Archive.open(run) as archive:
        assert archive.proposed(21)[0].reply == "r" * 5_000


def test_pruning_again_finds_nothing(run: Path) -> None:
    prune(run)
    assert prune(run).exchanges == 0


def test_a_run_that_is_written_to_is_refused(run: Path) -> None:
    with Archive.open(run, write=True), pytest.raises(ArchiveError, match="being written by another process"):
        prune(run)


def test_a_pruned_run_goes_on(run: Path, tell: Callable[..., Any]) -> None:
    prune(run)
    with Archive.open(run, write=True) as archive:
        archive.append(tell(22, "x = 22", (0.1, 0.1)))
        archive.verify()


@pytest.mark.parametrize("kind", ["told", "proposed"])
def test_no_other_change_passes_for_pruning(run: Path, kind: str) -> None:
    prune(run)
    with sqlite3.connect(run / "archive.db") as db:
        seq, text = db.execute("SELECT seq, event FROM events WHERE kind = ? ORDER BY seq LIMIT 1", (kind,)).fetchone()
        event = json.loads(text)
        event.update({"idea": "(pruned)"} if kind == "told" else {"reply": "forged"})
        db.execute(
            "UPDATE events SET event = ? WHERE seq = ?", (json.dumps(event, sort_keys=True, separators=(",", ":")), seq)
        )
    with Archive.open(run) as archive, pytest.raises(ArchiveError, match=f"row {seq} of the log was changed"):
        archive.verify()
