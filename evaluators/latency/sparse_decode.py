"""Latency of `sparse_decode`: select and attend over a cache on the device, asked by whoever holds the clock.

A call asks for one step of several layers, each with a fresh query: so caches are cold in every layer as they are in
decoding, and the way to the process and back is paid once for all of them; its share is told beside the times
(`overhead_us`) and not subtracted. The index is built before. Where a whole call can be recorded in a CUDA graph it is;
a process of its own finds out whether.

Every timed answer is verified (`contestant`). Some, chosen in secret, are asked again of the metered twin (`twin`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Mapping, Sequence

import numpy as np

from vevolve.evaluators import latency
from vevolve.evaluators.latency import twin
from vevolve.evaluators.latency.cache import Cache, Question, Sizes
from vevolve.evaluators.latency.contestant import Contestant
from vevolve.evaluators.latency.device import Container, Device
from vevolve.evaluators.latency.result import MICRO, Measurement, Span, Timed, ratio
from vevolve.evaluators.latency.result import latency as spanned
from vevolve.evaluators.latency.twin import Metered, Place
from vevolve.evaluators.sparse_decode.problem import problem
from vevolve.evaluators.sparse_decode.scores import PERCENTILE
from vevolve.kernels.timing import Timing, time_in_turn
from vevolve.kernels.timing_figures import Roofline
from vevolve.types import Arrays, Candidate, CandidateFault, Json, Objective, Seed

EMPTY = """
import torch
def hold(size):
    global held
    held = torch.zeros(size, dtype=torch.uint8, device="cuda" if torch.cuda.is_available() else "cpu")
    return size
def step(queries, seeds):
    return {"bytes": held}
