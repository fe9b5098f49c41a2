import json
import os
import sys

import pytest

from vevolve.evolve.attack import trial
from vevolve.sandbox import profiles

KEYS = ["name", "group", "expected", "verdict", "contained_by", "succeeded"]


def test_the_scoreboard_as_json_is_a_list_of_what_was_asked_for(vevolve) -> None:
    done = vevolve("attack", "-p", "circle_packing", "--fast", "--group", "geometry", "--json")
    found = json.loads(done.out)
    assert (done.code, [list(row) for row in found]) == (0, [KEYS] * 8)
    assert {row["name"]: row["verdict"] for row in found}["tolerance"] == "fair"
    assert not any(row["succeeded"] for row in found) and all(row["contained_by"] for row in found)


def test_the_scoreboard_for_people_ends_with_a_count(vevolve) -> None:
    done = vevolve("attack", "-p", "circle_packing", "--fast", "--name", "drives_the_terminal")
    lines = done.out.splitlines()
    assert done.code == 0 and lines[0].startswith("1 attacks on circle_packing, sandbox level L")
    assert lines[-1] == "0 of 1 attacks succeeded" and "\x1b" not in done.out
    assert lines[2].split()[:4] == ["ok", "reader/drives_the_terminal", "crash", "crash"]


@pytest.mark.skipif(bool(profiles.gpus()), reason="this machine has a GPU")
def test_attacks_that_need_a_gpu_are_told_as_skipped_and_do_not_count(vevolve) -> None:
    done = vevolve("attack", "-p", "circle_packing", "--fast", "--group", "gpu")
    rows = [line for line in done.out.splitlines() if line.startswith("--")]
    assert done.code == 0 and len(rows) == 9 and all("skipped" in row and "No GPU" in row for row in rows)
    assert done.out.splitlines()[-1] == "0 of 0 attacks succeeded; 9 need a GPU and were skipped"


def test_one_success_is_shown_and_fails_the_command(vevolve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial.readers, "spoken", lambda *_: ["it \x1b[2Jspeaks"])
    done = vevolve("attack", "-p", "circle_packing", "--fast", "--name", "outside")
    assert done.code == 1 and "1 of 1 attacks succeeded" in done.out and "WON" in done.out
    assert "nothing: it speaks" in done.out and "\x1b" not in done.out


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [("--group", "teft", "theft"), ("--name", "outsid", "outside"), ("-p", "nine", "Known")],
)
def test_unknown_names_are_misuse_with_a_hint(option: str, value: str, hint: str, vevolve) -> None:
    problem = [] if option == "-p" else ["-p", "circle_packing"]
    done = vevolve("attack", *problem, "--fast", option, value)
    assert done.code == 2 and hint in done.err


@pytest.mark.parametrize("columns", [40, 80])
def test_nothing_of_the_scoreboard_leaves_a_narrow_terminal_on_its_right(columns: int, monkeypatch, capsys) -> None:
    from vevolve.evolve.attack.trial import Outcome
    from vevolve.evolve.cli import attack

    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((columns, 24)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    names = ["theft", "reads_the_memory_of_others"]
    told = Outcome(
        group=names[0], name=names[1], expected="invalid or timeout", verdict="invalid", succeeded=False,
        contained_by="seccomp, namespaces of processes and users, and what the verifier checks of each answer",
    )  # fmt: skip
    attack._show(told)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    said = " ".join(" ".join(lines).split())
    assert said == f"ok theft/{names[1]} expected {told.expected}, was invalid, contained by {told.contained_by}"
