"""Planted noise: how many elites are luck, and how many of the truly better programs become elites.

    python benchmarks/elites.py [RUNS]

1. Whole runs of the loop, with all it does: 200 evaluations of programs that are as good as the seed, but for one in
   twenty, whose error is less by a planted share. What `search`, `select` and every fresh document show of a program is
   its error times noise of its own. An elite is false where its true error is not below that of its incumbent.
2. The same statistics alone, on streams of 200 challengers that all are compared, 10 of them better by some multiples
   of a document's noise: how power depends on the number of documents.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import vevolve
from vevolve.archive import Archive
from vevolve.archive.elites import Elites
from vevolve.archive.events import Compared, Selected, Started
from vevolve.evaluators.confidence.discoveries import Discoveries
from vevolve.evaluators.contract import Function, Problem, Workload
from vevolve.evaluators.fresh import STAGE
from vevolve.evolve import comparison
from vevolve.evolve.config import Config
from vevolve.evolve.line import ALPHA
from vevolve.evolve.loop import Loop
from vevolve.evolve.promotion import ABREAST, decided
from vevolve.evolve.proposers.contract import Prompt, Reply, Request
from vevolve.evolve.questions import Questions
from vevolve.evolve.setup import Task, Weighted
from vevolve.evolve.workers import Inline, Workers
from vevolve.types import Candidate, Containment, Objective, Point, Seed, Subject, Verdict

EVALUATIONS = 200
BETTER = 0.05
"""Share of programs that are better."""
NOISE = 0.1
"""Of a document, in the logarithm of the error; a split has six documents."""
BUDGETS = (32, 64, 128, 256, 512)


class Planted(Problem):
    """Five budgets; the error of a program is planted, and each look at it is noisy."""

    name = "planted"
    objectives = (
        Objective("traffic", "min", worst=2.0, best=0.005, scale="log10"),
        Objective("error", "min", worst=10.0, best=0.001, scale="log10"),
    )
    functions = (Function(name="answer"),)

    def examine(self, subject: Subject, workload: Workload) -> Verdict:
        """Points of the split, or of a fresh document."""
        split = workload.stage.split
        seed, noise = Seed(b"planted").derive(split), NOISE / 6**0.5
        if workload.stage.name == STAGE.name:
            seed, noise = workload.seed, NOISE
        return self.verdict(*answers(true_error(subject.candidate), seed.derive(subject.candidate.id), noise, split))

    def fresh(self, key: Seed) -> Workload:
        """A document is a key of noise."""
        return Workload(STAGE, key, inputs=key.key.hex())


def answers(error: float, seed: Seed, noise: float, split: Any) -> list[Point]:
    """The five points; half of the noise is shared by the budgets, as the noise of a program on a document is."""
    chance = random.Random(seed.integer)
    shared = chance.gauss(0, noise * 0.5**0.5)
    return [
        Point(
            label=f"{tokens} tokens",
            split=split,
            traffic=tokens / 2048,
            error=error * (32 / tokens) ** 0.5 * np.exp(shared + chance.gauss(0, noise * 0.5**0.5)),
        )
        for tokens in BUDGETS
    ]


def true_error(candidate: Candidate) -> float:
    """What is planted."""
    return float(candidate.constants["ERROR"])


def program(error: float, number: int) -> str:
    """A program is its error and a number."""
    return f"ERROR = {error!r}\nNUMBER = {number}\n\n\ndef answer():\n    return ERROR\n"


class Planter:
    """A free proposer: as good as the seed, seldom better. It ignores parents, so that runs stay comparable."""

    name, free = "planter", True

    def __init__(self, share: float) -> None:
        self._share = share

    def propose(self, request: Request) -> Reply:
        """The next program."""
        chance = random.Random(request.seed.integer)
        error = 1 - self._share if chance.random() < BETTER else 1.0
        return Reply(text=f"```python\n{program(error, request.iteration)}```\n", model=self.name)

    def estimate(self, prompt: Prompt) -> float | None:
        """Nothing."""
        return 0.0

    def close(self) -> None:
        """Nothing is open."""


class Bare:
    """A container that runs nothing."""

    containment = Containment(level="L1")

    def subject(self, candidate: Candidate) -> Any:
        """What the planted problem reads."""
        return SimpleNamespace(candidate=candidate, cpu_s=0.0, processes=0, containment=self.containment)

    def close(self) -> None:
        """Nothing is open."""


def whole_runs(runs: int) -> None:
    """Runs of the loop, by the planted share and the number of documents."""
    print(f"1. {runs} runs of {EVALUATIONS} evaluations each; one in twenty is better by a share of its error")
    print(
        f"{'better by':>10}{'documents':>11}{'promoted':>10}{'no better':>11}{'compared':>10}{'elites':>8}{'false':>7}"
        f"{'runs with one':>15}{'better ones compared':>22}{'of these elites':>17}{'demoted':>9}"
    )
    for share, confirm in ((0.0, 48), (0.05, 48), (0.1, 48), (0.2, 48), (0.1, 12)):
        every = [one_run(share, confirm) for _ in range(runs)]
        sums = {name: sum(one[name] for one in every) for name in every[0]}
        spoiled = sum(one["false"] > 0 for one in every)
        print(
            f"{share:>10.0%}{confirm:>11}{sums['promoted'] / runs:>10.1f}"
            f"{sums['lucky'] / max(sums['promoted'], 1):>11.0%}{sums['compared'] / runs:>10.1f}"
            f"{sums['elites'] / runs:>8.2f}{sums['false'] / runs:>7.2f}{spoiled / runs:>15.1%}{sums['better']:>22}"
            f"{sums['found'] / max(sums['better'], 1):>17.0%}{sums['demoted']:>9}"
        )


def one_run(share: float, confirm: int) -> dict[str, int]:
    """Counts of one run."""
    problem, config = Planted(), Config(evaluations=EVALUATIONS, confirm=confirm)
    seed = Candidate(program(1.0, 0))
    workers = Workers([Inline(problem, Bare)])
    errors = {seed.id: 1.0}
    count = dict.fromkeys(("promoted", "lucky", "compared", "elites", "false", "better", "found", "demoted"), 0)
    elites, incumbent_of = Elites(), dict[str, str]()
    with tempfile.TemporaryDirectory() as folder, Archive.create(Path(folder), started(problem, config)) as archive:
        questions = Questions(Task(problem, "planted", seed, "planted", ()), [Weighted(Planter(share), 1.0)], "diff")
        for event in Loop(archive, Seed.fresh(), seed, questions, workers, config).events():
            if event.kind == "told":
                candidate = Candidate(event.source)
                errors[candidate.id] = true_error(candidate)
            elif isinstance(event, Selected) and event.promoted and event.iteration:
                count["promoted"] += 1
                count["lucky"] += errors[event.candidate] >= 1.0
                incumbent_of[event.candidate] = event.incumbent
            elif isinstance(event, Compared):
                elites.take(event)
                count["demoted"] += bool(event.aged) and not event.elite
        for one in elites.compared.values():
            better = errors[one.candidate] < errors[one.incumbent]
            elite = one.place == "elite"
            count["compared"] += 1
            count["elites"] += elite
            count["false"] += elite and not better
            count["better"] += better
            count["found"] += elite and better
    workers.close()
    return count


def started(problem: Problem, config: Config) -> Started:
    """The first event of a run."""
    return Started(
        run="benchmark",
        version=vevolve.__version__,
        problem=problem.name,
        problem_hash=problem.hash,
        objectives=problem.objectives,
        seed="planted",
        seed_commitment="",
        config=config.model_dump(mode="json"),
        containment=Bare.containment,
    )


def streams(runs: int = 100) -> None:
    """All 200 challengers are compared, as many as a run of thousands of evaluations promotes.

    What each claims is what six documents of `select` showed of it, where that was a gain.
    """
    print(f"\n2. {runs} streams of 200 comparisons, 10 of them of better programs")
    print(
        f"{'documents':>11}{'better by':>12}{'false elites':>14}{'false share':>13}{'better ones found':>19}"
        f"{'documents met':>15}"
    )
    draw = np.random.default_rng(3)
    for documents in (12, 24, 48, 96):
        for effect in (0.5, 1.0, 2.0):
            false, shares, found, used = 0, list[float](), 0, 0
            for _ in range(runs):
                better = np.zeros(200, dtype=bool)
                better[draw.choice(200, 10, replace=False)] = True
                gains = draw.normal(effect * better, 1.0, (documents, 200))
                claimed = np.abs(draw.normal(effect * better, 6**-0.5)).tolist()
                stream, made = Discoveries(ALPHA), np.zeros(200, dtype=bool)
                for place in range(200):
                    own, met = gains[:, place].tolist(), ABREAST
                    while met < documents and not decided(own[:met], claimed[place], 1 / stream.level, documents):
                        met += ABREAST
                    used += met
                    made[place], stream = stream.test(comparison.evidence(own[:met], claimed[place]))
                false += int((made & ~better).sum())
                found += int((made & better).sum())
                shares.append(float((made & ~better).sum() / max(made.sum(), 1)))
            print(
                f"{documents:>11}{effect:>6.1f} noise{false / runs / 190:>14.3%}{np.mean(shares):>13.1%}"
                f"{found / runs / 10:>19.1%}{used / runs / 200:>15.1f}"
            )


if __name__ == "__main__":
    began = time.process_time()
    whole_runs(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    streams()
    print(f"\n{time.process_time() - began:.0f} CPU seconds")
