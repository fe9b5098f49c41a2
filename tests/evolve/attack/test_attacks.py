"""No attack succeeds, each gets a verdict that its header expects, and the scoreboard would tell if one did."""

import collections
import subprocess
import sys

import pytest

from vevolve.errors import BadInput
from vevolve.evaluators.circle_packing.problem import CirclePacking
from vevolve.evaluators.circle_packing.problem import problem as packing
from vevolve.evaluators.contract import load
from vevolve.evaluators.sparse_decode import session
from vevolve.evolve.attack import Attack, cheats, general, siege
from vevolve.evolve.attack.corpus import VERDICTS
from vevolve.evolve.attack.trial import survivors
from vevolve.prompts import render
from vevolve.registry import problem_names
from vevolve.types import Json, Point

GENERAL = {one.name: one for one in general()}
PATIENT = {"timeout"} | {one.name for one in GENERAL.values() if "timeout" in one.expected}
"""Those that end with a deadline, which takes its time."""
QUICK = [name for name in GENERAL if name not in PATIENT] + ["loop_in_a_call", "stolen_input"]


def named(problem, name):
    return next(one for one in [*general(), *cheats(problem)] if one.name == name)


# ------------------------------------------------------------------------------------------------------- the corpus


def test_there_are_attacks_of_every_kind():
    sparse = load("sparse_decode")
    groups = collections.Counter(one.group for one in [*general(), *cheats(sparse), *cheats(packing)])
    assert groups.total() >= 80
    wanted = "escape theft resources forgery timing globals memory reader text smuggling sparsity recognition reads"
    assert all(groups[group] >= 4 for group in wanted.split())


@pytest.mark.parametrize("name", problem_names())
def test_every_cheat_says_what_it_wants_and_expects(name):
    for one in cheats(load(name)):
        assert "Group: " in one.text and "Expected: " in one.text and one.goal.endswith("."), one.name
        assert set(one.expected) < VERDICTS, one.name


@pytest.mark.parametrize(
    "header",
    ["", '"""A goal."""', '"""A goal.\n\nGroup: theft\nExpected: mercy\n"""', '"""A goal.\n\nExpected: fair\n"""'],
)
def test_a_header_that_is_incomplete_is_refused(header, tmp_path):
    (tmp_path / "bad.py").write_text(f"{header}\ndef strike(target): pass\n")
    with pytest.raises(BadInput, match=r"bad\.py must open with a docstring"):
        general(tmp_path)


# --------------------------------------------------------------------------------------------- the real boundary


@pytest.fixture(scope="module")
def on_packing():
    with siege(packing, fast=True) as trial:
        yield trial


@pytest.fixture(scope="module")
def on_sparse():
    with siege(load("sparse_decode"), fast=True) as trial:
        yield trial


@pytest.mark.parametrize("name", QUICK)
def test_no_general_attack_succeeds(name, on_packing):
    outcome = on_packing.run(GENERAL[name])
    assert not outcome.succeeded, outcome.contained_by
    assert outcome.verdict in GENERAL[name].expected and outcome.contained_by


@pytest.mark.parametrize("name", packing.cheats())
def test_no_cheat_at_packing_succeeds(name, on_packing):
    assert not on_packing.run(named(packing, name)).succeeded


SPARSE = ["secret_file", "sprayed_descriptors", "not_a_number", "request_flood", "patched_clocks", "breaks_the_fence"]


@pytest.mark.parametrize("name", [*SPARSE, "forks", "message_in_scratch", "remembers_keys", "index_of_shapes"])
def test_no_attack_on_sparse_decoding_succeeds(name, on_sparse):
    one = named(load("sparse_decode"), name)
    outcome = on_sparse.run(one)
    assert not outcome.succeeded, outcome.contained_by
    assert outcome.verdict in one.expected


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("problem", problem_names())
def test_the_whole_corpus_succeeds_nowhere(problem):
    loaded = load(problem)
    with siege(loaded) as trial:
        outcomes = [trial.run(one) for one in [*general(), *cheats(loaded)]]
    assert [outcome for outcome in outcomes if outcome.succeeded] == []


