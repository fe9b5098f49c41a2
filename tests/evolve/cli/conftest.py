import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vevolve.evolve.cli import main
from vevolve.types import Seed

Invoke = Callable[..., "Outcome"]


class Outcome:
    """What a command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def vevolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Run a command in an empty folder of its own, without keys or settings from outside.

    As in a shell where the environment is active: commands that are printed begin with plain `vevolve`.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return invoke


@pytest.fixture(scope="session")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of twelve evaluations. Read it, never write to it."""
    directory = tmp_path_factory.mktemp("cli") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Seed, "fresh", classmethod(lambda cls: cls(b"the finished run")))
        code = main(
            ["run", "circle_packing/grid", "-n", "12", "--workers", "inline", "--directory", str(directory), "--json"]
        )
    assert code == 0
    return directory


@pytest.fixture
def run(evolved: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, as the only one under runs/."""
    return Path(shutil.copytree(evolved, tmp_path / "runs" / "finished"))
