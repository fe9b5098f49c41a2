"""Promotion: what gained on `search` is examined on `select`; what gains there meets its incumbent on fresh documents.

Both happen while the search goes on, and join the archive in an order that the log alone decides, one after another:
each before the iteration that is `lag` after the last one told when it began. What is asked depends on neither. See
docs/decisions/002-lagged-commits.md and 011-elites.md.

Who waits is a fold of the log (`vevolve.evolve.line`); `begin` starts what was not started yet. So a run that was
killed goes on with the same comparisons, on the same documents: these follow from the run's secret and the two
programs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from vevolve.archive import Archive
from vevolve.archive.events import Compared, Event, Selected
from vevolve.evaluators.confidence.discoveries import Discoveries
from vevolve.evaluators.contract import Problem
from vevolve.evaluators.fresh import Fresh
from vevolve.evolve import comparison
from vevolve.evolve.ask import points_of
from vevolve.evolve.config import Config
from vevolve.evolve.flights import Comparison, Selection
from vevolve.evolve.line import ALPHA, TRIAL, Line
from vevolve.evolve.programs import Programs
from vevolve.evolve.propose import bare
from vevolve.evolve.workers import Job, Meeting
from vevolve.types import Candidate, Seed, Verdict

LOOK = 8
"""Documents between two looks at whether going on is of any use, after that which follows the trial."""
ABREAST = 2
"""Documents that are met side by side: a fixed number, so that where a comparison ends depends on no workers."""

Submit: TypeAlias = Callable[[Job, Callable[[Verdict], None], int], None]
"""Examine, go on with the verdict, and know whose iteration fails where the harness does."""
Meet: TypeAlias = Callable[[Meeting, Callable[[tuple[Verdict, Verdict]], None], int], None]
"""The same for two programs on one document."""


def decided(gains: Sequence[float], claimed: float, enough: float, most: int) -> bool:
    """Whether more documents are not worth their cost: it has won enough, or is not on its way to that.

    E-values may be looked at as often as one likes, and to end without an elite is never an error of the test. On its
    way is a capital of at least `enough` to the power of (met / most)^3: 1 at the start, `enough` at the end, and
    little in between, since a gambler has to find out what to bet on. It is looked at after 4, 8, 16, 24, ...
    documents alone, so that a bad beginning ends nothing.
    """
    capital, met = comparison.evidence(gains, claimed), len(gains)
    looked = met == TRIAL or met % LOOK == 0
    return capital >= enough or (looked and capital < enough ** ((met / most) ** 3))


class Promotions:
    """What is on its way from a gain on `search` to the front and to the elites.

    Args:
        archive: the run's.
        secret: the run's seed.
        problem: what candidates are examined for.
        programs: the candidates.
        config: lag, and the most fresh documents of a comparison.
        submit: hands a job to the workers.
        meet: hands them a document that two programs meet.
        ending: whether the run is to end soon: no comparison is begun then, and none goes on to another document.
    """

    def __init__(
        self,
        archive: Archive,
        secret: Seed,
        problem: Problem,
        programs: Programs,
        config: Config,
        submit: Submit,
        meet: Meet,
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._archive, self._secret, self._programs = archive, secret, programs
        self._submit, self._hand_over, self._ending = submit, meet, ending
        self._line = Line(problem, config)

    def __len__(self) -> int:
        """How many are on their way."""
        return len(self._line.waiting)

    def take(self, event: Event) -> None:
        """Take in the next event of the log. What it gives rise to waits for `begin`."""
        self._line.take(event)

    # ------------------------------------------------------------------------------------------------- examining

    def begin(self) -> None:
        """Start what waits and was not started yet."""
        for one in self._line.waiting:
            if one.begun or (isinstance(one, Comparison) and self._ending()):
                continue
            one.begun = True
            if isinstance(one, Comparison):
                self._meet(one)
            else:
                job = Job(self._program(one.candidate), self._secret.derive("examine"), promotion=True)
                self._submit(job, partial(setattr, one, "verdict"), one.iteration)

    def _meet(self, one: Comparison) -> None:
        """Let both meet the next documents, each in a job of its own: a failure there is one of that alone."""
        key = self._secret.derive("fresh", one.candidate, one.incumbent)
        candidate, incumbent = self._program(one.candidate), self._program(one.incumbent)
        numbers = range(len(one.gains), min(len(one.gains) + ABREAST, self._most(one)))
        verdicts: dict[int, tuple[Verdict, Verdict]] = {}

        def arrived(number: int, both: tuple[Verdict, Verdict]) -> None:
            verdicts[number] = both
            if len(verdicts) == len(numbers):
                self._met(one, [verdicts[number] for number in numbers])

        for number in numbers:
            meeting = Meeting(candidate, incumbent, Fresh(key, one.before + number), one.claims)
            self._hand_over(meeting, partial(arrived, number), one.iteration)

    def _met(self, one: Comparison, verdicts: Sequence[tuple[Verdict, Verdict]]) -> None:
        objectives, most = self._archive.objectives, self._most(one)
        one.gains += tuple(comparison.outcome(*both, one.claims, objectives) for both in verdicts)
        one.workloads += tuple(candidate.problem for candidate, _ in verdicts)
        one.done = len(one.gains) >= most or (not one.aged and decided(one.gains, one.claimed, one.enough, most))
        if not (one.done or self._ending()):
            self._meet(one)

    def _most(self, one: Comparison) -> int:
        return min(TRIAL, self._line.most) if one.aged else self._line.most

    def _program(self, id: str) -> Candidate:
        return bare(self._programs.named(id).candidate)

    # --------------------------------------------------------------------------------------------------- telling

    def due(self, iteration: float) -> Selection | Comparison | None:
        """What is to be told before that iteration; at infinity, whatever is first. It may not be done yet."""
        return self._line.waiting[0] if self._line.waiting and self._line.waiting[0].due <= iteration else None

    def outcome(self, one: Selection | Comparison) -> Selected | Compared:
        """The event that tells of the first of those that wait, which is done."""
        if isinstance(one, Comparison):
            return self._compared(one)
        if one.verdict is None:
            raise RuntimeError(f"candidate {one.candidate[:8]} was not examined on `select` yet")
        return self._selected(one, one.verdict)

    def _selected(self, one: Selection, verdict: Verdict) -> Selected:
        """A gain on the front of the main workload and on that of every family promotes."""
        families = {"", *(point.family for point in verdict.points)}
        gains = [self._archive.gain(points_of(verdict, "select", family), "select", family) for family in families]
        promoted = verdict.valid and min(gains) > 0
        incumbent, claims, claimed = "", tuple[str, ...](), 0.0
        if promoted and self._line.most:
            incumbent, claims, claimed = self._claim(one.candidate, verdict)
        return Selected(
            iteration=one.iteration,
            candidate=one.candidate,
            verdict=verdict,
            promoted=promoted,
            incumbent=incumbent,
            claims=claims,
            claimed=claimed,
        )

    def _claim(self, candidate: str, verdict: Verdict) -> tuple[str, tuple[str, ...], float]:
        """Whom a program is compared with, at which of its points, and by how much it claims to improve that one.

        Its points are those that are new on the select front.

        Of the elites, and the first, the one that its points improve least on `select`. Where they improve that one by
        next to nothing there either, no comparison is worth its documents.
        """
        points = points_of(verdict, "select")
        claims = [point.label for point in points if self._archive.gain([point], "select") > 0]
        held = {id: self._archive.record(id).points_on("select") for id in self._line.elites.incumbents}
        found: list[tuple[float, str, tuple[str, ...]]] = []
        for id, theirs in held.items():
            labels = comparison.common(points, theirs, claims)
            if labels and id != candidate:
                found.append((comparison.gain(points, theirs, labels, self._archive.objectives), id, labels))
        least, incumbent, labels = min(found, default=(0.0, "", ()))
        if not comparison.worth_documents(least, held.get(incumbent, ()), self._archive.objectives):
            return "", (), 0.0
        return incumbent, labels, least

    def _compared(self, one: Comparison) -> Compared:
        known = self._line.elites.compared.get(one.candidate) if one.aged else None
        every = (*known.gains, *known.later, *one.gains) if known else one.gains
        evidence = comparison.evidence(every, one.claimed)
        stream = Discoveries(ALPHA, self._line.elites.tests, self._line.elites.made)
        against, level = 0.0, stream.level
        elite, _ = stream.test(evidence)
        if known:
            against, level = comparison.evidence([-gain for gain in (*known.later, *one.gains)], one.claimed), ALPHA
            elite = against * level < 1
        return Compared(
            iteration=one.iteration,
            candidate=one.candidate,
            incumbent=one.incumbent,
            claims=one.claims,
            claimed=one.claimed,
            told=self._line.told,
            aged=one.aged,
            gains=one.gains,
            workloads=one.workloads,
            evidence=evidence,
            against=against,
            level=level,
            lower=comparison.least_gain(every, one.claimed),
            elite=elite,
        )
