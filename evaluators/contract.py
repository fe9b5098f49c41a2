"""The contract of a problem: what it declares, and the one method that judges a candidate.

A problem is a folder with a `problem.py` that holds a subclass of `Problem` and one instance of it, named `problem`.
Its examination reads as straight-line code, because every failure of a candidate is raised as a `CandidateFault` by
the subject and turned into an invalid verdict in one place, `vevolve.evaluators.examination`.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from vevolve import registry, types
from vevolve.errors import BadInput, BadProblem, UnknownName
from vevolve.types import Bound, Candidate, Objective, Point, Seed, Split, Subject, Value, Verdict

if TYPE_CHECKING:
    from vevolve.evaluators.inside.context import Context
    from vevolve.evaluators.inside.stage import Inside


class Function(Value):
    """A function that a candidate defines at top level.

    Attributes:
        name: its name.
        arguments: the names it may ask for.
        required: whether a candidate without it is refused.
        positional: arguments are passed by position, so the candidate names them as it likes.
    """

    name: str
    arguments: tuple[str, ...] = ()
    required: bool = True
    positional: bool = False


class Stage(Value):
    """One step of the cascade, cheap to dear. An invalid verdict ends the cascade.

    Attributes:
        name: what a verdict calls it.
        split: whose workload it uses.
        promotion: run only for candidates that gained on the `search` split.
    """

    name: str
    split: Split = "search"
    promotion: bool = False


class Published(Value):
    """A figure from the literature to hold ours against."""

    name: str
    values: dict[str, float]
    source: str


@dataclass(frozen=True)
class Workload:
    """The cases of one stage.

    Attributes:
        stage: the stage they belong to.
        seed: randomness of this examination; candidates only ever see seeds derived from it.
        cases: what the problem's `examine` walks over; their type is the problem's own.
        inputs: names a user's own inputs, such as by their hashes; empty for the problem's own cases. Verdicts on
            other inputs stand under another hash.
    """

    stage: Stage
    seed: Seed
    cases: Sequence[Any] = ()
    inputs: str = ""


class Sealed(Value):
    """What a candidate did on one fresh document of the `sealed` split.

    Attributes:
        hash: names the document: of the model that reads it and its tokens.
        source: where its text comes from.
        stratum: what kind of document was drawn.
        over: layer -> for each KV head one character a unit, 1 where the error exceeded epsilon.
        differs: one character a step, 1 where the greedy token differs from the dense model's.
    """

    hash: str
    source: str
    stratum: str
    over: dict[str, list[str]]
    differs: str


class Certifier(Protocol):
    """Draws fresh documents and examines candidates on them, at one operating point."""

    @property
    def generator(self) -> dict[str, Any]:
        """What documents are drawn from: name, model, tokens, steps; and what is examined: layers, heads, group."""
        ...

    def examine(self, subject: Subject, key: Seed) -> Sealed:
        """Draw the document of a key and examine a candidate on it. Raises `CandidateFault`."""
        ...


class Sealing(Value):
    """What a certifier is asked for.

    Attributes:
        epsilon: the relative error that counts as a violation, where above.
        delta: the share that is allowed; a method that verifies itself is asked for both.
        at: the label of an operating point; "" for epsilon and delta themselves.
        model: records the documents; "" for the problem's own.
        tokens: of a document.
        steps: decode steps of a document.
        layers: whose heads are examined; None for all.
    """

    epsilon: float
    delta: float
    at: str = ""
    model: str = ""
    tokens: int = 2_048
    steps: int = 8
    layers: tuple[int, ...] | None = None


class Problem:
    """Base class of all problems. A subclass declares the class attributes and writes `examine`.

    Its docstring tells a model, in a sentence or two, what is asked; `task.md` beside it, if present, tells the rest.
    """

    name: ClassVar[str]
    objectives: ClassVar[tuple[Objective, ...]]
    functions: ClassVar[tuple[Function, ...]]
    stages: ClassVar[tuple[Stage, ...]] = (
        Stage(name="search"),
        Stage(name="select", split="select", promotion=True),
    )
    arrays: ClassVar[Literal["numpy", "torch"]] = "numpy"
    """What a candidate sees where an array is passed."""
    default_seed: ClassVar[str] = "seed"
    """The seed that `check problem` takes for an honest program."""
    headline: ClassVar[str] = ""
    """The label of the operating point that leaderboards rank by, and at which the model stage judges by default.
    "" where the problem has no model stage."""
    promotion_gain: ClassVar[float] = 0.0
    """Hypervolume that a candidate must add to the `search` front, more than this, to be examined for promotion."""
    published: ClassVar[tuple[Published, ...]] = ()
    shares: ClassVar[tuple[str, ...]] = ()
    """Sibling folders of `evaluators/` whose files judge as well, and so belong to the hash."""
    modules: ClassVar[frozenset[str]] = frozenset()
    """What programs here import by rights besides libraries of arrays, such as "triton": no cause for the alarm."""

    def examine(self, subject: Subject, workload: Workload) -> Verdict:
        """Judge a candidate on a workload. Returns `self.verdict(...)` or `self.invalid(...)`."""
        raise NotImplementedError(f"{type(self).__name__} defines no examine(self, subject, workload)")

    def workload(self, stage: Stage, seed: Seed) -> Workload:
        """The cases of a stage; the same stage and seed give the same cases. By default there are none."""
        return Workload(stage, seed)

    def workload_from(self, files: Sequence[Path], seed: Seed) -> Workload:
        """A workload read from a user's files. Raises `BadInput` where a problem takes none."""
        raise BadInput(f"{self.name} takes no files of its own (got {', '.join(map(str, files))}).")

    def screen(self, candidate: Candidate) -> None:
        """Where programs are data to the problem: refuse a text before any process starts. By default none is.

        Raises `CandidateFault` for a text that `examine` would refuse unread.
        """

    def fresh(self, key: Seed) -> Workload:
        """The one fresh document that a key stands for, as a workload of `vevolve.evaluators.fresh.STAGE`.

        Raises `BadProblem` where a problem draws none.
        """
        raise BadProblem(f"{self.name} draws no fresh documents")

    def inside(self, subject: Subject, context: Context, label: str, seed: Seed) -> Inside:
        """The candidate's compression of one context inside a model, at the operating point `label`.

        Raises `BadInput` where the problem has no model stage.
        """
        raise BadInput(f"{self.name} has no model stage.")

    def sealing_point(self, candidate: Candidate, sealing: Sealing) -> dict[str, Any]:
        """The operating point at which a certificate is sought: its label, and what the candidate is given.

        Raises:
            BadInput, UnknownName: the candidate has no such point, or the problem has no certificates.
        """
        raise BadInput(f"{self.name} has no certificates: it declares no generator of sealed documents.")

    def certifier(self, candidate: Candidate, sealing: Sealing) -> Certifier:
        """Loads the model that records. Raises as `sealing_point`, and `MissingDependency`."""
        raise BadInput(f"{self.name} has no certificates: it declares no generator of sealed documents.")

    # ------------------------------------------------------------------------------------------------- verdicts

    def verdict(
        self,
        *points: Point,
        bounds: Sequence[Bound] = (),
        feedback: str = "",
        report: dict[str, Any] | None = None,
    ) -> Verdict:
        """A valid verdict.

        Raises:
            BadProblem: a point holds no number for one of the objectives.
        """
        for point in points:
            values = point.model_extra or {}
            missing = [axis.name for axis in self.objectives if not isinstance(values.get(axis.name), int | float)]
            if missing:
                raise BadProblem(
                    f"every point must hold every objective ({', '.join(axis.name for axis in self.objectives)}); "
                    f"point '{point.label}' holds no {' and no '.join(missing)}"
                )
        return Verdict(
            valid=True,
            points=points,
            bounds=tuple(bounds),
            feedback=feedback,
            report=report or {},
            problem=self.hash,
        )

    def invalid(self, feedback: str, status: types.Status = "wrong", report: dict[str, Any] | None = None) -> Verdict:
        """An invalid verdict, with text that says what rule was broken and by how much."""
        return Verdict(valid=False, status=status, feedback=feedback, report=report or {}, problem=self.hash)

    # ---------------------------------------------------------------------------------------------- what it is

    @functools.cached_property
    def folder(self) -> Path:
        """The folder that holds the problem."""
        try:
            file = inspect.getfile(type(self))
        except (TypeError, OSError):  # its module was not imported here: it came by value, or was typed in
            file = type(self).examine.__code__.co_filename
        return Path(file).resolve().parent

    @functools.cached_property
    def hash(self) -> str:
        """Of every file of the problem and of the shared contract: verdicts under different hashes never mix."""
        digest = hashlib.sha256()
        homes = [Path(file).resolve().parent for file in (__file__, types.__file__)]
        shared = [path for home in homes for path in sorted(home.glob("*.py"))]
        folders = [self.folder, *(Path(__file__).resolve().parent / name for name in self.shares)]
        for path in [*shared, *(path for folder in folders for path in _judging(folder))]:
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    @property
    def statement(self) -> str:
        """What a model is told of the problem: the docstring, then `task.md`."""
        task = self.folder / "task.md"
        text = inspect.cleandoc(type(self).__doc__ or "")
        return text + ("\n\n" + task.read_text() if task.is_file() else "")

    def seeds(self) -> dict[str, Path]:
        """The seeds by name: `seeds/` in the problem's own folder, then those that ship for its name."""
        folders = [self.folder / "seeds", registry.seed_folder(self.name)]
        return {
            path.stem: path for folder in reversed(folders) for path in folder.glob("*.py") if path.stem != "__init__"
        }

    def cheats(self) -> dict[str, Path]:
        """Hostile candidates that must score no better than an honest one."""
        return {path.stem: path for path in sorted((self.folder / "cheats").glob("*.py"))}

    def seed(self, name: str) -> Path:
        """The file of one seed. Raises `UnknownName` with the nearest known name."""
        seeds = self.seeds()
        if name not in seeds:
            raise UnknownName(f"seed of {self.name}", name, seeds)
        return seeds[name]

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)


def _judging(folder: Path) -> list[Path]:
    """The files of a folder that can change a verdict: programs, runs and what tools leave behind cannot."""
    aside = {"cheats", "seeds", "runs", "__pycache__"}
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part in aside or part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def load(name: str) -> Problem:
    """The problem of that name: shipped, from an entry point, or at a path.

    Raises:
        UnknownName: no such problem.
        BadProblem: it cannot be imported, holds no instance named `problem`, or lacks name, objectives or functions.
    """
    module = registry.problem_module(name)
    problem = getattr(module, "problem", None)
    if not isinstance(problem, Problem):
        raise BadProblem(f"{module.__file__} must define `problem`, an instance of vevolve.Problem; found {problem!r}.")
    missing = [name for name in ("name", "objectives", "functions") if not hasattr(problem, name)]
    if missing:
        raise BadProblem(f"{module.__file__}: {type(problem).__name__} must declare `{'` and `'.join(missing)}`.")
    return problem
