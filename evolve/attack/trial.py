"""Carry attacks out, one by one, and say of each whether it succeeded and what contained it."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Collection, Generator
from pathlib import Path

from vevolve.evaluators.contract import Problem, Workload
from vevolve.evaluators.examination import examine, examine_workload
from vevolve.evaluators.testing import hypervolume
from vevolve.evolve.ask import is_reference
from vevolve.evolve.attack import readers
from vevolve.evolve.attack.corpus import Attack
from vevolve.evolve.attack.splice import candidate_of
from vevolve.evolve.attack.surroundings import Surroundings
from vevolve.sandbox import Limits, Sandbox, SandboxedSubject
from vevolve.sandbox.warm import End
from vevolve.types import Candidate, CandidateFault, Objective, Seed, Value, Verdict

SEED = Seed(b"vevolve attack")
"""The randomness of every examination here, so that a success shows again."""
LIMITS = Limits(memory_bytes=1 << 30)
FAST = Limits(call_s=3.0, total_s=30.0, memory_bytes=1 << 29)

CONTAINED = {
    "syntax": "the parser",
    "interface": "the check of the interface",
    "crash": "its own process, which ended without an answer",
    "timeout": "the deadline",
    "resource": "the limits of its process",
    "protocol": "the wire format",
    "wrong": "the rules of an answer",
    "unstable": "asking again in fresh processes",
}


class Outcome(Value):
    """What became of one attack.

    Attributes:
        name: the attack's file.
        group: its kind.
        expected: the verdicts that were allowed.
        verdict: the one it got; "fair": valid, and worth no more than an honest program; "better": worth more;
            "skipped": it could not be carried out here.
        contained_by: what held it; where it succeeded, what it achieved; where it was skipped, why.
        succeeded: whether it won, did harm, or got another verdict than expected.
    """

    name: str
    group: str
    expected: str
    verdict: str
    contained_by: str
    succeeded: bool


class Watched(SandboxedSubject):
    """A subject that keeps what its processes printed."""

    def __init__(self, sandbox: Sandbox, candidate: Candidate) -> None:
        super().__init__(sandbox, candidate)
        self.said = ""

    def count(self, end: End, log: str) -> None:
        """Note what an ended process used and printed."""
        super().count(end, log)
        self.said += log + "\n"


@contextlib.contextmanager
def siege(
    problem: Problem, *, fast: bool = False, allow_degraded: bool = False, withhold: Collection[str] = ()
) -> Generator[Trial, None, None]:
    """Everything that attacks on a problem need: a sandbox, something to rob, and the honest programs.

    Args:
        problem: whose verifier is attacked.
        fast: general attacks on the first stage only, a problem's own on one case of the last; shorter limits.
        allow_degraded: go on where the sandbox is below its minimum level.
        withhold: layers to leave out, by name, to prove that a success shows.

    Raises:
        SandboxUnavailable: the sandbox is below its minimum level.
    """
    limits = FAST if fast else LIMITS
    with (
        Surroundings() as around,
        Sandbox(problem.arrays, limits, allow_degraded=allow_degraded, withhold=withhold) as sandbox,
    ):
        yield Trial(problem, sandbox, around, fast)


class Trial:
    """One problem in one sandbox, with the honest programs that attacks are held against."""

    def __init__(self, problem: Problem, sandbox: Sandbox, around: Surroundings, fast: bool) -> None:
        self._problem, self._sandbox, self._around, self._fast = problem, sandbox, around, fast
        self._seed = problem.seed(problem.default_seed).read_text(encoding="utf-8")
        self.containment = sandbox.containment

    def run(self, one: Attack) -> Outcome:
        """Carry out one attack. Raises `BadInput` where it cannot be spliced with the honest seed."""
        around, warm = self._around, self._sandbox.pid
        candidate = candidate_of(one, self._problem, self._seed, around.flag, around.places())
        subject = Watched(self._sandbox, candidate)
        verdict = self._examine(subject, one.whole)
        said = f"{subject.said}\n{verdict.feedback}"
        found = around.effects(said) + readers.spoken(self._problem, candidate, verdict)
        if left := survivors(self._sandbox.pid):
            found.append(f"{left} of its processes live on")
        if self._sandbox.pid != warm:
            found.append("it ended the process that candidates are forked from")
        word = self._word(one, candidate, verdict)
        if word == "fair" and not one.whole and f"{around.flag} struck" not in said and "def write(" not in one.text:
            word = "idle"
        refused = "" if one.whole else self._refused(candidate)
        if refused and (verdict.valid or subject.processes):
            found.append("its text should have been refused unread, and was run")
        elif word not in one.expected and not refused:
            found.append(f"its verdict is {word}: {verdict.feedback[:300]}")
        return Outcome(
            name=one.name,
            group=one.group,
            expected=" or ".join(one.expected),
            verdict=word,
            contained_by=f"nothing: {'; '.join(found)}" if found else refused or self._holder(word, candidate, said),
            succeeded=bool(found),
        )

    def _refused(self, candidate: Candidate) -> str:
        """Where a problem reads texts as data: why nothing of this one is ever run; "" where it would be."""
        try:
            self._problem.screen(candidate)
        except CandidateFault as fault:
            return f"the check of the text, before any process started: {fault.status}"
        return ""

    def _examine(self, subject: SandboxedSubject, whole: bool) -> Verdict:
        """On all stages of the search; where it must be fast, on what shows the most."""
        if not self._fast:
            return examine(self._problem, subject, SEED)
        stages = [stage for stage in self._problem.stages if not stage.promotion]
        stage = stages[-1] if whole else stages[0]
        workload = self._problem.workload(stage, SEED.derive(stage.name))
        return examine_workload(self._problem, subject, Workload(stage, workload.seed, workload.cases[:1]))

    def _word(self, one: Attack, candidate: Candidate, verdict: Verdict) -> str:
        """The verdict in a word. A valid one is "better" where it beats what honest programs get."""
        if not verdict.valid:
            return verdict.status
        if is_reference(candidate):
            return "fair"
        if one.whole:
            return "better" if hypervolume(self._problem, verdict.points) > self._honest_worth else "fair"
        honest = {(point.label, point.family): point for point in self._honest.points}
        for point in verdict.points:
            own = honest.get((point.label, point.family))
            if own is None or any(
                axis.loss(point[axis.name]) < axis.loss(own[axis.name]) for axis in self._axes(verdict)
            ):
                return "better"
        return "fair"

    def _axes(self, verdict: Verdict) -> list[Objective]:
        return [
            axis for axis in self._problem.objectives if all(axis.name in (p.model_extra or {}) for p in verdict.points)
        ]

    @functools.cached_property
    def _honest(self) -> Verdict:
        return self._examine(self._sandbox.subject(Candidate(self._seed)), whole=False)

    @functools.cached_property
    def _honest_worth(self) -> float:
        """Of the best honest program: an attack may be one of these in disguise, and no more."""
        texts = [path.read_text(encoding="utf-8") for path in self._problem.seeds().values()]
        honest = [candidate for candidate in map(Candidate, texts) if not is_reference(candidate)]
        verdicts = [self._examine(self._sandbox.subject(candidate), whole=True) for candidate in honest]
        return max(hypervolume(self._problem, verdict.points) for verdict in verdicts if verdict.valid)

    def _holder(self, word: str, candidate: Candidate, said: str) -> str:
        if word != "fair":
            return CONTAINED[word]
        if is_reference(candidate):
            return "declared a reference, which stands on no front"
        errors = sorted(set(re.findall(rf"{self._around.flag} held (\w+)", said)))
        return f"the sandbox: {', '.join(errors)}" if errors else "the verifier: nothing was gained"


def survivors(warm: int) -> int:
    """How many processes of candidates are alive: descendants of the warm one, or in its network and not in ours."""
    parents: dict[int, int] = {}
    own, foreign = _network(Path("/proc/self")), _network(Path(f"/proc/{warm}"))
    alike: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if foreign and foreign != own and _network(folder) == foreign:
            alike.add(int(folder.name))
    found = {warm}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return len((found | alike) - {warm})


def _network(folder: Path) -> str:
    try:
        return str((folder / "ns/net").readlink())
    except OSError:
        return ""
