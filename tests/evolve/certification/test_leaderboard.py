"""The leaderboard's column of certificates, from ledgers as `certify` leaves them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vevolve.archive import Archive
from vevolve.evaluators.contract import load
from vevolve.evaluators.programs import read_program
from vevolve.evolve.certification.attempt import attempt
from vevolve.evolve.certification.plan import Plan
from vevolve.evolve.cli import main
from vevolve.types import Candidate


@pytest.fixture
def ledger(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    monkeypatch.chdir(tmp_path)
    Path("runs/certificates").mkdir(parents=True)
    with lab.ledger(Path("runs/certificates/sparse_decode-L2")) as opened:
        yield opened


def seed(name: str) -> Candidate:
    return read_program(load("sparse_decode").seed(name))


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, str | None]:
    assert main(["leaderboard", "-p", "sparse_decode", "--json"]) == 0
    return {row["method"]: row["certificate"] for row in json.loads(capsys.readouterr().out)}


def attempted(archive: Archive, lab: Any, name: str, rate: float, delta: float = 0.1) -> bool:
    plan = Plan(epsilon=0.1, delta=delta)
    found = attempt(archive, seed(name), lab.setting(), plan, lab.examine(lab.steady(rate)))
    return found.concluded.issued


def test_what_was_certified_stands_in_the_row_of_its_program_and_in_no_other(
    ledger: Archive, lab: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attempted(ledger, lab, "quest", 0.0)
    assert not attempted(ledger, lab, "socket", 0.9)
    found = shown(capsys)
    assert found.pop("quest") == "eps=0.1 delta=0.1 at 64 tokens"
    assert set(found.values()) == {None} and "socket" in found
    assert main(["leaderboard", "-p", "sparse_decode"]) == 0
    table = capsys.readouterr().out
    assert "certificate" in table and "eps=0.1" in table


def test_of_several_certificates_the_latest_is_shown_and_a_later_failure_is_told(
    ledger: Archive, lab: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attempted(ledger, lab, "quest", 0.0) and attempted(ledger, lab, "quest", 0.0, delta=0.2)
    assert shown(capsys)["quest"] == "eps=0.1 delta=0.2 at 64 tokens"
    assert not attempted(ledger, lab, "quest", 0.9)
    assert shown(capsys)["quest"] == "eps=0.1 delta=0.2 at 64 tokens"  # what failed was the stricter one
    assert not attempted(ledger, lab, "quest", 0.9, delta=0.2)
    assert shown(capsys)["quest"] == "eps=0.1 delta=0.2 at 64 tokens (failed since)"


def test_a_ledger_of_another_problem_says_nothing_here(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/certificates").mkdir(parents=True)
    with lab.ledger(Path("runs/certificates/kv_eviction-L2")) as other:
        assert attempted(other, lab, "quest", 0.0)
    assert set(shown(capsys).values()) == {None}