"""
"""Takes a question and returns as many bytes as an answer has, and does nothing."""
ROUNDS, WARM_UP = 20, 3
PLACES = 12
"""Layers of timed calls, chosen in secret, that the metered twin is asked as well."""

OBJECTIVES = (
    *problem.objectives,
    Objective("latency_us", "min", worst=20_000.0, best=5.0, scale="log10", unit=f"microseconds of {Sizes()}"),
)


def ground(device: Device, key: Seed) -> SparseGround:
    """The declared workload."""
    return SparseGround(device, key)


class SparseGround:
    """A cache, and who asks about it.

    Args:
        device: on which candidates run.
        key: what the workload follows from.
        sizes: of the cache.
        rounds: timed calls of each.
        labels: of the operating points; by default the headline alone.
    """

    def __init__(
        self,
        device: Device,
        key: Seed,
        sizes: Sizes | None = None,
        rounds: int = ROUNDS,
        labels: Sequence[str] = (problem.headline,),
    ) -> None:
        self._device, self._key, self._rounds, self._labels = device, key, rounds, tuple(labels)
        self.cache = Cache(sizes or Sizes(), key.derive("cache"), device.place)
        self._asked = 0
        self._held = contextlib.ExitStack()
        self._sandboxes: tuple[Container, Container] | None = None

    def close(self) -> None:
        """End the sandboxes."""
        self._sandboxes = None
        self._held.close()

    def measure(self, candidate: Candidate, incumbent: Candidate) -> Measurement:
        """Time both in turn at each operating point."""
        programs = {"candidate": candidate, "incumbent": incumbent}
        found: dict[str, list[Timed]] = {name: [] for name in programs}
        ratios: dict[str, Span] = {}
        with self._device.alone():
            if self._sandboxes is None:
                opened = self._held.enter_context(self._device.on_device())
                self._sandboxes = opened, self._held.enter_context(self._device.on_cpu())
            device, cpu = self._sandboxes
            empty, roofline = self._empty(device), self._device.roofline()
            contests = [self._contest(label, programs, device) for label in self._labels]
            conditions = dict(self._device.conditions())
        # The floor errs on the side of being low; what is told is what is usual.
        floor = dataclasses.replace(roofline, launch_s=min(empty))
        for label, contest in zip(self._labels, contests, strict=True):
            for name, (one, timing) in contest.items():
                found[name].append(self._timed(one, timing, cpu, floor))
            both = ratio(contest["candidate"][1].seconds, contest["incumbent"][1].seconds)
            if both and found["candidate"][-1].counts and found["incumbent"][-1].counts:
                ratios[label] = both
        self.cache.forget()
        return Measurement(
            problem=problem.name,
            version=latency.VERSION,
            protocol=latency.protocol(),
            workload=str(self.cache.sizes),
            candidate=tuple(found["candidate"]),
            incumbent=tuple(found["incumbent"]),
            ratios=ratios,
            overhead_us=float(np.median(empty)) * MICRO / self.cache.sizes.layers,
            conditions=conditions,
        )

    # ----------------------------------------------------------------------------------------------- one point

    def _contest(
        self, label: str, programs: Mapping[str, Candidate], device: Container
    ) -> dict[str, tuple[Contestant, Timing]]:
        """Time all in turn at one operating point, on the device."""
        first, count = self._asked, (WARM_UP + self._rounds) * len(programs)
        self._asked += count
        questions = [self.cache.question(number) for number in range(first, first + count)]
        self.cache.answer(questions)
        contestants: dict[str, Contestant] = {}
        with contextlib.ExitStack() as held:
            for name, program in programs.items():
                contestants[name] = one = Contestant(self.cache, program, label)
                held.callback(one.close)
                one.open(device, self._key.derive("build", label))
            running = {name: one for name, one in contestants.items() if not one.fault}
            timings = self._timings(running, questions) if running else {}
        return {name: (one, timings.get(name) or Timing(name, (), (one.fault,))) for name, one in contestants.items()}

    def _timings(self, running: Mapping[str, Contestant], questions: Sequence[Question]) -> dict[str, Timing]:
        return time_in_turn(
            running,
            lambda number: questions[number],
            lambda question, answer: answer.of.verify(question, answer.frame),
            rounds=self._rounds,
            warm_up=WARM_UP,
            quiet=self._device.quiet,
            timer=self._device.timer,
            end=lambda name: running[name].close(),
            # As secret as the key, and the same again for the same one.
            seed=self._key.derive("order", questions[0].number).integer,
        )

    def _timed(self, one: Contestant, timing: Timing, cpu: Container, roofline: Roofline) -> Timed:
        """What a contestant's times are worth, once its twin was asked."""
        layers = self.cache.sizes.layers
        found = Timed(
            program=one.program.id,
            label=one.label,
            latency_us=spanned(timing.seconds, layers),
            calls=len(timing.seconds),
            mode=one.mode,
            faults=tuple(filter(None, timing.faults)),
        )
        if found.faults or not timing.seconds:
            return found
        try:
            places, twins = self._twins(one, cpu, len(timing.seconds))
        except CandidateFault as fault:
            return found.model_copy(update={"faults": (f"its metered twin failed: {fault.feedback}",)})
        steps = [one.steps[place.question.number][place.layer] for place in places]
        every = [metered for both in twins for metered in both]
        moved = float(np.mean([metered.total for metered in every])) * layers
        floor = roofline.floor_s(moved) if roofline.rate else roofline.launch_s
        median = timing.median.middle
        suspect = f"a step in {median / layers * MICRO:.2f} us, below what its bytes and an empty call allow"
        return found.model_copy(
            update={
                "figures": self._figures(one, len(timing.seconds), every),
                "floor_us": floor * MICRO / layers,
                "faults": tuple(twin.differences(steps, twins)),
                "suspect": "" if median >= floor else suspect,
            }
        )

    def _twins(self, one: Contestant, cpu: Container, timed: int) -> tuple[list[Place], list[list[Metered]]]:
        numbers = list(one.steps)[-timed:]
        layers = range(self.cache.sizes.layers)
        every = [Place(one.asked[number], layer) for number in numbers for layer in layers]
        chosen = random.Random(self._key.derive("places", one.program.id, *numbers).integer)
        places = chosen.sample(every, min(PLACES, len(every)))
        subject = cpu.subject(one.program)
        return places, twin.ask(subject, self.cache, places, one.indices, one.params, one.point, self._key)

    def _figures(self, one: Contestant, timed: int, twins: Sequence[Metered]) -> dict[str, float]:
        """The objectives as on recorded traces: the percentile of each head over all timed calls, and metered bytes."""
        errors = np.stack([[step.error for step in steps] for steps in list(one.steps.values())[-timed:]])
        units = errors.transpose(1, 2, 0, 3).reshape(*errors.shape[1:3], -1)  # [L, H, calls and query heads]
        return {
            "traffic": float(np.mean([metered.share for metered in twins])),
            "error": float(np.percentile(units, PERCENTILE, axis=-1).mean()),
        }

    def _empty(self, device: Container) -> list[float]:
        """Seconds of calls that do nothing."""
        cache = self.cache
        size = cache.sizes.layers * cache.sizes.rows * (128 * 8 + cache.group * cache.layers[0].keys.shape[2] * 4)
        question = cache.question(-1)
        returns = Arrays(max_count=2, max_bytes=2 * size)
        found: list[float] = []
        with device.subject(Candidate(EMPTY)).fresh() as process:
            process.call("hold", size, returns=Json())
            for _ in range(4 * WARM_UP + self._rounds):
                if self._device.quiet:
                    self._device.quiet()
                call = lambda: process.call("step", question.queries, list(question.seeds), returns=returns)  # noqa: E731
                found.append(self._device.timer(call)[1])
        return found[4 * WARM_UP :]
