"""Contests on a device: what a hostile program may not gain shows, here on a CPU; without a GPU, each is skipped."""

import pytest

from vevolve.evolve.attack import Attack, device_siege, with_gpu
from vevolve.evolve.attack.on_gpu import HONEST, Contest
from vevolve.sandbox import Limits, Sandbox, profiles

STALE = (
    HONEST
    + """
def score(query):
    if "out" not in held: held["out"] = held["matrix"] @ query
    return held["out"]
"""
)
SLOW = (
    HONEST
    + """
import time
REAL_S = 0.04
def score(query):
    time.sleep(REAL_S)
    return held["matrix"] @ query
"""
)


def attack(text, expected):
    return Attack("home_made", "A test.", "gpu", (expected,), text, whole=True)


@pytest.fixture(scope="module")
def on_cpu():
    with Sandbox(limits=Limits(memory_bytes=1 << 30)) as sandbox:
        yield Contest(sandbox, quiet=None, rows=256, slow_s=float("inf"))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (STALE, "wrong"),
        (SLOW, "fair"),
        (HONEST + "import os\ndef score(query): os.abort()", "crash"),
        ("import no_such_library", "crash"),
        (HONEST + "del score", "interface"),
    ],
    ids=["stale", "slow", "aborts", "never_opens", "has_no_score"],
)
def test_a_program_gets_the_verdict_that_it_deserves(text, verdict, on_cpu):
    outcome = on_cpu.run(attack(text, verdict))
    assert (outcome.verdict, outcome.succeeded) == (verdict, False), outcome.contained_by
    missed = on_cpu.run(attack(text, "resource"))
    assert missed.succeeded and missed.contained_by.startswith(f"nothing: its verdict is {verdict}")


def test_a_contest_that_verifies_nothing_shows(on_cpu, monkeypatch):
    monkeypatch.setattr(Contest, "check", lambda *_: "")
    assert on_cpu.run(attack(STALE, "wrong")).succeeded


def test_an_attack_after_which_an_honest_program_is_at_fault_succeeds(on_cpu, monkeypatch):
    monkeypatch.setattr(Contest, "check", lambda *_: "off by 1")
    outcome = on_cpu.run(attack(STALE, "wrong"))
    assert outcome.succeeded and "an honest program beside it was slow or at fault: call" in outcome.contained_by


def test_every_attack_on_a_gpu_says_what_it_wants_and_expects():
    found = with_gpu()
    assert len(found) == 9 and {one.group for one in found} == {"gpu"}
    assert all("Expected: " in one.text and one.goal.endswith(".") and len(one.expected) == 1 for one in found)


@pytest.mark.skipif(bool(profiles.gpus()), reason="this machine has a GPU")
def test_without_a_gpu_attacks_on_one_are_skipped_with_a_reason():
    with device_siege() as run:
        rows = [run(one) for one in with_gpu()]
    assert {row.verdict for row in rows} == {"skipped"} and not any(row.succeeded for row in rows)
    assert all("No GPU can be used" in row.contained_by for row in rows)
