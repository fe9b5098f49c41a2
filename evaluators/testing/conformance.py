"""What every problem must hold to, whoever wrote it.

Each check is a generator of complaints about one problem: none means that it passed. `check` runs them all and
returns a finding each; `ProblemConformance` is the same as a pytest class that a problem's author inherits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

import moocore  # type: ignore[import-untyped]
import numpy as np

from vevolve.errors import BadProblem
from vevolve.evaluators.contract import Problem, Stage
from vevolve.evaluators.examination import examine
from vevolve.evaluators.fresh import Fresh, drawn, examine_fresh, generator
from vevolve.evaluators.programs import read_program
from vevolve.evaluators.testing.corruption import CORRUPTIONS, Corrupted
from vevolve.evaluators.testing.plain import PlainSubject
from vevolve.types import Candidate, Point, Seed, Subject, Value, Verdict

SEED = Seed(b"conformance tests")
"""The randomness of every examination here, so that a failure shows again."""


class Finding(Value):
    """What one check found.

    Attributes:
        check: the rule, in words.
        passed: whether the problem holds to it.
        detail: what was measured, or everything that is wrong.
    """

    check: str
    passed: bool
    detail: str = ""


class Trial:
    """One problem under test, with the verdict on its honest seed, examined once for all checks.

    Args:
        problem: the problem.
        subject_for: makes the subject of a candidate: a sandboxed one, or `PlainSubject`.
    """

    def __init__(self, problem: Problem, subject_for: Callable[[Candidate], Subject]) -> None:
        self.problem = problem
        self.subject_for = subject_for

    @functools.cached_property
    def seed(self) -> Candidate:
        """The program of `default_seed`."""
        return read_program(self.problem.seed(self.problem.default_seed))

    @functools.cached_property
    def honest(self) -> Verdict:
        """The verdict on the honest seed in the stages of the search."""
        return self.examine(self.seed)

    @functools.cached_property
    def promoted(self) -> Verdict:
        """The verdict on the honest seed in the stages that decide promotion."""
        return self.examine(self.seed, promotion=True)

    def examine(self, candidate: Candidate, *, promotion: bool = False) -> Verdict:
        """The verdict on a program."""
        return examine(self.problem, self.subject_for(candidate), SEED, promotion=promotion)

    def worth(self, verdict: Verdict) -> float:
        """The hypervolume of a verdict's points; 0 where it is invalid."""
        return hypervolume(self.problem, verdict.points) if verdict.valid else 0.0


def hypervolume(problem: Problem, points: Sequence[Point]) -> float:
    """The volume between a problem's reference point and those points of the main workload, on the axes' scales."""
    own = [point for point in points if point.family == ""]
    axes = [axis for axis in problem.objectives if all(axis.name in (point.model_extra or {}) for point in own)]
    if not own or not axes:
        return 0.0
    losses = np.array([[axis.loss(point[axis.name]) for axis in axes] for point in own])
    return float(moocore.hypervolume(losses, ref=np.array([axis.loss(axis.worst) for axis in axes])))


def declares_itself(trial: Trial) -> Iterator[str]:
    """It declares objectives with unit and worst value, functions, stages, and sourced reference values."""
    problem = trial.problem
    for field in ("name", "objectives", "functions"):
        if not getattr(problem, field, None):
            yield f"it declares no `{field}`"
            return
    if not problem.name.isidentifier():
        yield f"its name {problem.name!r} is no identifier"
    names = [axis.name for axis in problem.objectives]
    if len(set(names)) < len(names):
        yield f"two objectives share a name: {', '.join(names)}"
    yield from (f"objective `{axis.name}` has no unit" for axis in problem.objectives if not axis.unit)
    if not any(function.required for function in problem.functions):
        yield "it requires no function, so every program would do"
    if problem.arrays not in ("numpy", "torch"):
        yield f'`arrays` must be "numpy" or "torch"; it is {problem.arrays!r}'
    stages = [stage.name for stage in problem.stages]
    if len(set(stages)) < len(stages) or all(stage.promotion for stage in problem.stages):
        yield f"stages need different names, and at least one outside promotion; they are {stages}"
    for figure in problem.published:
        unknown = set(figure.values) - set(names)
        if unknown or not figure.source:
            yield f"published `{figure.name}` must name its source and only objectives ({', '.join(names)})"


def states_its_task(trial: Trial) -> Iterator[str]:
    """It tells a model what is asked: its own docstring, and the name of every function."""
    if not (type(trial.problem).__doc__ or "").strip():
        yield f"{type(trial.problem).__name__} has no docstring"
    statement = trial.problem.statement
    yield from (
        f"neither docstring nor task.md names the function `{function.name}`"
        for function in trial.problem.functions
        if function.name not in statement
    )


