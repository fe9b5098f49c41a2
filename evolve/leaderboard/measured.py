"""What was measured of each method: verdicts of the `select` split and of the model stage, kept in JSON.

A verdict belongs to a program and to the problem's hash. Those that ship were measured by `vevolve leaderboard
--fresh`; a user's own are kept in a file of theirs and come first. A verdict under another hash of the problem is
shown as stale, never as if it were new.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from vevolve.errors import BadInput
from vevolve.evaluators.contract import Problem
from vevolve.evaluators.examination import examine
from vevolve.evaluators.programs import read_program
from vevolve.types import Candidate, Seed, Subject, Value, Verdict

PROBLEMS = ("sparse_decode", "kv_eviction", "kv_quantization")
"""Those whose methods stand on the board."""
SHIPPED = Path(__file__).parent / "measured.json"
OWN = Path("runs") / "measured.json"
SEED = Seed(b"vevolve leaderbd")
"""The same randomness for every method, so that they are compared on equal terms."""

QUESTIONS = 1
"""Questions of every kind that the model stage asks here; `vevolve eval --model` asks two."""

MODEL = "smollm2"
"""Inside which model the shipped measurements were made."""

Stage = Literal["select", "model"]


class Measured(Value):
    """One verdict of one program.

    Attributes:
        problem: the problem's name.
        method: the program's file name, without suffix.
        id: the candidate's id.
        stage: which stage gave the verdict.
        model: inside which model; "" for `select`.
        verdict: what was found, without the breakdown; inside a model, a point for each budget that was asked for.
    """

    problem: str
    method: str
    id: str
    stage: Stage
    model: str = ""
    verdict: Verdict

    @property
    def key(self) -> tuple[str, str, Stage, str]:
        """What it is a verdict on: two of one key do not stand in one file."""
        return self.problem, self.method, self.stage, self.model


@dataclass(frozen=True)
class Entry:
    """A method on the board.

    Attributes:
        method: its name.
        file: its program.
        candidate: the program itself.
        select: its verdict on recorded traces that no search has seen, if it was measured.
        inside: its verdict inside a language model, if it was measured.
        stale: a verdict was measured under another version of the problem.
    """

    method: str
    file: Path
    candidate: Candidate
    select: Verdict | None
    inside: Verdict | None
    stale: bool

    @property
    def reference(self) -> bool:
        """Whether it reads what no real method could: a line on plots, out of the ranking."""
        return self.candidate.constants.get("REFERENCE") is True

    @property
    def published(self) -> str:
        """The published figure that the program itself names, or ""."""
        return str(self.candidate.constants.get("PUBLISHED", ""))

    @property
    def title(self) -> str:
        """The first line of the program's docstring."""
        text = (ast.get_docstring(self.candidate.tree) or "").strip()
        return text.splitlines()[0] if text else ""


def methods(problem: Problem, files: Sequence[Path] = ()) -> dict[str, Path]:
    """The problem's seeds by name, and a user's own programs.

    Raises:
        BadInput: two of the user's programs have one name.
    """
    found = dict(sorted(problem.seeds().items()))
    for file in files:
        if file.stem in found and found[file.stem].resolve() != file.resolve():
            raise BadInput(f"{file}: there is a method named '{file.stem}' already. Give the file another name.")
        found[file.stem] = file
    return found


def read(path: Path) -> list[Measured]:
    """The verdicts in a file; none where there is no file. Raises `BadInput` for a damaged one."""
    if not path.is_file():
        return []
    try:
        return [Measured.model_validate(one) for one in json.loads(path.read_text())]
    except (OSError, ValueError, ValidationError) as error:
        raise BadInput(f"{path} holds no measurements that can be read. Remove it to measure anew.") from error


def write(path: Path, found: Iterable[Measured]) -> None:
    """Replace the file whole, so that a kill in between leaves the old one."""
    rows = [one.model_dump(mode="json", exclude_defaults=True) for one in found]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    part.replace(path)


def replaced(found: Sequence[Measured], new: Measured) -> list[Measured]:
    """What was found with the new verdict in the place of the one before it, or at the end."""
    keys = [one.key for one in found]
    place = keys.index(new.key) if new.key in keys else len(keys)
    return [*found[:place], new, *(one for one in found[place + 1 :] if one.key != new.key)]


def joined(before: Measured, new: Measured) -> Measured:
    """Two verdicts on one program inside one model, as one with the points of both; of one budget, the new one."""
    if new.stage != "model" or not (before.verdict.valid and new.verdict.valid):
        return new
    labels = {point.label for point in new.verdict.points}
    points = (*(point for point in before.verdict.points if point.label not in labels), *new.verdict.points)
    return new.model_copy(update={"verdict": new.verdict.model_copy(update={"points": points})})


def about(one: Measured, problem: Problem, method: str, model: str | None, label: str) -> bool:
    """Whether a verdict says what is asked: of this method on the `select` split, or inside a model at one budget."""
    if one.key != (problem.name, method, "select" if model is None else "model", model or ""):
        return False
    return model is None or not one.verdict.valid or label in {point.label for point in one.verdict.points}


def fits(one: Measured, problem: Problem, candidate: Candidate) -> bool:
    """Whether a verdict is about this very program, on this very version of the problem."""
    return (one.problem, one.id, one.verdict.problem) == (problem.name, candidate.id, problem.hash)


def entries(
    problem: Problem, found: Sequence[Measured], files: Sequence[Path] = (), *, model: str = MODEL
) -> list[Entry]:
    """Every method with what was measured of it, inside `model`; of several verdicts, the first that fits."""
    board: list[Entry] = []
    for method, file in methods(problem, files).items():
        candidate = read_program(file)
        best: dict[str, Measured] = {}
        for one in found:
            if (one.problem, one.method) != (problem.name, method) or one.model not in ("", model):
                continue
            if one.stage not in best or (
                fits(one, problem, candidate) and not fits(best[one.stage], problem, candidate)
            ):
                best[one.stage] = one
        select, inside = best.get("select"), best.get("model")
        board.append(
            Entry(
                method=method,
                file=file,
                candidate=candidate,
                select=select.verdict if select else None,
                inside=inside.verdict if inside else None,
                stale=not all(fits(one, problem, candidate) for one in best.values()),
            )
        )
    return board


def measure(
    problem: Problem, method: str, candidate: Candidate, subject: Subject, *, model: str | None = None, label: str = ""
) -> Measured:
    """Examine one method: on the `select` split, or inside a model at one operating point.

    Raises:
        BadInput: the problem has no model stage, or the model cannot be loaded.
        MissingDependency: the model stage needs packages that are not installed.
    """
    if model is None:
        verdict = examine(problem, subject, SEED, promotion=True)
        kept = verdict.model_copy(update={"report": {}})
        return Measured(problem=problem.name, method=method, id=candidate.id, stage="select", verdict=kept)
    from vevolve.evaluators.inside.stage import judge

    verdict = judge(problem, subject, label or problem.headline, SEED, model=model, each=QUESTIONS)
    return Measured(problem=problem.name, method=method, id=candidate.id, stage="model", model=model, verdict=verdict)
