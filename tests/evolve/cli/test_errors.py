"""A user's mistake gets one clear line and exit code 2; a failure 1; nobody gets a traceback."""

import errno
from pathlib import Path

import pytest

from vevolve.archive import Archive
from vevolve.evolve.cli import read

EVAL = ["eval", "program.py", "--problem", "circle_packing"]
RUN = ["run", "circle_packing/grid", "--workers", "inline"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "circle_packing/gird"], "Did you mean 'circle_packing/grid'?"),
        (["run", "circle_pakcing/grid"], "Did you mean 'circle_packing/"),
        (["run", "program.py"], "--problem NAME"),
        (["run", "program.py", "--problem", "circle_pakcing"], "Did you mean 'circle_packing'?"),
        (["run", "broken.py", "--problem", "circle_packing"], "line 1"),
        (["run", "lacking.py", "--problem", "circle_packing"], "must define `def pack(...)`"),
        ([*RUN, "--model", "oflfine"], "Did you mean 'offline'?"),
        ([*RUN, "--model", "offline=0"], "must be above 0"),
        ([*RUN, "--evaluations", "0"], "'evaluations'"),
        ([*RUN, "--evaluations", "many"], "found 'many'"),
        ([*RUN, "--usd", "-1"], "'usd'"),
        ([*RUN, "--usd", "nan"], "'usd'"),
        (["run", "circle_packing/grid", "--workers", "0"], "'workers'"),
        (["run", "circle_packing/grid", "--workers", "several"], "'workers'"),
        ([*RUN, "--price", "model=cheap"], "MODEL=INPUT,OUTPUT"),
        ([*RUN, "--price", "1,2"], "MODEL=INPUT,OUTPUT"),
        ([*RUN, "--style", "poem"], "'style'"),
        ([*RUN, "--config", "absent.toml"], "absent.toml"),
        ([*RUN, "--config", "program.py"], "not valid TOML"),
        ([*RUN, "--config", "typo.toml"], "Did you mean 'evaluations'?"),
        ([*RUN, "--directory", "runs/finished"], "vevolve resume"),
        ([*RUN, "--evalutions", "3"], "--eval"),
        (["rnu"], "rnu"),
        (["eval", "absent.py", "--problem", "circle_packing"], "No program at absent.py"),
        (["eval", "circle_packing/gird"], "Did you mean 'circle_packing/grid'?"),
        (["eval", "program.py"], "--problem NAME"),
        (["eval", "binary.py", "--problem", "circle_packing"], "UTF-8"),
        ([*EVAL, "--split", "sealed"], "Known: search, select"),
        ([*EVAL, "--traces", "program.py"], "takes no files"),
        (["eval", "sparse_decode/quest", "--traces", "program.py"], "program.py"),
        (["eval", "sparse_decode/quest", "--traces", "absent.safetensors"], "absent.safetensors"),
        (["ls", "absent"], "No run named 'absent'"),
        (["ls", "--status", "krash"], "Did you mean 'crash'?"),
        (["ls", "--order", "newst"], "Did you mean 'newest'?"),
        (["front", "--split", "serach"], "Did you mean 'search'?"),
        (["show", "ffff"], "ffff"),
        (["show", ""], "found nothing"),
        (["front", "--family", "nope"], "No family named 'nope'"),
        (["run", "./absent.py", "--problem", "circle_packing"], "No program at absent.py"),
        (["run", "gird"], "Did you mean 'circle_packing/grid'?"),
        (["frnt"], "Did you mean 'front'? See"),
        (["check", "problem", "."], "holds no problem.py"),
        (["eval", "program.py", "--problem", "."], "holds no problem.py"),
        ([*RUN, "--model", "openai:some-model"], "OPENAI_API_KEY"),
        ([*RUN, "--model", "anthropic:some-model"], "ANTHROPIC_API_KEY"),
        (["export", "SEED", "--out", "program.py"], "exists already"),
        (["export", "--all", "runs"], "exists already"),
        ([*RUN, "--directory", "program.py"], "is a file"),
        (["show"], "ID"),
        (["diff", "SEED"], "has no parent"),
        (["resume", "absent"], "No run named 'absent'"),
        (["resume", "runs/finished", "--evaluations", "-3"], "'evaluations'"),
        (["rm", "program.py", "--yes"], "No run named"),
        (["rm", ".", "--yes"], "No "),
        (["new", "problem", "two words"], "Python identifier"),
        (["new", "problem", "circle_packing"], "is there already"),
        (["check", "problem", "circle_pakcing"], "Did you mean 'circle_packing'?"),
        (["traces", "record", "--text", "absent.txt", "--out", "out.safetensors"], "absent.txt"),
        (
            ["traces", "record", "--text", "program.py", "--out", "o.safetensors", "--layers", "one"],
            "numbers and commas",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_gets_one_line_and_exit_code_2(vevolve, run: Path, arguments: list[str], message: str) -> None:
    Path("program.py").write_text("def pack(n):\n    return None\n")
    Path("broken.py").write_text("def pack(n:\n")
    Path("lacking.py").write_text("def place(n):\n    return None\n")
    Path("binary.py").write_bytes(b"\xff\xfe\x00")
    Path("typo.toml").write_text("evaluation = 3\n")
    before = sorted(path.name for path in run.parent.iterdir())
    with Archive.open(run) as archive:
        arguments = [archive.records()[0].id if word == "SEED" else word for word in arguments]
    outcome = vevolve(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err + outcome.out
    assert sorted(path.name for path in run.parent.iterdir()) == before


def test_a_problem_that_does_not_import_is_one_line_and_exit_code_1(vevolve) -> None:
    Path("problem.py").write_text("import nothing_of_that_name\n")
    outcome = vevolve("check", "problem", ".")
    assert outcome.code == 1
    assert "nothing_of_that_name" in outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("dollars", [["--usd", "5"], ["--usd", "0.001", "--price", "some-model=2,10"]])
def test_dollars_that_cannot_be_kept_are_misuse(vevolve, monkeypatch, dollars: list[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing")
    outcome = vevolve(*RUN, "--model", "openai:some-model", *dollars)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "--usd" in outcome.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("group", [[], ["traces"], ["new"], ["check"]])
def test_a_name_without_a_command_gets_the_help_as_it_stands(vevolve, group: list[str]) -> None:
    outcome = vevolve(*group)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == vevolve(*group, "--help").out
    assert outcome.err.startswith("Usage: vevolve")
    assert outcome.err.count("\n") > 5


def test_a_wrong_name_in_the_environment_is_an_error_with_the_nearest(vevolve, monkeypatch) -> None:
    monkeypatch.setenv("VEVOLVE_EVALUATION", "3")
    outcome = vevolve(*RUN)
    assert (outcome.code, "Did you mean 'evaluations'?" in outcome.err) == (2, True)


def test_a_reader_without_any_run_says_so(vevolve) -> None:
    for reader in (["front"], ["ls"], ["resume"], ["show", "abc"]):
        outcome = vevolve(*reader)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert "No runs under ./runs yet; start one with `vevolve run " in outcome.err


def test_a_full_disk_is_one_line(vevolve, run: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "archive.db")

    monkeypatch.setattr(read, "open_run", full)
    outcome = vevolve("ls")
    assert (outcome.code, outcome.err) == (1, "error: No space left on device: archive.db.\n")


def test_a_bug_of_ours_is_one_line_that_says_how_to_report_it(vevolve, monkeypatch) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(read, "open_run", bug)
    outcome = vevolve("ls")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "vevolve --debug ls" in outcome.err
    with pytest.raises(ZeroDivisionError):
        vevolve("--debug", "ls")


def test_a_database_of_a_newer_version_is_refused_in_one_line(vevolve, run: Path) -> None:
    import sqlite3

    with sqlite3.connect(run / "archive.db") as db:
        db.execute("PRAGMA user_version = 9999")
    db.close()
    outcome = vevolve("ls")
    assert (outcome.code, "upgrade vEvolve" in outcome.err) == (1, True)