def keeps_its_hash(trial: Trial) -> Iterator[str]:
    """Its hash is the same for a second instance, since verdicts under different hashes never mix."""
    if type(trial.problem)().hash != trial.problem.hash:
        yield "a second instance has another hash"


def repeats_its_workloads(trial: Trial) -> Iterator[str]:
    """The same stage and seed give the same cases."""
    for stage in trial.problem.stages:
        cases = [_cases(trial.problem, stage) for _ in range(2)]
        if not _same(*cases):
            yield f"stage `{stage.name}` gave two different workloads for one seed"


def accepts_its_seed(trial: Trial) -> Iterator[str]:
    """Its default seed is valid in every stage, and every point holds every objective."""
    promoting = any(stage.promotion for stage in trial.problem.stages)
    for promotion in [False, True] if promoting else [False]:
        verdict = trial.promoted if promotion else trial.honest
        if not verdict.valid:
            yield f"seed `{trial.problem.default_seed}` is {verdict.status} in `{verdict.stage}`: {verdict.feedback}"
            continue
        if not verdict.points:
            yield f"the verdict of `{verdict.stage}` has no point"
        split = trial.problem.stage(verdict.stage).split
        for point in verdict.points:
            missing = [axis.name for axis in trial.problem.objectives if axis.name not in (point.model_extra or {})]
            if missing:
                yield f"point {point.label!r} of `{verdict.stage}` holds no {', '.join(missing)}"
            if point.split != split:
                yield f"point {point.label!r} of `{verdict.stage}` says split {point.split}, the stage says {split}"
        if trial.worth(verdict) <= 0:
            yield f"no point of `{verdict.stage}` is better than the worst values on every objective"


def survives_json(trial: Trial) -> Iterator[str]:
    """A verdict is the same after a trip through JSON."""
    verdict = trial.honest
    if Verdict.model_validate_json(verdict.model_dump_json()) != verdict:
        yield "the verdict on the seed changed; its report must hold plain JSON values with string keys"


def keeps_its_interface(trial: Trial) -> Iterator[str]:
    """A program that does not parse, or lacks a function, is invalid for that reason."""
    for status, source in {"syntax": "def broken(:\n", "interface": "nothing = 0\n"}.items():
        verdict = trial.examine(Candidate(source))
        if verdict.valid or verdict.status != status:
            yield f"{source!r} should be invalid with status {status}; it is {verdict.status}"


def rejects_corruption(trial: Trial) -> Iterator[str]:
    """The seed's answers, spoilt on their way back, are invalid or strictly worse."""
    honest = trial.worth(trial.honest)
    touched = 0
    for name, corrupt in CORRUPTIONS.items():
        subject = Corrupted(trial.subject_for(trial.seed), corrupt)
        verdict = examine(trial.problem, subject, SEED)
        touched += subject.touched
        if subject.touched and verdict.valid and not trial.worth(verdict) < honest:
            yield f"answers made {name} are worth {trial.worth(verdict):.6g}, the honest ones {honest:.6g}"
    if not touched:
        yield "no answer holds a number that could be spoilt"


def rejects_cheats(trial: Trial) -> Iterator[str]:
    """Every program in `cheats/` is worth no more than the honest seed; there is at least one."""
    cheats = trial.problem.cheats()
    if not cheats:
        yield "it has no cheats/: write at least one hostile program that must not win"
    honest = trial.worth(trial.honest)
    for name, path in cheats.items():
        worth = trial.worth(trial.examine(read_program(path)))
        if worth > honest:
            yield f"cheat `{name}` is worth {worth:.6g}, the honest seed {honest:.6g}"


def draws_fresh_documents(trial: Trial) -> Iterator[str]:
    """A fresh document, where it draws any, follows from its key, and the default seed is valid on it."""
    problem = trial.problem
    if generator(problem) is None:
        return
    fresh, next_one = (Fresh(SEED.derive("fresh"), number) for number in range(2))
    try:
        one, again, other = drawn(problem, fresh), drawn(problem, fresh), drawn(problem, next_one)
        verdict = examine_fresh(problem, trial.subject_for(trial.seed), fresh)
    except BadProblem as error:  # says already what is to be done
        yield str(error)
        return
    if (one.seed, one.inputs) != (again.seed, again.inputs) or not _same(one.cases, again.cases):
        yield "one key gave two different documents"
    if one.inputs == other.inputs:
        yield "two keys gave the same document, going by the workload's `inputs`"
    if one.seed == other.seed:
        yield "two documents are examined with the same seed, so that a lucky one would count on each"
    if not verdict.valid:
        yield f"seed `{problem.default_seed}` is {verdict.status} on a fresh document: {verdict.feedback}"
        return
    labels = {point.label for point in trial.promoted.points if not point.family} - {p.label for p in verdict.points}
    if labels:
        yield f"points are compared by label, and these of promotion are on no fresh document: {sorted(labels)}"