# ------------------------------------------------------------------------------- a broken boundary must show itself


def succeeded(problem, names, **options):
    """Attack -> what the scoreboard says that it achieved."""
    with siege(problem, fast=True, allow_degraded=True, **options) as trial:
        outcomes = [trial.run(named(problem, name)) for name in names]
    return {outcome.name: outcome.contained_by for outcome in outcomes if outcome.succeeded}


def test_without_the_layers_of_files_theft_and_forged_results_show():
    names = ["secret_file", "run_archive", "results", "files_elsewhere", "verifier_source", "accounts"]
    found = succeeded(packing, names, withhold=("landlock", "mounts"))
    assert set(found) >= {"secret_file", "results", "files_elsewhere", "accounts"}
    assert "it got the secret" in found["secret_file"]
    assert "files were changed" in found["results"] and "files were changed" in found["files_elsewhere"]


def test_without_the_filter_of_system_calls_forks_and_sockets_show():
    found = succeeded(packing, ["forks", "unix_sockets", "own_server"], withhold=("seccomp", "landlock", "network"))
    assert set(found) == {"forks", "unix_sockets", "own_server"}
    assert "it reached the listener" in found["unix_sockets"]


def test_without_the_layers_between_processes_a_killed_bystander_and_a_connection_show():
    layers = ("seccomp", "landlock", "network", "processes", "user")
    found = succeeded(packing, ["signals", "loopback"], withhold=layers)
    assert "it ended another process" in found["signals"]
    assert "it reached the listener at ('127.0.0.1'" in found["loopback"]


class Believing(CirclePacking):
    """A problem whose verifier takes a program's word for its score."""

    def examine(self, subject, workload):
        answer = subject.call("pack", 26, returns=Json())
        score = answer["score"] if isinstance(answer, dict) else sum(circle[2] for circle in answer)
        return self.verdict(Point(label="26 circles", sum_radii=min(float(score), 1e6)))


def test_a_verifier_that_believes_shows():
    found = succeeded(Believing(), ["claims", "zeros"])
    assert set(found) == {"claims"} and "its verdict is better" in found["claims"]


def test_a_verifier_that_asks_once_shows(monkeypatch):
    monkeypatch.setattr(session, "_compare", lambda *_: None)
    found = succeeded(load("sparse_decode"), ["remembers_keys", "memory_in_a_class", "counts_calls"])
    assert set(found) == {"remembers_keys", "memory_in_a_class", "counts_calls"}


def test_a_prompt_that_does_not_quote_shows(monkeypatch):
    monkeypatch.setattr(render, "untrusted", lambda text: text)
    found = succeeded(packing, ["speaks_in_an_error", "printed_verdict"])
    assert set(found) == {"speaks_in_an_error"} and "outside a fence of the prompt" in found["speaks_in_an_error"]


def attack_of(text, expected="fair"):
    return Attack("home_made", "A test.", "test", (expected,), text, whole=False)


def test_another_verdict_than_expected_and_an_attack_that_never_ran_show(on_packing):
    crash = on_packing.run(attack_of("def strike(target):\n    raise ValueError('bang')"))
    assert (crash.succeeded, crash.verdict) == (True, "crash") and "bang" in crash.contained_by
    idle = on_packing.run(
        attack_of("import builtins\n\ndef strike(target):\n    builtins.print = lambda *_, **__: None")
    )
    assert (idle.succeeded, idle.verdict) == (True, "idle")


def test_an_attack_that_would_replace_a_part_of_the_seed_is_refused(on_packing):
    with pytest.raises(BadInput, match="pack"):
        on_packing.run(attack_of("def strike(target): pass\n\ndef pack(n): return None"))


def test_what_lives_on_is_counted():
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]) as parent:
        assert survivors(parent.pid) == 0
        parent.kill()
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"1\n"
        assert survivors(parent.pid) == 1