CHECKS: tuple[Callable[[Trial], Iterator[str]], ...] = (
    declares_itself,
    states_its_task,
    keeps_its_hash,
    repeats_its_workloads,
    accepts_its_seed,
    survives_json,
    keeps_its_interface,
    rejects_corruption,
    rejects_cheats,
    draws_fresh_documents,
)


def check(problem: Problem, subject_for: Callable[[Candidate], Subject]) -> list[Finding]:
    """Run every check on a problem; one finding each. An exception inside a check is a finding, never raised."""
    trial = Trial(problem, subject_for)
    return [_finding(one, trial) for one in CHECKS]


def _finding(one: Callable[[Trial], Iterator[str]], trial: Trial) -> Finding:
    """Run one check. A problem that raises where it should return a verdict fails it."""
    rule = (one.__doc__ or one.__name__).strip()
    try:
        complaints = list(one(trial))
    except BadProblem as error:
        complaints = [f"{error} (a candidate's fault must become a verdict, not an exception)"]
    except ImportError as error:
        complaints = [f"{error}: install what the problem or this suite needs"]
    except Exception as error:
        complaints = [f"{type(error).__name__}: {error} (a candidate's fault must become a verdict, not an exception)"]
    return Finding(check=rule, passed=not complaints, detail="; ".join(complaints))


class ProblemConformance:
    """The suite as a pytest class: inherit it, set `problem`, and maybe override `subject_for`.

    With the plain subject every program, cheats included, runs UNCONFINED in the test's process. A cheat that tampers
    with the process it runs in needs a sandboxed subject.
    """

    problem: ClassVar[Problem]

    def subject_for(self, candidate: Candidate) -> Subject:
        """The subject of a candidate; by default a plain one."""
        return PlainSubject(candidate, self.problem.arrays)

    def _passes(self, one: Callable[[Trial], Iterator[str]]) -> None:
        trial = type(self).__dict__.get("_trial")
        if trial is None:
            # One trial for the class, so that the honest seed is examined once and not once a test.
            trial = Trial(self.problem, self.subject_for)
            type(self)._trial = trial  # type: ignore[attr-defined]
        complaints = list(one(trial))
        if complaints:
            raise AssertionError("\n".join(complaints))

    def test_it_declares_objectives_functions_and_sources(self) -> None:
        """See `declares_itself`."""
        self._passes(declares_itself)

    def test_it_states_its_task(self) -> None:
        """See `states_its_task`."""
        self._passes(states_its_task)

    def test_its_hash_is_stable(self) -> None:
        """See `keeps_its_hash`."""
        self._passes(keeps_its_hash)

    def test_its_workloads_repeat(self) -> None:
        """See `repeats_its_workloads`."""
        self._passes(repeats_its_workloads)

    def test_it_accepts_its_seed(self) -> None:
        """See `accepts_its_seed`."""
        self._passes(accepts_its_seed)

    def test_its_verdicts_survive_json(self) -> None:
        """See `survives_json`."""
        self._passes(survives_json)

    def test_it_refuses_programs_without_its_interface(self) -> None:
        """See `keeps_its_interface`."""
        self._passes(keeps_its_interface)

    def test_it_rejects_corrupted_answers(self) -> None:
        """See `rejects_corruption`."""
        self._passes(rejects_corruption)

    def test_it_rejects_its_cheats(self) -> None:
        """See `rejects_cheats`."""
        self._passes(rejects_cheats)

    def test_its_fresh_documents_follow_from_their_keys(self) -> None:
        """See `draws_fresh_documents`."""
        self._passes(draws_fresh_documents)


def _cases(problem: Problem, stage: Stage) -> Sequence[Any]:
    return problem.workload(stage, SEED.derive(stage.name)).cases


def _same(one: Any, other: Any) -> bool:
    """Whether two cases hold the same values, whatever they are made of."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, np.ndarray) or hasattr(one, "__array__"):
        return _same_arrays(np.asarray(one), np.asarray(other))
    if is_dataclass(one):
        return all(_same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if "__eq__" not in {name for kind in type(one).__mro__[:-1] for name in vars(kind)} and hasattr(one, "__dict__"):
        return _same(vars(one), vars(other))
    return bool(one == other)


def _same_arrays(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
